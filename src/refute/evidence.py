"""Evidence of an outcome: the compact record that verdicts and page can be made from again without training."""

from dataclasses import asdict
from pathlib import Path

from refute.core import Outcome, Phenomenon, Provenance
from refute.engine import plan
from refute.errors import StoreError
from refute.judge import judge
from refute.report import as_json
from refute.store import read_evidence, write_evidence


def write_record(outcome: Outcome, folder: Path) -> list[Path]:
    """Write rows and record of an outcome to a folder; returns the paths."""
    record = {
        **as_json(outcome),
        "looks": None if outcome.looks is None else list(outcome.looks),
        "core_seconds": round(outcome.core_seconds, 1),
        "provenance": [asdict(made) for made in outcome.provenance],
        "warnings": list(outcome.warnings),
    }
    return write_evidence(folder, outcome.trials, outcome.results, record)


def read_record(phenomenon: Phenomenon, folder: Path) -> Outcome:
    """The outcome of a record: its rows, judged anew by the phenomenon's claims as they stand.

    Raises:
        StoreError: there is no record, its rows are not the ones it speaks of, or it is of another version.
    """
    results, record = read_evidence(folder)
    if (record["phenomenon"], record["version"]) != (phenomenon.name, phenomenon.version):
        raise StoreError(
            f"{folder} holds {record['phenomenon']} version {record['version']}; expected {phenomenon.name} version "
            f"{phenomenon.version}: run it again and write the record with refute report --write-evidence"
        )
    trials = plan(phenomenon, record["scale"])
    looks = None if record.get("looks") is None else tuple(record["looks"])
    return Outcome(
        phenomenon=phenomenon,
        scale=record["scale"],
        trials=trials,
        results=results,
        verdicts=judge(phenomenon, trials, results, looks),
        trials_run=0,
        trials_cached=len(results),
        diverged=sum(result.diverged for result in results.values()),
        seconds=record["seconds"],
        core_seconds=record["core_seconds"],
        provenance=tuple(Provenance(**made) for made in record["provenance"]),
        looks=looks,
        spared=len(trials) - len(results),
    )
