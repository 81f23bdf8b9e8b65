"""A real cluster of two nodes on this machine: the same rows and verdicts as without it, whatever becomes of a node."""

import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import make_phenomenon, noisy_trial
from typer.testing import CliRunner

from refute import architectures, datasets, flow
from refute.algorithms import SGD
from refute.cli import app
from refute.core import (
    Claim,
    Cohort,
    Grid,
    Outcome,
    Phenomenon,
    Progress,
    Protocol,
    Quantity,
    Value,
    at_least,
    looped,
)
from refute.engine import Finished, cohorts, execute, memory, plan
from refute.errors import ExecutionError, UsageError
from refute.instruments import accuracy, training_accuracy
from refute.training import train

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'refute[ray]'")
cluster_utils = pytest.importorskip("ray.cluster_utils")
ray_cluster = pytest.importorskip("refute.engine.ray_cluster")

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")

TESTS = Path(__file__).parents[1]
SIGNALS, SECOND = "REFUTE_TEST_SIGNALS", "REFUTE_TEST_SECOND"
"""Variables of all nodes (a folder that they share), and of the second node alone."""
PATIENCE = 120
PER_REPLICA = 60_000_000
"""Bytes that `hungry_trial` takes for each replica."""


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path.name} did not happen within {PATIENCE} s")
        time.sleep(0.05)


def lost_trial(cohort: Cohort) -> dict[str, Any]:
    """On the second node it waits until that node is killed; elsewhere until it has started there."""
    started, killed = (Path(os.environ[SIGNALS], name) for name in ("started", "killed"))
    if os.environ.get(SECOND):
        started.touch()
        wait_for(killed)
    else:
        wait_for(started)
    return noisy_trial(cohort)


def endless_trial(cohort: Cohort) -> dict[str, Any]:
    wait_for(Path("what never comes"))
    return noisy_trial(cohort)


