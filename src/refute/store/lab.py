"""The lab: a folder of Parquet files that is only ever added to.

One file per finished cohort, `trials/PHENOMENON/COHORT-DIGEST.parquet`. The digest is that of the file's own bytes, so
a truncated or altered file is found out; it is moved to `damaged/` and its trials count as missing. Files are written
to a temporary name, synced and renamed. Any number of processes or people may write; merging two labs is copying files.

A trial may be stored twice, after a merge or when two runs overlapped. The file made first is used, by the time in its
provenance, then by name, so that every reader chooses alike; results that differ cause one `DeterminismWarning`.
"""

import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import duckdb

from refute.core import Cohort, Provenance, Result, Trial
from refute.errors import DamagedFileWarning, DeterminismWarning, StoreError, UsageError
from refute.store.agreement import Disagreement, compare
from refute.store.cohorts import StoredCohort, describe, pack, read_results, read_scalars, rows_of
from refute.store.files import TEMPORARY, digest_of, proves_itself, reason, remove_stale, set_aside, write_whole
from refute.store.results import StoredResults


class Store:
    """Results of one lab.

    Args:
        lab: its folder; made when it is not there.

    Raises:
        StoreError: the folder can't be made; the methods raise it when the lab can't be read or written.
    """

    def __init__(self, lab: Path) -> None:
        self.lab = lab
        self._known: dict[str, tuple[tuple[int, int], StoredCohort | None]] = {}
        try:
            (lab / "trials").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"the lab {lab.resolve()} can't be used: expected a folder that can be written, but the system says "
                f"'{reason(error)}'; choose another folder"
            ) from error

    def missing(self, trials: Sequence[Trial]) -> list[Trial]:
        """Those trials that have no stored result, in their order."""
        stored = {key for cohort in self._cohorts(trials) for key in cohort.keys}
        return [trial for trial in trials if trial.key not in stored]

    def results(self, trials: Sequence[Trial]) -> StoredResults:
        """Stored results by key; of a trial stored twice the one made first. Curves are read when they are asked for.

        Warns:
            DeterminismWarning: once, when such results differ, with the largest deviation of all.
        """
        wanted = {trial.key for trial in trials}
        found = StoredResults()
        origin: dict[Path, StoredCohort] = {}
        differing: list[tuple[Disagreement, str, StoredCohort, StoredCohort]] = []
        for cohort in self._holding(trials):
            origin[cohort.path] = cohort
            doubled = [key for key in cohort.keys if key in found]
            again = read_results(cohort.path) if doubled else {}
            for key in doubled:
                disagreement = compare(found.whole(key), again[key])
                if disagreement.deviation > 0:
                    differing.append((disagreement, key, origin[found.path(key)], cohort))
            scalars = read_scalars(cohort)
            new = [result for key, result in scalars.results.items() if key in wanted]
            found.add(cohort.path, new, curves=scalars.curves)
        if differing:
            warnings.warn(_disagree(differing), DeterminismWarning, stacklevel=2)
        return found

    def add(self, cohort: Cohort, results: Sequence[Result], provenance: Provenance, seconds: float) -> Path:
        """Store the results of one cohort in a file of its own.

        Args:
            cohort: what was trained.
            results: one for each of its trials, in any order.
            provenance: where they came from.
            seconds: what its worker took.

        Raises:
            StoreError: the disk is full or the folder can't be written; nothing half-written stays behind.
        """
        content = pack(cohort, results, provenance, seconds)
        name = f"{cohort.key}-{digest_of(content)}.parquet"
        path = self.lab / "trials" / cohort.trials[0].phenomenon / name
        write_whole(path, content)
        return path

    def seconds(self, trials: Sequence[Trial]) -> float:
        """Seconds of work behind the stored trials: each cohort's, by the share of its trials that are asked for."""
        wanted = {trial.key for trial in trials}
        return sum(
            cohort.seconds * sum(key in wanted for key in cohort.keys) / len(cohort.keys)
            for cohort in self._holding(trials)
        )

    def provenance(self, trials: Sequence[Trial]) -> tuple[Provenance, ...]:
        """Where the stored results of these trials came from, each combination of code and environment once."""
        found: dict[tuple[str, str], Provenance] = {}
        for cohort in self._holding(trials):
            made = cohort.provenance
            found.setdefault((made.code_version, made.environment), made)
        return tuple(found.values())

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Rows that answer a DuckDB query over the table `trials`: one row per number, of all phenomena.

        Columns: trial, phenomenon, version, levels and settings (JSON text), block, seed, diverged, quantity, axis0,
        axis1, value, code_version, environment, device, seconds (of the cohort) and created. A trial stored twice
        appears once. Levels are read with `levels->>'learning_rate'`.

        Raises:
            UsageError: DuckDB does not accept the query.
        """
        folders = [path.name for path in (self.lab / "trials").iterdir() if path.is_dir()]
        with duckdb.connect() as connection:
            connection.register("trials", rows_of(self._in_folders(folders)))
            try:
                answer = connection.execute(sql)
                names = [column[0] for column in answer.description or ()]
                return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]
            except duckdb.Error as error:
                raise UsageError(f"the query '{sql}' can't be answered: {str(error).strip()}") from error

    # --- files ----------------------------------------------------------------------------------------------------

    def _holding(self, trials: Sequence[Trial]) -> list[StoredCohort]:
        """Cohorts with at least one of the trials, in the order in which they were made."""
        wanted = {trial.key for trial in trials}
        return [cohort for cohort in self._cohorts(trials) if not wanted.isdisjoint(cohort.keys)]

    def _cohorts(self, trials: Iterable[Trial]) -> list[StoredCohort]:
        return self._in_folders({trial.phenomenon for trial in trials})

    def _in_folders(self, phenomena: Iterable[str]) -> list[StoredCohort]:
        """Sound files of some phenomena in the order in which they were made; damaged ones are set aside on the way."""
        found = []
        for phenomenon in phenomena:
            try:
                with os.scandir(self.lab / "trials" / phenomenon) as entries:
                    for entry in entries:
                        if entry.name.startswith(TEMPORARY):
                            remove_stale(Path(entry.path))
                        elif entry.name.endswith(".parquet"):
                            found.append(self._look_up(entry))
            except FileNotFoundError:
                continue
            except OSError as error:
                raise StoreError(
                    f"the lab {self.lab.resolve()} can't be read: the system says '{reason(error)}' of "
                    f"{error.filename}; correct that or choose another folder"
                ) from error
        sound = [cohort for cohort in found if cohort]
        return sorted(sound, key=lambda cohort: (cohort.provenance.created, cohort.path.name))

    def _look_up(self, entry: "os.DirEntry[str]") -> StoredCohort | None:
        """What a file says about itself, None for a damaged one; bytes are checked once per process."""
        path = Path(entry.path)
        try:
            status = entry.stat()
            identity = status.st_size, status.st_mtime_ns
            if entry.path not in self._known or self._known[entry.path][0] != identity:
                self._known[entry.path] = identity, self._check(path)
        except FileNotFoundError:
            return None
        return self._known[entry.path][1]

    def _check(self, path: Path) -> StoredCohort | None:
        content = path.read_bytes()
        if proves_itself(path, content):
            return describe(path, content)
        where = set_aside(path, self.lab / "damaged")
        warnings.warn(
            f"{path} was truncated or altered: {where}, and its trials count as not run yet",
            DamagedFileWarning,
            stacklevel=2,
        )
        return None


def _disagree(differing: Sequence[tuple[Disagreement, str, StoredCohort, StoredCohort]]) -> str:
    worst, key, kept, other = max(differing, key=lambda found: found[0].deviation)
    same = kept.provenance.environment == other.provenance.environment
    more = f" ({len(differing) - 1} more trials differ, by no more than that)" if len(differing) > 1 else ""
    return (
        f"trial {key} was computed twice with different results: {worst.quantity} differs by up to "
        f"{worst.deviation:.3g} between {kept.path} and {other.path}, made in {'the same' if same else 'different'} "
        f"environment{'' if same else 's'}; the first, which was made earlier, is used{more}"
    )
