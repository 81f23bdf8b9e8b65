import io
import json
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from refute.core import totals_of
from refute.report import (
    catalogue_json,
    catalogue_markdown,
    datasets_json,
    render_catalogue,
    render_datasets,
    render_definition,
)

from .synthetic import CLAIMS, PHENOMENON, outcome


@dataclass(frozen=True)
class Status:
    name: str = "digits"
    cached: bool = True
    bytes: int = 1_250_000
    channels: tuple[str, ...] = ("scikit-learn", "web [mirror]")
    path: Path = Path("cache")
    identity: str | None = None


def test_catalogue_lists_names_and_scales() -> None:
    file = io.StringIO()
    render_catalogue([PHENOMENON], {}, Console(file=file, width=80))
    assert "layers-made-up  6 claims; scales small" in file.getvalue()
    assert json.loads(json.dumps(catalogue_json([PHENOMENON], {})))["phenomena"][0]["name"] == "layers-made-up"


def test_definition_shows_every_claim_quantity_and_factor() -> None:
    file = io.StringIO()
    render_definition(PHENOMENON, Console(file=file, width=80))
    text = " ".join(file.getvalue().split())
    for claim in CLAIMS:
        assert claim.statement in text
        assert claim.holds.reason in text
    for name in (*PHENOMENON.quantities, *PHENOMENON.factors):
        assert name in text
    assert max(map(len, file.getvalue().splitlines())) <= 80


def test_datasets_are_listed() -> None:
    file = io.StringIO()
    render_datasets([Status(), Status(name="mnist", cached=False)], Console(file=file, width=80))
    assert "1.2 MB" in file.getvalue()
    assert "web [mirror]" in file.getvalue()
    assert json.loads(json.dumps(datasets_json([Status()])))["datasets"][0]["cached"] is True


def test_the_catalogue_counts_its_evidence() -> None:
    totals = totals_of(outcome())
    file = io.StringIO()
    render_catalogue([PHENOMENON], {totals.name: totals}, Console(file=file, width=110))
    counted = ", ".join(f"{count} {word}" for word, count in sorted(totals.claims.items()))
    assert sum(totals.claims.values()) == len(PHENOMENON.claims), counted
    assert f"{totals.cells} cells, {totals.trials} trials" in file.getvalue()
    assert "1 phenomenon," in file.getvalue()
    table = [line for line in catalogue_markdown([PHENOMENON], {totals.name: totals}).splitlines() if line[:1] == "|"]
    assert len({line.count("|") for line in table}) == 1, "every row has the same columns"
    assert f"| {totals.cells} | {totals.trials} |" in table[2]
    assert f"| {totals.cells} | {totals.trials} |" in table[3], "and the sum of one is that one"
