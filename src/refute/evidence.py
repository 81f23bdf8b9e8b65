"""Evidence of an outcome: its record and rows, which verdicts and page can be made from again without training."""

import json
import time
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from refute.core import Outcome, Phenomenon, Provenance
from refute.engine import plan
from refute.errors import StoreError
from refute.judge import judge
from refute.records.document import Environment, Record
from refute.records.making import make_record
from refute.records.rows import rows_digest
from refute.records.standing import Standing
from refute.store import read_rows, write_rows
from refute.store.files import reason, write_whole

ROWS, RECORD = "rows.parquet", "record.json"


def write_evidence(outcome: Outcome, standing: Standing, folder: Path) -> list[Path]:
    """Write rows and record (docs/record.md) of an outcome to a folder; returns the paths, rows first.

    Raises:
        UsageError: the outcome is only a part of the protocol, or of data that are not the published ones.
        StoreError: the folder can't be written.
    """
    record = make_record(outcome, standing, rows_file=ROWS)
    write_rows(folder / ROWS, outcome.trials, outcome.results)
    write_whole(folder / RECORD, document(record).encode())
    return [folder / ROWS, folder / RECORD]


def document(record: dict[str, Any]) -> str:
    """A record as the text of its file."""
    return json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def read_evidence(phenomenon: Phenomenon, folder: Path) -> Outcome:
    """The outcome of the evidence in a folder: its rows, judged anew by the phenomenon's claims as they stand.

    Raises:
        StoreError: a file is missing, the rows are not the ones that the record speaks of, or both are of another
            version.
    """
    path = folder / RECORD
    try:
        record = Record.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StoreError(
            f"{folder} holds no evidence: expected {RECORD} and {ROWS}, but the system says '{reason(error)}'"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        raise StoreError(
            f"{path} is no record ({'.'.join(map(str, first['loc']))}: {first['msg']}); restore it from version "
            "control, or write it again with refute report --write-evidence"
        ) from error
    said = record.definition
    if (said.phenomenon, said.version) != (phenomenon.name, phenomenon.version):
        raise StoreError(
            f"{folder} holds {said.phenomenon} version {said.version}; expected {phenomenon.name} version "
            f"{phenomenon.version}: run it again and write the evidence with refute report --write-evidence"
        )
    trials, results = plan(phenomenon, said.scale), read_rows(folder / ROWS)
    came = rows_digest((trial.key for trial in trials), results)
    if came != record.rows.digest:
        raise StoreError(
            f"{folder / ROWS} does not hold the rows that {RECORD} speaks of: expected {record.rows.digest}, {came} "
            "came; restore both from version control"
        )
    started = time.perf_counter()
    verdicts = judge(phenomenon, trials, results, record.rows.looks)
    return Outcome(
        phenomenon=phenomenon,
        scale=said.scale,
        trials=trials,
        results=results,
        verdicts=verdicts,
        trials_run=0,
        trials_cached=len(results),
        diverged=sum(result.diverged for result in results.values()),
        seconds=time.perf_counter() - started,
        core_seconds=record.core_seconds,
        provenance=tuple(map(_provenance, record.environments)),
        looks=record.rows.looks,
        spared=len(trials) - len(results),
        standing={
            one.claim: one.registration.sentence for one in record.verdicts if one.registration.kind != "unregistered"
        },
    )


def _provenance(made: Environment) -> Provenance:
    return Provenance(
        code_version=made.code_version,
        python=made.python,
        packages=made.packages,
        platform=made.platform,
        processor=made.processor,
        device=made.device,
        created=made.created,
    )
