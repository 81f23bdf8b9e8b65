"""Training on several cores gives what one core gives, and says what went wrong there."""

import inspect
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from processes import LINUX, PATIENCE, alive, wait_until
from torch import Tensor, nn

from refute import datasets, parallel
from refute.algorithms import SGD, Clipped
from refute.architectures import Network, Readout, Weights
from refute.attacks import FGSM
from refute.errors import ExecutionError, ShapeError, UnknownNameError, UsageError
from refute.parallel import train_on_cores
from refute.stopping import LossBelow, Patience
from refute.training import Run, train

SEEDS = (3, 1, 4, 15, 9)
RATES = torch.tensor([0.05, 0.1, 0.02, 0.2, 0.03])


def digits() -> datasets.Data:
    return datasets.load("digits", train=100, seeds=SEEDS, flatten=True)


def perceptron() -> Network:
    make = lambda: nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
    return Network.from_module(make, input_shape=(64,), outputs=10)


def noisy() -> Network:
    make = lambda: nn.Sequential(nn.Linear(64, 16), nn.BatchNorm1d(16), nn.Dropout(0.2), nn.SiLU(), nn.Linear(16, 10))
    return Network.from_module(make, input_shape=(64,), outputs=10)


def both(network: Network, data: datasets.Data, **options: object) -> tuple[Run, Run]:
    settings: dict[str, object] = {"learning_rate": RATES, "seeds": SEEDS, "steps": 12, "batch": 20, **options}
    alone = train(network, data, **settings)  # type: ignore[arg-type]
    return alone, train_on_cores(network, data, workers=2, **settings)  # type: ignore[arg-type]


def assert_same(alone: Run, shared: Run) -> None:
    assert torch.equal(alone.taken, shared.taken)
    torch.testing.assert_close(alone.losses, shared.losses, equal_nan=True)
    assert list(alone.snapshots) == list(shared.snapshots)
    for one, other in zip(of(alone), of(shared), strict=True):
        assert one.slots == other.slots
        torch.testing.assert_close(one.flat, other.flat)
        assert set(one.buffers) == set(other.buffers)
        for name, buffer in one.buffers.items():
            torch.testing.assert_close(buffer, other.buffers[name])


def of(run: Run) -> list[Weights]:
    return [run.start, run.end, *run.snapshots.values()]


def test_a_perceptron_has_the_same_bits() -> None:
    alone, shared = both(
        perceptron(), digits(), algorithm=SGD(momentum=0.9), snapshots=[0, 5, 12, 5], weight_decay=0.01
    )
    assert_same(alone, shared)
    assert torch.equal(alone.end.flat, shared.end.flat)
    assert torch.equal(alone.losses, shared.losses)


def test_what_draws_and_has_statistics() -> None:
    assert_same(*both(noisy(), digits(), attack=FGSM(epsilon=torch.linspace(0, 0.1, 5), low=0.0, high=1.0)))


@pytest.mark.parametrize("loss", [torch.linspace(0.5, 2.2, 5), 1.5])
def test_a_stop_knows_the_places_of_the_cohort(loss: float | Tensor) -> None:
    alone, shared = both(perceptron(), digits(), steps=60, stop=LossBelow(loss))
    assert len(set(alone.taken.tolist())) > 1
    assert_same(alone, shared)


def test_a_score_is_asked_with_the_places_of_the_cohort() -> None:
    score = lambda weights, replicas: torch.where(replicas == 3, torch.nan, 0.0)  # never better than before
    alone, shared = both(perceptron(), digits(), stop=Patience(score, every=2, patience=2, margin=-0.5))
    assert_same(alone, shared)
    assert alone.taken.tolist() == [12, 12, 12, 4, 12]


def test_vectors_start_and_readout_are_divided() -> None:
    network, data = perceptron(), digits()
    start = network.initialize([7, 8, 9, 10, 11])
    readout = Readout(scale=torch.linspace(1, 2, 5), centre=start)
    algorithm = Clipped(SGD(), norm=torch.linspace(0.1, 1, 5).unsqueeze(1))
    alone, shared = both(network, data, algorithm=algorithm, start=start, readout=readout)
    assert_same(alone, shared)
    assert torch.equal(shared.start.flat, start.flat)
    assert shared.readout is readout


def test_what_is_done_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "MOST_AT_A_TIME", 2)
    told: list[str] = []
    train_on_cores(
        perceptron(), digits(), learning_rate=0.1, seeds=SEEDS, steps=2, batch=None, workers=2, tell=told.append
    )
    assert told == [f"{done} of 5 replicas trained" for done in (2, 4, 5)]


