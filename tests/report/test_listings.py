import io
import json
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from refute.report import catalogue_json, datasets_json, render_catalogue, render_datasets, render_definition

from .synthetic import CLAIMS, PHENOMENON


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
    render_catalogue([PHENOMENON], Console(file=file, width=80))
    assert "layers-made-up  6 claims; scales small" in file.getvalue()
    assert json.loads(json.dumps(catalogue_json([PHENOMENON])))["phenomena"][0]["name"] == "layers-made-up"


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
