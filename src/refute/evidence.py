"""Evidence of an outcome: the compact record that a phenomenon's page can be made from without training."""

from dataclasses import asdict
from pathlib import Path

from refute.core import Outcome
from refute.report import as_json
from refute.store import write_evidence


def write_record(outcome: Outcome, folder: Path) -> list[Path]:
    """Write rows and record of an outcome to a folder; returns the paths."""
    record = {
        **as_json(outcome),
        "core_seconds": round(outcome.core_seconds, 1),
        "provenance": [asdict(made) for made in outcome.provenance],
        "warnings": list(outcome.warnings),
    }
    return write_evidence(folder, outcome.trials, outcome.results, record)