def hungry_trial(cohort: Cohort) -> dict[str, Any]:
    torch.zeros(len(cohort), PER_REPLICA // 4).add_(1)
    return noisy_trial(cohort)


def failing_trial(cohort: Cohort) -> dict[str, Any]:
    if cohort["kind"] == "plus" and 2 in cohort.blocks:
        raise ZeroDivisionError("nothing to divide")
    return noisy_trial(cohort)


def training_trial(cohort: Cohort) -> dict[str, Any]:
    """A small net is trained; where the second node is known, elsewhere only once it has begun to work."""
    if os.environ.get(SECOND):
        Path(os.environ[SIGNALS], "trained").touch()
    elif os.environ.get(SIGNALS):
        wait_for(Path(os.environ[SIGNALS], "trained"))
    data = datasets.load(cohort["dataset"], train=100, seeds=cohort.seeds, flatten=True)
    network = architectures.build("mlp", data.input_shape, data.classes, width=16)
    run = train(network, data, SGD(0.9), learning_rate=0.1, seeds=cohort.seeds, steps=40, batch=20)
    return {
        "train_accuracy": training_accuracy(network, run.end, data),
        "test_accuracy": accuracy(network, run.end, data.test_inputs, data.test_labels),
        "diverged": run.diverged,
    }


def training() -> Phenomenon:
    """Two looks are taken, for the second claim stays open."""
    return make_phenomenon(
        name="training",
        factors={"dataset": looped("images")},
        quantities={
            "train_accuracy": Quantity(definition="of what it was trained on", low=0, high=1),
            "test_accuracy": Quantity(definition="of what it was not", low=0, high=1),
        },
        protocols={
            "smoke": Protocol(grids=(Grid(levels={"dataset": ("digits",)}, seeds=12),), looks=(6, 12), cohort=2)
        },
        trial=training_trial,
        claims=(
            Claim(
                id="C1",
                statement="It learns.",
                effect=Value("train_accuracy"),
                holds=at_least(0.3, reason="three times chance"),
                within=("dataset",),
            ),
            Claim(
                id="C2",
                statement="It generalizes.",
                effect=Value("test_accuracy"),
                holds=at_least(0.35, reason="about what it reaches"),
                within=("dataset",),
            ),
        ),
        cell=("dataset",),
    )


@pytest.fixture(scope="module", autouse=True)
def workers_that_find_conftest() -> Iterator[None]:
    """This file itself travels with the phenomenon."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(TESTS))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        yield
        ray.shutdown()


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Nodes"]:
    found = Nodes(tmp_path_factory.mktemp("nodes"))
    connect(found.address)
    yield found
    ray.shutdown()
    found.cluster.shutdown()


def connect(address: str) -> None:
    """Ray gives a client's own server half a minute to start, which a busy machine may not keep."""
    for _ in range(2):
        with contextlib.suppress(ExecutionError):
            ray_cluster.start(None, address)
            return
    ray_cluster.start(None, address)


class Nodes:
    """A head with one core; a second node with one core, a data folder of its own, and a GPU as far as Ray knows."""

    def __init__(self, folder: Path) -> None:
        self.data, self.signals = folder / "data", folder / "signals"
        self.signals.mkdir()
        ray.shutdown()  # the head is another cluster
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        shared = {"num_cpus": 1, "env_vars": {SIGNALS: str(self.signals)}}
        head = {**shared, "num_gpus": 0, "include_dashboard": False, "ray_client_server_port": port}
        self.cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
        self.address = f"ray://127.0.0.1:{port}"
        self.second = self.join()

    def join(self) -> Any:
        """Ray gives a node half a minute to start, which a busy machine may not keep, and raises a plain Exception."""
        variables = {SIGNALS: str(self.signals), SECOND: "yes", "REFUTE_DATA": str(self.data)}
        own = {"num_cpus": 1, "num_gpus": 1, "env_vars": variables}
        for _ in range(2):
            with contextlib.suppress(Exception):
                return self.cluster.add_node(**own)
        return self.cluster.add_node(**own)


def run(phenomenon: Phenomenon, lab: Path, executor: str, **options: Any) -> Outcome:
    return flow.run(phenomenon, scale="smoke", lab=lab, executor=executor, **options)


def counting(monkeypatch: pytest.MonkeyPatch, name: str, counted: Callable[..., bool]) -> list[Any]:
    """The first argument of every call of a function of Ray from now on, where it counts."""
    calls: list[Any] = []
    function = getattr(ray, name)

    def call(first: Any, *others: Any, **options: Any) -> Any:
        if counted(first):
            calls.append(first)
        return function(first, *others, **options)

    monkeypatch.setattr(ray, name, call)
    return calls


# --- a cluster in this process ------------------------------------------------------------------------------------


def test_a_cluster_in_this_process_serves_every_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starts = counting(monkeypatch, "init", lambda address: True)
    parcels = counting(monkeypatch, "put", lambda value: isinstance(value, datasets.Parcel))
    before = signal.getsignal(signal.SIGTERM)
    told: list[str] = []
    remote = run(training(), tmp_path / "a", "ray", workers=2, watch=lambda progress: told.append(progress.message))
    assert signal.getsignal(signal.SIGTERM) is before
    assert any("more for the next look" in text for text in told)
    assert (starts, [parcel.name for parcel in parcels]) == (["local"], ["digits"])
    local = run(training(), tmp_path / "b", "local", workers=0)
    assert remote.results == local.results
    assert remote.verdicts == local.verdicts


def test_a_bad_trial_is_named_and_takes_no_neighbour_along(toy: Phenomenon, tmp_path: Path) -> None:
    remote = run(make_phenomenon(trial=failing_trial), tmp_path / "a", "ray", workers=2)
    assert {(one.trial.levels["kind"], one.trial.block) for one in remote.failures} == {("plus", 2)}
    assert {one.error.split(" (")[0] for one in remote.failures} == {"ZeroDivisionError: nothing to divide"}
    local = run(toy, tmp_path / "b", "local", workers=0)
    lost = {one.trial.key for one in remote.failures}
    assert dict(remote.results) == {key: local.results[key] for key in local.results if key not in lost}


def test_the_command_line_says_with_ray_what_it_says_without(tmp_path: Path) -> None:
    what = ("--scale", "smoke", "--only", "architecture=fc-4", "--only", "width=primary", "--json")
    said = {}
    for executor, workers in (("ray", "2"), ("local", "0")):
        where = ("--executor", executor, "--workers", workers, "--lab", str(tmp_path / executor))
        answer = CliRunner().invoke(app, ["run", "layer-criticality", *what, *where])
        assert answer.exit_code == 0, answer.output
        said[executor] = json.loads(answer.stdout)
    assert said["ray"]["trials"]["run"] > 0
    assert said["ray"]["trials"] == said["local"]["trials"]
    assert said["ray"]["claims"] == said["local"]["claims"]


def test_a_driver_without_a_gpu_asks_the_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0})
    where = ("--device", "cuda", "--executor", "ray", "--workers", "2", "--lab", str(tmp_path))
    answer = CliRunner().invoke(app, ["run", "layer-criticality", "--scale", "smoke", *where])
    assert isinstance(answer.exception, UsageError)
    assert "device 'cuda' needs a GPU, and no node of the Ray cluster at ray has one" in str(answer.exception)
    assert not list(tmp_path.rglob("*.parquet")), "nothing has run"


def test_a_stop_while_ray_waits_is_a_stop(toy: Phenomenon) -> None:
    class Stopped(BaseException):
        pass

    def stop(signum: int, frame: object) -> None:
        raise Stopped

    packed = cohorts(toy, plan(toy, "smoke"), size=20)
    list(execute(toy, packed, executor="ray", workers=2))  # Ray is up
    before = signal.signal(signal.SIGALRM, stop)
    running = execute(make_phenomenon(trial=endless_trial), packed, executor="ray", workers=2)
    try:
        signal.setitimer(signal.ITIMER_REAL, 2)
        began = time.monotonic()
        with pytest.raises(Stopped):
            next(running)
        assert time.monotonic() - began < PATIENCE / 2, "it does not wait for the task"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of a process's memory is Linux's")
