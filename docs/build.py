"""Make what is derived from the committed evidence, without training: the site (one page per phenomenon and an index),
CATALOGUE.md, the table of the README and the totals that `refute list` shows.

python docs/build.py [--to site]
"""

import argparse
import html
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from refute import catalogue
from refute.core import Outcome, Totals, totals_of
from refute.evidence import read_evidence
from refute.report import catalogue_markdown, catalogue_table, render_html

ROOT = Path(__file__).parents[1]
EVIDENCE = ROOT / "evidence"
BEGIN, END = "<!-- catalogue: begin -->", "<!-- catalogue: end -->"
"""Around the table of the README."""


def outcomes() -> list[Outcome]:
    """Every committed record, judged anew."""
    folders = [(name, folder) for name in catalogue.names() for folder in sorted((EVIDENCE / name).glob("*/"))]
    return [read_evidence(catalogue.get(name), folder) for name, folder in folders]


def derived(totals: Iterable[Totals]) -> dict[Path, str]:
    """The files that are made from the counted evidence, with their text."""
    found = list(totals)
    phenomena = [catalogue.get(name) for name in catalogue.names()]
    by_name = {one.name: one for one in found}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return {
        ROOT / "README.md": f"{before}{BEGIN}\n{catalogue_table(phenomena, by_name)}{END}{after}",
        catalogue.TOTALS: json.dumps([asdict(one) for one in found], indent=1) + "\n",
        ROOT / "CATALOGUE.md": catalogue_markdown(phenomena, by_name),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, default=Path("site"))
    target: Path = parser.parse_args().to
    target.mkdir(parents=True, exist_ok=True)
    items = []
    found = outcomes()
    for outcome in found:
        name, scale = outcome.phenomenon.name, outcome.scale
        page = target / f"{name}-{scale}.html"
        page.write_text(render_html(outcome), encoding="utf-8")
        words = ", ".join(f"{verdict.claim.id} {verdict.verdict}" for verdict in outcome.verdicts)
        statement = html.escape(outcome.phenomenon.statement)
        items.append(f'<li><a href="{page.name}">{name}</a> ({scale}): {statement}<br><small>{words}</small></li>')
        print(page)
    for path, text in derived(totals_of(outcome) for outcome in found).items():
        path.write_text(text, encoding="utf-8")
        print(path)
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    style = (
        "<style>body{font:16px/1.5 system-ui;max-width:44rem;margin:2rem auto;padding:0 1rem}li{margin:1rem 0}</style>"
    )
    body = f"<title>refute: evidence</title><h1>Evidence</h1><ul>{''.join(items)}</ul></html>"
    (target / "index.html").write_text(head + style + body + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