def test_one_worker_is_this_process() -> None:
    here: list[int] = []

    def score(weights: Weights, replicas: Tensor) -> Tensor:
        here.append(os.getpid())
        return torch.zeros(len(replicas))

    stop = Patience(score, every=1)
    train_on_cores(perceptron(), digits(), learning_rate=0.1, seeds=SEEDS, steps=2, batch=5, stop=stop, workers=1)
    assert set(here) == {os.getpid()}


def test_arguments_are_those_of_training() -> None:
    here, there = (dict(inspect.signature(function).parameters) for function in (train_on_cores, train))
    assert {name: here.pop(name, None) for name in there} == there
    assert set(here) == {"workers", "tell"}


def test_errors_are_those_of_training() -> None:
    network, data = perceptron(), digits()
    good: dict[str, object] = {"learning_rate": 0.1, "seeds": SEEDS, "steps": 2, "batch": 5, "workers": 2}
    for wrong, error, text in [
        ({"loss": "hing"}, UnknownNameError, "did you mean 'hinge'"),
        ({"snapshots": [3]}, UsageError, "snapshots must lie between 0 and 2"),
        ({"seeds": [0]}, ShapeError, "data are for 5 replicas, 1 seeds came"),
        ({"learning_rate": [0.1, 0.2]}, ShapeError, "learning_rate must be a number or 5 numbers"),
        ({"workers": 0}, UsageError, "workers should be at least 1, but is 0"),
    ]:
        with pytest.raises(error, match=text):
            train_on_cores(network, data, **{**good, **wrong})  # type: ignore[arg-type]


def test_a_killed_worker_is_an_error_that_says_what_to_do() -> None:
    def score(weights: Weights, replicas: Tensor) -> Tensor:
        os.kill(os.getpid(), signal.SIGKILL)
        return torch.zeros(len(replicas))

    network, data, stop = perceptron(), digits(), Patience(score, every=1)
    with pytest.raises(ExecutionError, match="was killed, most often for lack of memory; try fewer workers than 2"):
        train_on_cores(network, data, learning_rate=0.1, seeds=SEEDS, steps=2, batch=5, stop=stop, workers=2)
    assert train_on_cores(network, data, learning_rate=0.1, seeds=SEEDS, steps=2, batch=5, workers=2).taken.sum() == 10


SCRIPT = """
import torch
from torch import nn
from refute.architectures import Network
from refute.datasets import load
from refute.parallel import train_on_cores
network = Network.from_module(lambda: nn.Linear(64, 10), input_shape=(64,), outputs=10)
data = load("digits", train=100, seeds=range(4), flatten=True)
run = train_on_cores(network, data, learning_rate=0.1, seeds=range(4), steps=3, batch=10, workers=2)
print(run.taken.tolist())
"""


def test_a_script_needs_no_guard(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[3, 3, 3, 3]\n", "")


DRIVER = """
import os, sys, time
from pathlib import Path
from torch import nn, zeros
from refute.architectures import Network
from refute.datasets import load
from refute.parallel import train_on_cores
from refute.stopping import Patience

def score(weights, replicas):
    (Path(sys.argv[1]) / str(os.getpid())).touch()
    time.sleep(0.1)
    return zeros(len(replicas))

network = Network.from_module(lambda: nn.Linear(64, 10), input_shape=(64,), outputs=10)
data = load("digits", train=100, seeds=range(4), flatten=True)
stop = Patience(score, every=1, patience=10**6)
train_on_cores(network, data, learning_rate=0.1, seeds=range(4), steps=10**5, batch=10, workers=2, stop=stop)
"""


@LINUX
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_a_driver_that_ends(tmp_path: Path, how: signal.Signals) -> None:
    def workers() -> list[int]:
        return [int(path.name) for path in tmp_path.iterdir() if alive(int(path.name))]

    def files() -> list[Path]:
        return [path for place in (parallel.SHARED_MEMORY, Path(tempfile.gettempdir())) for path in place.glob(ours)]

    script = ["-c", f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n{DRIVER}"]
    with subprocess.Popen([sys.executable, *script, str(tmp_path)], stderr=subprocess.DEVNULL) as driver:
        ours = f"refute-{driver.pid}-*"
        try:
            assert wait_until(lambda: len(workers()) == 2)
            assert files()
            driver.send_signal(how)
            driver.wait(PATIENCE)
        finally:
            driver.kill()
    assert wait_until(lambda: not workers() and not files())
