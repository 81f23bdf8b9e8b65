"""Worker processes: forked from a server with one thread, and gone when the driver is, however it ends."""

import os
import signal
import subprocess
import sys
from multiprocessing import forkserver as standard
from pathlib import Path
from typing import Any

import pytest
from conftest import make_phenomenon, noisy_trial
from processes import LINUX, PATIENCE, alive, wait_until

from refute import datasets, forkserver
from refute.core import Cohort, Phenomenon
from refute.datasets import cache
from refute.engine import Finished, cohorts, execute, plan
from refute.errors import ExecutionError

DRIVER = """
import os, signal, sys, time
from pathlib import Path
from conftest import make_phenomenon, noisy_trial
from refute.engine import cohorts, execute, plan

def slow_trial(cohort):
    Path(sys.argv[1], str(os.getpid())).touch()
    time.sleep(600)
    return noisy_trial(cohort)

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    phenomenon = make_phenomenon(trial=slow_trial)
    list(execute(phenomenon, cohorts(phenomenon, plan(phenomenon, "smoke"), size=5), workers=2))
"""

UNGUARDED = """
from conftest import make_phenomenon
from refute.engine import cohorts, execute, plan

phenomenon = make_phenomenon()
list(execute(phenomenon, cohorts(phenomenon, plan(phenomenon, "smoke"), size=5), workers=1))
"""


def touching_trial(cohort: Cohort) -> dict[str, Any]:
    Path(os.environ["REFUTE_TEST_MARKER"]).write_text(os.environ["OMP_NUM_THREADS"])
    return noisy_trial(cohort)


def script(folder: Path, text: str) -> tuple[list[str], dict[str, str]]:
    path = folder / "driver.py"
    path.write_text(text)
    return [sys.executable, str(path)], {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}


@LINUX
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_worker_outlives_its_driver(tmp_path: Path, how: signal.Signals) -> None:
    pids = tmp_path / "pids"
    pids.mkdir()
    command, environment = script(tmp_path, DRIVER)
    with subprocess.Popen([*command, str(pids)], env=environment, stderr=subprocess.DEVNULL) as driver:
        try:
            assert wait_until(lambda: len(list(pids.iterdir())) == 2)
            workers = [int(path.name) for path in pids.iterdir()]
            assert all(alive(pid) for pid in workers)
            driver.send_signal(how)
            driver.wait(PATIENCE)
        finally:
            driver.kill()
    assert wait_until(lambda: not any(alive(pid) for pid in workers))


def parricide_trial(cohort: Cohort) -> dict[str, Any]:
    """Takes the server that it was forked from along, once."""
    marker = Path(os.environ["REFUTE_TEST_MARKER"])
    if not marker.exists():
        marker.touch()
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
    return noisy_trial(cohort)


def keys(phenomenon: Phenomenon, workers: int) -> set[str]:
    ended = execute(phenomenon, cohorts(phenomenon, plan(phenomenon, "smoke"), size=5), workers=workers)
    return {result.key for one in ended if isinstance(one, Finished) for result in one.results}


@LINUX
@pytest.mark.skipif(not forkserver.AVAILABLE, reason="this system has no fork server")
def test_a_killed_server_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFUTE_TEST_MARKER", str(tmp_path / "marker"))
    phenomenon = make_phenomenon(trial=parricide_trial)
    assert keys(phenomenon, 2) == {trial.key for trial in plan(phenomenon, "smoke")}
    assert (tmp_path / "marker").exists()


def test_where_there_is_no_fork_server_workers_are_spawned(toy: Phenomenon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forkserver, "AVAILABLE", False)
    assert keys(toy, 1) == keys(toy, 0)


def test_the_environment_of_the_moment_reaches_the_workers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    keys(make_phenomenon(), 1)  # the fork server has its environment from here
    monkeypatch.setenv("REFUTE_TEST_MARKER", str(tmp_path / "later"))
    phenomenon = make_phenomenon(trial=touching_trial)
    keys(phenomenon, 1)
    assert (tmp_path / "later").read_text() == "1"


def mapping_trial(cohort: Cohort) -> dict[str, Any]:
    """Loads data and notes which file its process has mapped; ends when a second process has done so."""
    datasets.load("digits", train=20, test=10, seeds=cohort.seeds)
    folder = Path(os.environ["REFUTE_TEST_MARKER"])
    mapped = [line for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith("train_inputs.npy")]
    (folder / str(os.getpid())).write_text("\n".join(mapped))
    wait_until(lambda: len(list(folder.iterdir())) >= 2)
    return noisy_trial(cohort)


@LINUX
def test_workers_map_one_file_of_data_and_have_no_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    monkeypatch.setenv("REFUTE_TEST_MARKER", str(notes))
    monkeypatch.setenv(cache.DATA_VARIABLE, str(tmp_path / "data"))
    keys(make_phenomenon(trial=mapping_trial), 2)
    seen = [note.read_text().splitlines() for note in notes.iterdir()]
    assert len(seen) == 2
    assert all(seen)
    assert len({tuple(line.split()[3:5]) for lines in seen for line in lines}) == 1, "one device and inode"


@LINUX
@pytest.mark.skipif(not forkserver.AVAILABLE, reason="this system has no fork server")
def test_the_server_that_workers_are_forked_from_has_one_thread() -> None:
    phenomenon = make_phenomenon()
    list(execute(phenomenon, cohorts(phenomenon, plan(phenomenon, "smoke"), size=10), workers=2))
    server = standard._forkserver._forkserver_pid
    assert len(list(Path(f"/proc/{server}/task").iterdir())) == 1
    assert "libtorch" in Path(f"/proc/{server}/maps").read_text(), "it has imported what workers need"


def test_a_script_without_a_guard_gets_told(tmp_path: Path) -> None:
    command, environment = script(tmp_path, UNGUARDED)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode != 0
    assert f"{ExecutionError.__name__}: worker processes can't be started" in done.stderr
    assert 'if __name__ == "__main__":' in done.stderr
