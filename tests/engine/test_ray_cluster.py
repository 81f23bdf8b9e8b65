"""A real cluster of two nodes on this machine: the same rows and verdicts as without it, whatever becomes of a node."""

import contextlib
import json
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import make_phenomenon, noisy_trial

from refute import datasets, flow
from refute.core import Claim, Cohort, Failure, Grid, Outcome, Phenomenon, Protocol, Quantity, Value, at_least, looped
from refute.engine import cohorts, execute, plan
from refute.errors import ExecutionError

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'refute[ray]'")
cluster_utils = pytest.importorskip("ray.cluster_utils")
ray_cluster = pytest.importorskip("refute.engine.ray_cluster")

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")

TESTS = Path(__file__).parents[1]


def slow_trial(cohort: Cohort) -> dict[str, Any]:
    time.sleep(0.3)
    return noisy_trial(cohort)


def failing_trial(cohort: Cohort) -> dict[str, Any]:
    if cohort["kind"] == "plus" and 2 in cohort.blocks:
        raise ZeroDivisionError("nothing to divide")
    return noisy_trial(cohort)


def brightness_trial(cohort: Cohort) -> dict[str, Any]:
    """Mean pixel of each replica's images, and whether this node's own cache holds them."""
    data = datasets.load(cohort["dataset"], train=50, seeds=cohort.seeds)
    time.sleep(0.1)
    return {"brightness": data.inputs[data.index].mean(dim=(1, 2, 3, 4))}


def brightness() -> Phenomenon:
    return make_phenomenon(
        name="brightness",
        factors={"dataset": looped("images")},
        quantities={"brightness": Quantity(definition="mean pixel")},
        protocols={"smoke": Protocol(grids=(Grid(levels={"dataset": ("digits",)}, seeds=40),), cohort=2)},
        trial=brightness_trial,
        claims=(
            Claim(
                id="C1",
                statement="Digits are not black.",
                effect=Value("brightness"),
                holds=at_least(0.1, reason="a tenth"),
                within=("dataset",),
            ),
        ),
        cell=("dataset",),
    )


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Nodes"]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(TESTS))  # conftest; this file itself travels with the phenomenon
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        found = Nodes(tmp_path_factory.mktemp("second-node"))
        connect(found.address)
        yield found
        ray.shutdown()
        found.cluster.shutdown()


def connect(address: str) -> None:
    """Ray gives a client's own server half a minute to start, which a busy machine may not keep."""
    for _ in range(2):
        with contextlib.suppress(ExecutionError):
            return ray_cluster.start(None, address)
    return ray_cluster.start(None, address)


class Nodes:
    """A head with one core, and a second node with one core and a data folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        head = {"num_cpus": 1, "include_dashboard": False, "ray_client_server_port": port}
        self.cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
        self.address = f"ray://127.0.0.1:{port}"
        self.second = self.join()

    def join(self) -> Any:
        """Ray gives a node half a minute to start, which a busy machine may not keep, and raises a plain Exception."""
        own = {"num_cpus": 1, "env_vars": {"REFUTE_DATA": str(self.folder)}}
        for _ in range(2):
            with contextlib.suppress(Exception):
                return self.cluster.add_node(**own)
        return self.cluster.add_node(**own)


def run(phenomenon: Phenomenon, lab: Path, executor: str) -> Outcome:
    return flow.run(phenomenon, scale="smoke", lab=lab, executor=executor, workers=None)


def test_a_cluster_in_this_process(toy: Phenomenon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    before = signal.getsignal(signal.SIGTERM)
    outcome = flow.run(make_phenomenon(trial=failing_trial), scale="smoke", lab=tmp_path, executor="ray", workers=2)
    assert signal.getsignal(signal.SIGTERM) is before
    assert not ray.is_initialized()
    assert {(one.trial.levels["kind"], one.trial.block) for one in outcome.failures} == {("plus", 2)}
    assert {one.error.split(" (")[0] for one in outcome.failures} == {"ZeroDivisionError: nothing to divide"}
    local = flow.run(toy, scale="smoke", lab=tmp_path / "local", workers=0)
    lost = {one.trial.key for one in outcome.failures}
    assert dict(outcome.results) == {key: local.results[key] for key in local.results if key not in lost}


def test_no_cluster_at_the_address(toy: Phenomenon, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionError("ray client connection timeout")

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(ExecutionError, match=r"no Ray cluster answers at ray://nowhere:1 .*timeout"):
        list(execute(toy, cohorts(toy, plan(toy, "smoke"), size=4), executor="ray://nowhere:1"))


def test_the_same_rows_and_verdicts_as_without_a_cluster(nodes: Nodes, tmp_path: Path) -> None:
    remote, local = run(brightness(), tmp_path / "a", nodes.address), run(brightness(), tmp_path / "b", "local")
    assert not remote.failures
    assert remote.results == local.results
    assert remote.verdicts == local.verdicts
    source = json.loads((nodes.folder / "digits" / "source.json").read_text())
    assert source["channel"] == "the driver of the run", "the second node has worked, and got its data from the first"


def test_an_own_copy_travels_with_the_run(nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published = datasets.pack("digits").arrays
    other = replace(published, train_images=published.train_images[::-1].copy())
    datasets.sending.save_npz(tmp_path / "mine.npz", other)
    monkeypatch.setenv("REFUTE_DATA_LOCAL", "")
    datasets.use_local("digits", tmp_path / "mine.npz")
    remote, local = run(brightness(), tmp_path / "a", nodes.address), run(brightness(), tmp_path / "b", "local")
    assert remote.results == local.results
    monkeypatch.setenv("REFUTE_DATA_LOCAL", "")
    assert remote.results != run(brightness(), tmp_path / "c", "local").results


def test_a_node_killed_in_the_middle_loses_nothing(nodes: Nodes, toy: Phenomenon) -> None:
    trials = plan(toy, "smoke", seeds=20)
    packed = cohorts(toy, trials, size=4)
    told: list[str] = []
    found = {}
    for one in execute(make_phenomenon(trial=slow_trial), packed, executor=nodes.address, tell=told.append):
        assert not isinstance(one, Failure)
        if not found:
            nodes.cluster.remove_node(nodes.second, allow_graceful=False)
        found.update({result.key: result for result in one.results})
    nodes.second = nodes.join()
    here = execute(toy, packed, workers=0)
    assert found == {result.key: result for one in here if not isinstance(one, Failure) for result in one.results}
    # whether the node had work just then is the scheduler's affair: what it lost, if anything, was run again
    assert all("a worker process died" in text for text in told)
