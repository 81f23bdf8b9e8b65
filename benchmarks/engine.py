"""The race: who trains many replicas of a small net fastest on this machine?

Each contestant sits in a process of its own; for a net, a batch size and a number of replicas they take turns at the
same task, round after round, so that a machine whose speed drifts slows all of them. What counts is replica-steps per
second of the whole task (data feeding, optimizer, evaluation), start-up and compilation apart, and of these the ratios
of medians. README.md of this folder says more.

    python benchmarks/engine.py                                        # a selection, about 10 minutes
    python benchmarks/engine.py --nets all --batch 128,32 --replicas 16,64 --rounds 5 --seconds 4     # all, hours
    python benchmarks/engine.py --nets mlp-256,conv-28 --table         # keeps results/PROCESSOR.json, writes the tables
    python benchmarks/engine.py --read out.json --table                # no race: results from there
"""

import argparse
import contextlib
import dataclasses
import itertools
import json
import math
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from contestants import CONTESTANTS, floor, table
from contestants.nets import NETS, flops

from refute.architectures.processor import vector_bytes

HERE = Path(__file__).parent
SELECTION = "mlp-256,mlp-64,mlp-8x96,autoencoder,conv-28,conv-8,conv-8-bn,lstm-64,transformer-64"
PROBE_STEPS, LEAST_STEPS, MOST_STEPS = 3, 20, 20_000
LONG_S = 45.0
"""A turn that takes longer is taken once only."""
PAUSE_S = 0.3
"""Between turns, until idle threads have stopped to spin."""
SAME, ALIKE, ERRORS = 0.02, 0.1, 4.0
"""Losses of those who share initial weights and data order agree to SAME of the first loss; ours, which has its own,
to ALIKE and ERRORS standard errors of the difference."""


class EndedError(Exception):
    """A contestant's process has ended; the text says what it printed last."""


