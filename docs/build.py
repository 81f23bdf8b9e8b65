"""Make the site of the committed evidence: one page per phenomenon and an index, without training.

python docs/build.py [--to site]
"""

import argparse
import html
from pathlib import Path

from refute import catalogue
from refute.evidence import read_record
from refute.report import render_html

EVIDENCE = Path(__file__).parents[1] / "evidence"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, default=Path("site"))
    target: Path = parser.parse_args().to
    target.mkdir(parents=True, exist_ok=True)
    items = []
    for name in catalogue.names():
        for folder in sorted((EVIDENCE / name).glob("*/")):
            outcome = read_record(catalogue.get(name), folder)
            page = target / f"{name}-{folder.name}.html"
            page.write_text(render_html(outcome), encoding="utf-8")
            words = ", ".join(f"{verdict.claim.id} {verdict.verdict}" for verdict in outcome.verdicts)
            statement = html.escape(outcome.phenomenon.statement)
            items.append(
                f'<li><a href="{page.name}">{name}</a> ({folder.name}): {statement}<br><small>{words}</small></li>'
            )
            print(page)
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    style = (
        "<style>body{font:16px/1.5 system-ui;max-width:44rem;margin:2rem auto;padding:0 1rem}li{margin:1rem 0}</style>"
    )
    body = f"<title>refute: evidence</title><h1>Evidence</h1><ul>{''.join(items)}</ul></html>"
    (target / "index.html").write_text(head + style + body + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
