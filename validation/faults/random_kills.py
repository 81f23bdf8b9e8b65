"""kill -9 at random moments: does every run resume to the same rows and verdicts?

    python validation/faults/random_kills.py --rounds 50 --write docs/faults.md

Each round starts `flow.run` of real trainings (digits, 64-32-10) in a fresh lab, in turns with a fixed number of seeds
and look by look. After a number of stored cohorts that
is drawn, and a pause that is drawn, it kills: any process below the driver (a worker, or the server that workers are
forked from); or the driver; or one or both of two drivers that write one lab. Then it runs again what was killed, and
compares with an undisturbed run: every number to the last bit, every verdict, no process left, no warning. Exits with 1
at the first difference. Linux only, because it reads /proc.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from refute import architectures, datasets, flow
from refute.algorithms import SGD
from refute.core import (
    Claim,
    Cohort,
    Grid,
    Outcome,
    Phenomenon,
    Protocol,
    Quantity,
    Source,
    Value,
    at_least,
    looped,
    stacked,
)
from refute.instruments import accuracy
from refute.store import Store
from refute.store.agreement import compare
from refute.training import train

PATIENCE = 120.0
LONGEST_PAUSE_S = 0.3
"""Two workers take less for a cohort, about."""
WORKERS_SHARE = 0.75
"""How often a worker is chosen rather than any process below the driver."""
SERVER = "the server that workers are forked from, or its tracker"
KINDS = ("worker", "driver", "two drivers")
SEEDS = 20
COHORTS = {SEEDS: 30, None: 8}
"""Of a run with all seeds, and of one that goes look by look, whose first look settles the claim."""


def trial(cohort: Cohort) -> dict[str, Any]:
    data = datasets.load("digits", train=500, test=200, seeds=cohort.seeds, flatten=True)
    network = architectures.build("mlp", data.input_shape, data.classes, depth=1, width=cohort["width"])
    run = train(network, data, SGD(0.9), learning_rate=cohort["rate"], seeds=cohort.seeds, steps=500, batch=32)
    reached = accuracy(network, run.end, data.test_inputs, data.test_labels)
    return {"accuracy": reached, "course": run.losses, "diverged": run.diverged}


PHENOMENON = Phenomenon(
    name="random-kills",
    statement="Digits are learned, whatever is killed.",
    source=Source(authors="refute", title="Validation of faults", year=2026),
    factors={"width": looped("hidden units"), "rate": stacked("learning rate")},
    quantities={
        "accuracy": Quantity(definition="test accuracy"),
        "course": Quantity(definition="loss", axes=("step",)),
    },
    protocols={
        "smoke": Protocol(grids=(Grid(levels={"width": (16, 32), "rate": (0.01, 0.1, 30.0)}, seeds=SEEDS),), cohort=4)
    },
    trial=trial,
    claims=(
        Claim(
            id="C1",
            statement="Most are right.",
            effect=Value("accuracy"),
            holds=at_least(0.8, reason="eight of ten"),
            within=("width", "rate"),
        ),
    ),
    cell=("width",),
)


def drive(lab: Path, seeds: int | None) -> Outcome:
    """A run with a fixed number of seeds, or look by look for None."""
    return flow.run(PHENOMENON, scale="smoke", seeds=seeds, lab=lab, workers=2)


def start(lab: Path, seeds: int | None) -> subprocess.Popen[bytes]:
    fixed = [] if seeds is None else ["--seeds", str(seeds)]
    return subprocess.Popen([sys.executable, __file__, "--drive", str(lab), *fixed], stderr=subprocess.PIPE)


def end(driver: subprocess.Popen[bytes]) -> None:
    """Wait for a driver that nobody killed."""
    _, errors = driver.communicate(timeout=PATIENCE)
    if driver.returncode != 0:
        raise SystemExit(f"a driver that was not killed ended with {driver.returncode}:\n{errors.decode()}")


def await_cohorts(lab: Path, driver: subprocess.Popen[bytes], count: int) -> None:
    """Wait until so many cohorts are stored, or the driver has ended."""
    while len(list(lab.rglob("*.parquet"))) < count and driver.poll() is None:
        time.sleep(0.005)


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def below(pid: int) -> list[int]:
    """All processes below one."""
    return [each for child in children(pid) for each in (child, *below(child))]


def alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def disturb(kind: str, lab: Path, seeds: int | None, draw: random.Random) -> str:
    """One run with a kill in it, up to the moment when nothing runs any more; says what was killed."""
    drivers = [start(lab, seeds) for _ in range(2 if kind == "two drivers" else 1)]
    await_cohorts(lab, drivers[0], draw.randrange(COHORTS[seeds]))
    time.sleep(draw.uniform(0, LONGEST_PAUSE_S))
    seen = [pid for driver in drivers for pid in below(driver.pid)]
    if kind == "worker":
        while not seen and drivers[0].poll() is None:  # it is still importing
            time.sleep(0.005)
            seen = below(drivers[0].pid)
        if not seen:
            end(drivers[0])
            return "nothing, for the run had ended"
        workers = [pid for pid in seen if pid not in children(drivers[0].pid)]
        chosen = draw.choice(workers if workers and draw.random() < WORKERS_SHARE else seen)
        name = SERVER if chosen in children(drivers[0].pid) else "a worker"
        kill(chosen)
        end(drivers[0])
        return name
    killed = draw.sample(drivers, draw.randint(1, len(drivers)))
    for driver in killed:
        kill(driver.pid)
        driver.communicate(timeout=PATIENCE)
    for driver in drivers:
        if driver not in killed:
            end(driver)
    deadline = time.monotonic() + PATIENCE
    while any(alive(pid) for pid in seen):
        if time.monotonic() > deadline:
            raise SystemExit(f"processes outlive their driver: {[pid for pid in seen if alive(pid)]}")
        time.sleep(0.05)
    return "the driver" if len(drivers) == 1 else f"{len(killed)} of two drivers that write one lab"


def differences(outcome: Outcome, lab: Path, reference: Outcome) -> str:
    ours, theirs = Store(lab).results(outcome.trials), reference.results
    if set(ours) != set(theirs):
        return f"{len(ours)} trials are stored, {len(theirs)} were expected"
    worst = max((compare(ours.whole(key), theirs.whole(key)) for key in ours), key=lambda found: found.deviation)
    if worst.deviation > 0:
        return f"{worst.quantity} differs by {worst.deviation:g}"
    if outcome.verdicts != reference.verdicts:
        return "verdicts differ"
    if outcome.warnings or outcome.failures:
        return f"warnings {outcome.warnings}, failures {outcome.failures}"
    return ""


TEXT = """# Runs that are killed