class Racer:
    """A contestant's process, which waits for its turn."""

    def __init__(self, name: str, net: str, batch: int, replicas: int) -> None:
        started = time.perf_counter()
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - lives as long as the process
        self.process = subprocess.Popen(
            [sys.executable, "-m", "contestants.serve", name, net, str(batch), str(replicas)],
            cwd=HERE,
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        self.left_out: str | None = self._answer().get("left_out")
        self.start_s = time.perf_counter() - started

    def prepare(self, steps: int) -> float:
        """Seconds it took."""
        return float(self._ask(prepare=steps)["seconds"])

    def run(self, steps: int) -> dict[str, Any]:
        return self._ask(run=steps)

    def peak_mb(self) -> float | None:
        """Largest resident memory of all its processes together, None where the system does not tell."""
        try:
            return sum(_peak_kb(process) for process in _family(self.process.pid)) / 1024
        except OSError:
            return None

    def stop(self) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _ask(self, **order: int) -> dict[str, Any]:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.errors.seek(0)
            said = self.errors.read().strip().splitlines() or [f"ended with code {self.process.returncode}"]
            raise EndedError(said[-1][:200])
        found: dict[str, Any] = json.loads(line)
        return found


def _family(process: int) -> list[int]:
    """A process and all that come of it."""
    tasks = Path(f"/proc/{process}/task").glob("*/children")
    children = [int(child) for task in tasks for child in task.read_text().split()]
    return [process, *(each for child in children for each in _family(child))]


def _peak_kb(process: int) -> int:
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    return 0


def _busy_s() -> float:
    """Seconds that all cores have worked since the system's start; 0 where it does not tell."""
    counts = Path("/proc/stat")
    if not counts.exists():
        return 0.0
    user, nice, system = map(int, counts.read_text().split(maxsplit=4)[1:4])
    return (user + nice + system) / os.sysconf("SC_CLK_TCK")


@dataclasses.dataclass
class Race:
    """What is known of a race so far."""

    racers: dict[str, Racer]
    left_out: dict[str, str]
    rates: dict[str, list[float]]
    compile_s: dict[str, float]
    last: dict[str, dict[str, Any]]
    neighbours: list[float]
    """Cores in use while all contestants wait."""

    def drop(self, name: str, why: str) -> None:
        self.left_out[name] = why
        self.racers.pop(name).stop()
        self.rates.pop(name, None)


def race(net: str, batch: int, replicas: int, names: list[str], rounds: int, seconds: float) -> dict[str, Any]:
    """Rates of all contestants for one net, batch size and number of replicas."""
    state, ground = _gathered(net, batch, replicas, names), Racer("floor", net, batch, replicas)
    start_s = {name: racer.start_s for name, racer in state.racers.items()}
    steps, expected = _planned(state, seconds)
    for name, racer in list(state.racers.items()):
        try:
            state.compile_s[name] = racer.prepare(steps)
        except EndedError as reason:
            state.drop(name, str(reason))
    floors = []
    for turn in range(rounds):
        for name in list(state.racers):
            if turn == 0 or expected[name] <= LONG_S:
                _take_turn(state, name, steps, replicas)
        floors.append(floor.rate(_ground(ground.run(steps)), steps))
    peaks = {name: racer.peak_mb() for name, racer in state.racers.items()}
    for racer in (*state.racers.values(), ground):
        racer.stop()
    result = {
        "net": net,
        "title": NETS[net].title,
        "kind": NETS[net].kind,
        "batch": batch,
        "replicas": replicas,
        "steps": steps,
        "rates": state.rates,
        "median": {name: statistics.median(each) for name, each in state.rates.items()},
        "ratio": {name: table.ratio(state.rates, name) for name in state.rates if name != table.OURS},
        "floor": floors,
        "of_floor": table.share_of_floor(state.rates, floors),
        "gflop_per_step": flops(NETS[net], batch).step / 1e9,
        "start_s": start_s,
        "compile_s": state.compile_s,
        "training_share": {name: found["training_s"] / found["seconds"] for name, found in state.last.items()},
        "peak_mb": peaks,
        "neighbours": statistics.median(state.neighbours) if state.neighbours else 0.0,
        "losses": {name: _losses(found) for name, found in state.last.items()},
        "left_out": state.left_out,
        "remarks": {name: found["remark"] for name, found in state.last.items() if found["remark"]},
    }
    return {**result, "missed": table.missed(result), "doubts": doubts(state.last)}


def _gathered(net: str, batch: int, replicas: int, names: list[str]) -> Race:
    state = Race({}, {}, {}, {}, {}, [])
    for name in names:
        try:
            racer = Racer(name, net, batch, replicas)
        except EndedError as reason:
            state.left_out[name] = str(reason)
            continue
        if racer.left_out is not None:
            state.left_out[name] = racer.left_out
            racer.stop()
            continue
        state.racers[name] = racer
    return state


def _planned(state: Race, seconds: float) -> tuple[int, dict[str, float]]:
    """Steps with which the median contestant's turn takes so long, and how long each one's will then take."""
    step, rest = {}, {}
    for name, racer in list(state.racers.items()):
        try:
            racer.prepare(PROBE_STEPS)
            found = racer.run(PROBE_STEPS)
            if found["seconds"] < LONG_S:  # the first run also warms up
                found = racer.run(PROBE_STEPS)
        except EndedError as reason:
            state.drop(name, str(reason))
            continue
        step[name] = found["training_s"] / PROBE_STEPS
        rest[name] = found["seconds"] - found["training_s"]
    if not step:
        return LEAST_STEPS, {}
    wanted = statistics.median((seconds - rest[name]) / step[name] for name in step)
    steps = max(LEAST_STEPS, min(MOST_STEPS, math.ceil(wanted)))
    return steps, {name: rest[name] + steps * step[name] for name in step}


def _take_turn(state: Race, name: str, steps: int, replicas: int) -> None:
    before = _busy_s()
    time.sleep(PAUSE_S)
    state.neighbours.append((_busy_s() - before) / PAUSE_S)
    try:
        found = state.racers[name].run(steps)
    except EndedError as reason:
        state.drop(name, str(reason))
        return
    state.last[name] = found
    state.rates.setdefault(name, []).append(replicas * steps / found["seconds"])


def _ground(answer: dict[str, Any]) -> floor.Ground:
    return floor.Ground(answer["step_s"], answer["evaluation_s"])


# Whether all did the task ---------------------------------------------------------------------------------------------


def _losses(found: dict[str, Any]) -> dict[str, float]:
    return {
        "first": statistics.fmean(found["first_losses"]),
        "last": statistics.fmean(found["last_losses"]),
        "score": found["score"],
    }


def doubts(last: dict[str, dict[str, Any]]) -> list[str]:
    """What speaks against a contestant having done the task: a loss that did not fall, or is not like the others'."""
    found = []
    for name, outcome in last.items():
        losses = _losses(outcome)
        if not losses["last"] < losses["first"]:
            found.append(f"{name} did not learn: its loss went from {losses['first']:.4g} to {losses['last']:.4g}")
    reference = last.get("plain")
    if reference is None:
        return found
    scale = _losses(reference)["first"]
    for name, outcome in last.items():
        for which in ("first_losses", "last_losses"):
            theirs, plain = outcome[which], reference[which]
            difference = abs(statistics.fmean(theirs) - statistics.fmean(plain))
            allowed = SAME * scale
            if name == table.OURS:
                allowed = ALIKE * scale + ERRORS * math.hypot(_standard_error(theirs), _standard_error(plain))
            if not difference <= allowed:
                found.append(f"{name} differs from plain by {difference:.3g} in its {which.replace('_', ' ')}")
    return found


def _standard_error(values: list[float]) -> float:
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0


# The program ----------------------------------------------------------------------------------------------------------


VECTORS = {64: ", AVX-512", 32: ", AVX2"}
"""What is added to a processor's name, which stands for several widths."""


def machine() -> dict[str, Any]:
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        names = [row for row in Path("/proc/cpuinfo").read_text().splitlines() if row.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    model += VECTORS.get(vector_bytes(), "")
    versions = {"python": platform.python_version()}
    for package in ("torch", "jax", "joblib", "numpy", "refute"):
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    return {"processor": model, "cores": floor.CORES, "system": platform.platform(), "versions": versions}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", default=SELECTION, help=f"all, or some of {', '.join(NETS)}")
    parser.add_argument("--batch", default="128", help="examples in a step, as 128,32")
    parser.add_argument("--replicas", default="16", help="as 16,64")
    parser.add_argument("--contestants", default=",".join(CONTESTANTS), help=f"some of {', '.join(CONTESTANTS)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of the median contestant's turn")
    parser.add_argument("--json", type=Path, help="where results go; races that it has already are kept with --resume")
    parser.add_argument("--resume", action="store_true", help="leave out races that --json has already")
    parser.add_argument("--read", type=Path, metavar="JSON", help="do not race, take results from there")
    parser.add_argument(
        "--table",
        action="store_true",
        help="keep the results in results/ and write all tables into the README.md here and of the repository",
    )
    options = parser.parse_args()
    options.nets = list(NETS) if options.nets == "all" else options.nets.split(",")
    options.contestants = options.contestants.split(",")
    for chosen, known, what in ((options.nets, NETS, "net"), (options.contestants, CONTESTANTS, "contestant")):
        unknown = [name for name in chosen if name not in known]
        if unknown:
            parser.error(f"no {what} is called {unknown[0]!r}; there are {', '.join(known)}")
    if options.resume and not options.json:
        parser.error("--resume goes with --json, which says where the earlier results are")
    return options


def _all_races(options: argparse.Namespace) -> dict[str, Any]:
    settings = {"rounds": options.rounds, "seconds": options.seconds}
    results: dict[str, Any] = {"machine": machine(), "settings": settings, "results": []}
    if options.resume and options.json.exists():
        results["results"] = json.loads(options.json.read_text())["results"]
    done = {(each["net"], each["batch"], each["replicas"]) for each in results["results"]}
    sizes = itertools.product(options.nets, map(int, options.batch.split(",")), map(int, options.replicas.split(",")))
    for net, batch, replicas in sizes:
        if (net, batch, replicas) in done:
            continue
        found = race(net, batch, replicas, options.contestants, options.rounds, options.seconds)
        results["results"].append(found)
        _tell(found)
        if options.json:
            options.json.write_text(json.dumps(results, indent=1) + "\n")
    return results


def keep(results: dict[str, Any]) -> None:
    """In results/, one file for each kind of processor."""
    slug = re.sub(r"[^a-z0-9]+", "-", results["machine"]["processor"].lower()).strip("-")
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / f"{slug}.json").write_text(json.dumps(results, indent=1) + "\n")


def _tell(result: dict[str, Any]) -> None:
    print(table.ratios([result])[-1], flush=True)
    print(table.rates([result])[-1], flush=True)
    for name, why in result["left_out"].items():
        print(f"  {CONTESTANTS[name]} is left out: {why}", flush=True)
    for note in table.disturbed(result):
        print(f"  {note}", flush=True)
    for doubt in result["doubts"]:
        print(f"  DOUBT: {doubt}", flush=True)


def main() -> None:
    options = _arguments()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.pop(name, None)  # contestants have the threads they ask for
    results = json.loads(options.read.read_text()) if options.read else _all_races(options)
    print("\n" + table.both(results))
    if options.table:
        keep(results)
        kept = sorted((HERE / "results").glob("*.json"))
        machines = [json.loads(each.read_text()) for each in kept]
        table.write(HERE / "README.md", machines)
        table.put_between(HERE.parent / "README.md", "speed", table.speeds(machines))
    doubtful = [f"{each['title']}: {doubt}" for each in results["results"] for doubt in each["doubts"]]
    if doubtful:
        raise SystemExit("\n".join(["Not all contestants did the same task:", *doubtful]))


if __name__ == "__main__":
    main()
