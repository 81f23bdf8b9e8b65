"""The kernel really ends workers for lack of memory: are their cohorts halved, and are the results the same?

    python validation/faults/out_of_memory.py

Puts a driver into a memory control group of its own (version 1, which takes root) that holds two replicas of a trial
but not eight. Expects the rows of a run without the limit, and no failure.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from refute import flow
from refute.core import Claim, Cohort, Grid, Phenomenon, Progress, Protocol, Quantity, Source, Value, at_least, looped
from refute.engine import memory
from refute.randomness import stream
from refute.store import Store

GROUPS = Path("/sys/fs/cgroup/memory")
SEEDS = 24
PER_REPLICA = 400_000_000
LIMIT = 2_200_000_000


def trial(cohort: Cohort) -> dict[str, Any]:
    if "REFUTE_HUNGRY" in os.environ:
        torch.ones(len(cohort), PER_REPLICA // 4)
        time.sleep(0.2)
    return {"drawn": torch.stack([torch.rand((), generator=stream(seed, "drawn")) for seed in cohort.seeds])}


PHENOMENON = Phenomenon(
    name="out-of-memory",
    statement="What does not fit is divided.",
    source=Source(authors="refute", title="Validation of faults", year=2026),
    factors={"kind": looped("any")},
    quantities={"drawn": Quantity(definition="a number")},
    protocols={"smoke": Protocol(grids=(Grid(levels={"kind": ("a", "b")}, seeds=SEEDS),), cohort=8)},
    trial=trial,
    claims=(
        Claim(id="C1", statement="Positive.", effect=Value("drawn"), holds=at_least(0.0, reason="0"), within=("kind",)),
    ),
    cell=("kind",),
)


def drive(lab: Path) -> int:
    told: list[str] = []

    def watch(progress: Progress) -> None:
        if progress.message:
            told.append(progress.message)

    outcome = flow.run(PHENOMENON, scale="smoke", seeds=SEEDS, lab=lab, workers=1, watch=watch)
    print("\n".join(told))
    print(f"{len(outcome.results)} trials, {len(outcome.failures)} failures")
    return len(outcome.failures)


def main() -> None:
    if len(sys.argv) > 1:
        sys.exit(drive(Path(sys.argv[1])))
    group = GROUPS / f"refute-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(LIMIT))
    except OSError as error:
        raise SystemExit(f"needs root and memory control groups of version 1 at {GROUPS}: {error}") from error
    before = memory.kills()
    with tempfile.TemporaryDirectory() as folder:
        inside = f"echo $$ > {group}/cgroup.procs; exec {sys.executable} {__file__} {folder}/tight"
        done = subprocess.run(["bash", "-c", inside], env={**os.environ, "REFUTE_HUNGRY": "1"}, check=False)
        drive(Path(folder, "roomy"))
        group.rmdir()
        trials = flow.stored(PHENOMENON, scale="smoke", seeds=SEEDS, lab=Path(folder, "roomy")).trials
        tight, roomy = Store(Path(folder, "tight")).results(trials), Store(Path(folder, "roomy")).results(trials)
        same = tight == roomy and len(tight) == len(trials)
    killed = memory.kills() - before
    print(f"the kernel ended {killed} processes; rows are {'the same' if same else 'DIFFERENT'}")
    sys.exit(0 if done.returncode == 0 and killed > 0 and same else 1)


if __name__ == "__main__":
    main()