Written by `validation/faults/random_kills.py`: each round starts `flow.run` of real trainings (digits, 64-32-10,
{trials}) in a fresh lab, half of the rounds with a fixed number of seeds and half look by look, and ends
processes with `kill -9` at a random moment. The run is then repeated and compared with an undisturbed one. In all
{rounds} rounds every number was the same to the last bit, every verdict the same, no process was left and nothing was
warned of.

| rounds | killed | part of the trials was stored by then |
|---|---|---|
{rows}

Where a worker or a server is killed, the run goes on by itself; where a driver is, the same command goes on.
"""


def page(told: Counter[str], part: Counter[str], trials: str) -> str:
    rows = (f"| {count} | {what} | {part[what] or '-'} |" for what, count in sorted(told.items()))
    return TEXT.format(rounds=told.total(), trials=trials, rows="\n".join(rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="of the moments and of what is killed")
    parser.add_argument("--drive", type=Path, metavar="LAB", help="only run the phenomenon in this lab")
    parser.add_argument("--seeds", type=int, help="with --drive; look by look without it")
    parser.add_argument("--write", type=Path, metavar="FILE", help="a page that says what was killed and found")
    options = parser.parse_args()
    if options.drive:
        sys.exit(1 if drive(options.drive, options.seeds).failures else 0)
    draw, told, part = random.Random(options.seed), Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        end(start(Path(folder, "warm"), None))
        references = {}
        for seeds in COHORTS:
            undisturbed = Path(folder, f"undisturbed-{seeds}")
            began = time.monotonic()
            end(start(undisturbed, seeds))
            seconds, references[seeds] = time.monotonic() - began, drive(undisturbed, seeds)
            print(f"undisturbed: {len(references[seeds].results)} trials in {seconds:.1f} s", flush=True)
        for number in range(options.rounds):
            kind, seeds, lab = KINDS[number % len(KINDS)], tuple(COHORTS)[number % 2], Path(folder, str(number))
            reference = references[seeds]
            what = disturb(kind, lab, seeds, draw)
            stored = len(Store(lab).results(reference.trials))
            outcome = drive(lab, seeds)
            wrong = differences(outcome, lab, reference)
            print(f"{number:3} {kind:12} killed {what:56} {stored:4} trials kept {wrong}", flush=True)
            if wrong:
                sys.exit(1)
            told[what] += 1
            part[what] += kind != "worker" and 0 < stored < len(reference.results)
    text = page(told, part, " or ".join(f"{len(each.results)} trials" for each in references.values()))
    print(text)
    if options.write:
        options.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
