"""What a trial costs beside its training: 1,000 tiny trials against 10,000, and plans of 100,000.

    python benchmarks/scheduling.py
    python benchmarks/scheduling.py --write          # also the table in benchmarks/README.md

Each measurement runs in a process of its own. "digits" trains the net 64-32-10 for 100 steps; "nothing" draws a number
and a curve of 200 points, so that only scheduling, storing and judging are left. The driver's memory is its resident
size at the end, above that before the run, with the plan and all results in it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from contestants.table import put_between
from engine import machine
from torch import Tensor

from refute import architectures, datasets, flow
from refute.algorithms import SGD
from refute.core import Claim, Cohort, Grid, Phenomenon, Protocol, Quantity, Result, Source, Value, at_least, stacked
from refute.engine import cohorts, plan
from refute.environment import provenance
from refute.instruments import accuracy
from refute.randomness import stream
from refute.store import Store
from refute.training import train

README = Path(__file__).with_name("README.md")
PLANNED = 100_000
RATES = tuple(0.01 * (1 + step) for step in range(10))


def digits_trial(cohort: Cohort) -> dict[str, Any]:
    data = datasets.load("digits", train=500, test=200, seeds=cohort.seeds, flatten=True)
    network = architectures.build("mlp", data.input_shape, data.classes, depth=1, width=32)
    run = train(network, data, SGD(0.9), learning_rate=cohort["learning_rate"], seeds=cohort.seeds, steps=100, batch=32)
    reached = accuracy(network, run.end, data.test_inputs, data.test_labels)
    return {"score": reached, "course": run.losses, "diverged": run.diverged}


def no_trial(cohort: Cohort) -> dict[str, Any]:
    drawn = torch.stack([torch.rand((), generator=stream(seed, "score")) for seed in cohort.seeds])
    course: Tensor = drawn[:, None] * torch.linspace(0, 1, 200)
    return {"score": drawn, "course": course, "diverged": drawn < 0}


def phenomenon(kind: str, trials: int) -> Phenomenon:
    grid = Grid(levels={"learning_rate": RATES}, seeds=trials // len(RATES))
    return Phenomenon(
        name=f"scheduling-{kind}",
        statement="Trials cost no more when there are many.",
        source=Source(authors="refute", title="Benchmark of scheduling", year=2026),
        factors={"learning_rate": stacked("step size")},
        quantities={"score": Quantity(definition="what is judged"), "course": Quantity(definition="c", axes=("step",))},
        protocols={"smoke": Protocol(grids=(grid,))},
        trial=digits_trial if kind == "digits" else no_trial,
        claims=(
            Claim(
                id="C1",
                statement="Scores are positive.",
                effect=Value("score"),
                holds=at_least(0.1, reason="a tenth"),
                within=("learning_rate",),
            ),
        ),
        cell=(),
    )


def resident_megabytes() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) / 1024


def measure_run(kind: str, trials: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as lab:
        flow.run(phenomenon(kind, 20), scale="smoke", lab=Path(lab, "first"))  # imports, views, the fork server
        before, started = resident_megabytes(), time.perf_counter()
        outcome = flow.run(phenomenon(kind, trials), scale="smoke", seeds=trials // len(RATES), lab=Path(lab))
        seconds = time.perf_counter() - started
        assert outcome.trials_run == trials, outcome.failures
        grown = resident_megabytes() - before
        cpu = outcome.core_seconds
    return {
        "milliseconds per trial": round(1000 * seconds / trials, 3),
        "of these in workers": round(1000 * cpu / trials, 3),
        "driver's memory, MB": round(grown, 1),
    }


def measure_plan(trials: int) -> dict[str, float]:
    """Plan, and what is missing of it, in an empty lab and in one that holds all."""
    entry, found = phenomenon("nothing", trials), {}
    started = time.perf_counter()
    planned = plan(entry, "smoke")
    found["plan, s"] = time.perf_counter() - started
    with tempfile.TemporaryDirectory() as lab:
        started = time.perf_counter()
        assert len(Store(Path(lab)).missing(planned)) == trials
        found["missing, empty lab, s"] = time.perf_counter() - started
        made = provenance("cpu")
        for cohort in cohorts(entry, planned, size=32):
            Store(Path(lab)).add(cohort, [Result(t.key, False, {"score": 0.5}) for t in cohort.trials], made, 1.0)
        started = time.perf_counter()
        assert not Store(Path(lab)).missing(planned)
        found["missing, full lab, s"] = time.perf_counter() - started
    return {name: round(seconds, 2) for name, seconds in found.items()}


def table(runs: dict[tuple[str, int], dict[str, float]], planned: dict[str, float]) -> str:
    """All that was measured, as Markdown."""
    names = list(next(iter(runs.values())))
    rows = [f"| {' | '.join(['trials', *names])} |", "|" + "---|" * (1 + len(names))]
    for (kind, trials), found in runs.items():
        rows.append(f"| {trials:,} of {kind} | {' | '.join(str(found[name]) for name in names)} |")
    said = ", ".join(f"{name} {value}" for name, value in planned.items())
    here = machine()
    return "\n".join([*rows, "", f"{PLANNED:,} trials: {said}.", "", f"{here['processor']}, {here['cores']} cores."])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs=2, metavar=("KIND", "TRIALS"), help="one measurement, in this process")
    parser.add_argument("--write", action="store_true", help="write the table into benchmarks/README.md")
    options = parser.parse_args()
    if options.only:
        kind, trials = options.only[0], int(options.only[1])
        print(json.dumps(measure_plan(trials) if kind == "plan" else measure_run(kind, trials)))
        return
    runs = {(kind, n): _apart(kind, n) for kind in ("nothing", "digits") for n in (1000, 10_000)}
    text = table(runs, _apart("plan", PLANNED))
    print("\n" + text)
    if options.write:
        put_between(README, "scheduling", text)


def _apart(kind: str, trials: int) -> dict[str, float]:
    """Measured in a process of its own."""
    command = [sys.executable, __file__, "--only", kind, str(trials)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    print(f"{kind:8} {trials:7} {said}", flush=True)
    found: dict[str, float] = json.loads(said)
    return found


if __name__ == "__main__":
    main()