def test_what_does_not_fit_into_its_part_of_the_memory_is_halved(toy: Phenomenon) -> None:
    told: list[str] = []

    def results(phenomenon: Phenomenon, **options: Any) -> dict[str, Any]:
        packed = cohorts(phenomenon, plan(phenomenon, "smoke"), size=10)
        ended = list(execute(phenomenon, packed, **options))
        return {result.key: result for one in ended if isinstance(one, Finished) for result in one.results}

    limits: dict[str, Any] = {"executor": "ray", "workers": 2, "memory": 8 * PER_REPLICA}
    hungry = results(make_phenomenon(trial=hungry_trial), tell=told.append, **limits)
    assert hungry == results(toy, workers=0)
    assert told, "two tasks at once: each has room for four replicas at most, and ten came"
    assert all("do not fit into memory" in text for text in told)
    told.clear()
    del limits["memory"]
    assert results(make_phenomenon(trial=hungry_trial), tell=told.append, **limits) == hungry
    assert not told, "the processes are limited no longer than that run"


def test_no_cluster_at_the_address(toy: Phenomenon, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionError("ray client connection timeout")

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(ExecutionError, match=r"no Ray cluster answers at ray://nowhere:1 .*timeout"):
        list(execute(toy, cohorts(toy, plan(toy, "smoke"), size=4), executor="ray://nowhere:1"))


# --- what a task may take -----------------------------------------------------------------------------------------


def test_a_gpu_is_free_for_one_task_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 4000))
    node = {"CPU": 16.0, "GPU": 4.0}
    assert ray_cluster.Terms("cuda", None, None).room(node) == int(1000 * memory.SAFE_SHARE)
    assert ray_cluster.Terms("cuda", None, 2000).room(node) == 500
    assert ray_cluster.Terms("cuda", 2, 2000).room(node) == 1000


def test_the_cores_of_a_node_share_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda: 16_000)
    node = {"CPU": 16.0, "GPU": 4.0}
    assert ray_cluster.Terms("cpu", None, None).room(node) == int(16_000 * memory.SAFE_SHARE) // 16
    assert ray_cluster.Terms("cpu", 4, None).room(node) == int(16_000 * memory.SAFE_SHARE) // 4
    assert ray_cluster.Terms("cpu", 100, 32_000).room(node) == 2000


# --- two nodes ----------------------------------------------------------------------------------------------------


def test_the_same_rows_and_verdicts_as_without_a_cluster(nodes: Nodes, tmp_path: Path) -> None:
    remote, local = run(training(), tmp_path / "a", nodes.address), run(training(), tmp_path / "b", "local")
    assert not remote.failures
    assert len(remote.results) == 12
    assert remote.results == local.results
    assert remote.verdicts == local.verdicts
    source = json.loads((nodes.data / "digits" / "source.json").read_text())
    assert source["channel"] == "the driver of the run", "the second node has worked, and got its data from the first"


def test_an_own_copy_travels_with_the_run(nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published = datasets.pack("digits").arrays
    other = replace(published, train_images=published.train_images[::-1].copy())
    datasets.sending.save_npz(tmp_path / "mine.npz", other)
    monkeypatch.setenv("REFUTE_DATA_LOCAL", "")
    datasets.use_local("digits", tmp_path / "mine.npz")
    remote = run(training(), tmp_path / "a", nodes.address)
    assert remote.results == run(training(), tmp_path / "b", "local", workers=0).results
    monkeypatch.setenv("REFUTE_DATA_LOCAL", "")
    assert remote.results != run(training(), tmp_path / "c", "local", workers=0).results


@pytest.mark.skipif(torch.cuda.is_available(), reason="the second node would compute on its GPU")
def test_a_task_for_a_gpu_goes_where_ray_knows_one(nodes: Nodes, toy: Phenomenon) -> None:
    packed = cohorts(toy, plan(toy, "smoke"), size=20, device="cuda")
    with pytest.raises(ExecutionError, match=r"a node of the cluster can't run this .*(NVIDIA|CUDA)"):
        list(execute(toy, packed, executor=nodes.address))


def test_a_node_killed_in_the_middle_loses_nothing(nodes: Nodes, toy: Phenomenon, tmp_path: Path) -> None:
    started, killed = nodes.signals / "started", nodes.signals / "killed"
    told: list[str] = []

    def kill(progress: Progress) -> None:
        """After the first cohort: the second node is on another one then, which it can't end before it is killed."""
        told.append(progress.message)
        if progress.trials_run and not killed.exists():
            assert started.exists()
            nodes.cluster.remove_node(nodes.second, allow_graceful=False)
            killed.touch()

    remote = run(make_phenomenon(trial=lost_trial), tmp_path / "a", nodes.address, seeds=10, watch=kill)
    nodes.second = nodes.join()
    assert killed.exists()
    assert any("a worker process died" in text for text in told)
    assert not remote.failures
    local = run(toy, tmp_path / "b", "local", workers=0, seeds=10)
    lab = flow.stored(toy, scale="smoke", lab=tmp_path / "a", seeds=10)
    assert len(lab.results) == 40
    assert lab.results == local.results
    assert lab.verdicts == remote.verdicts == local.verdicts
