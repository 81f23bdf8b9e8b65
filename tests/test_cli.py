"""The command line as a new user meets it: verbs, wrong input, interruptions, exit codes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from refute import cli

EVIDENCE = Path(__file__).parents[1] / "evidence"
ENVIRONMENT = {**os.environ, "NO_COLOR": "1", "COLUMNS": "100"}
DIGITS = ("--scale", "smoke", "--only", "architecture=fc-4", "--only", "width=primary")


def refute(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "refute.cli", *arguments],
        cwd=cwd,
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


class Inside:
    """The same verbs in this process, which has imported already what takes a new one seconds."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.capsys, self.monkeypatch = capsys, monkeypatch

    def __call__(self, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        self.monkeypatch.chdir(cwd)
        self.monkeypatch.setattr(sys, "argv", ["refute", *arguments])
        self.monkeypatch.setenv("COLUMNS", ENVIRONMENT["COLUMNS"])
        self.monkeypatch.setenv("NO_COLOR", "1")
        before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
        self.capsys.readouterr()
        try:
            with pytest.raises(SystemExit) as left:
                cli.main()
        finally:
            for each, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
                signal.signal(each, handler)
        said = self.capsys.readouterr()
        return subprocess.CompletedProcess(arguments, int(left.value.code or 0), said.out, said.err)


@pytest.fixture
def inside(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Inside:
    return Inside(capsys, monkeypatch)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which one small run has been made."""
    folder = tmp_path_factory.mktemp("cli")
    done = refute("run", "layer-criticality", *DIGITS, "--workers", "1", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    (folder / "first.json").write_text(done.stdout)
    return folder


def test_help_and_version_are_quick_and_have_examples(tmp_path: Path) -> None:
    answer = refute("--help", cwd=tmp_path)
    assert answer.returncode == 0
    for verb in ("list", "show", "run", "verdict", "report", "data"):
        assert verb in answer.stdout
    assert "refute run layer-criticality" in answer.stdout
    assert "Examples:" in refute("run", "--help", cwd=tmp_path).stdout
    assert refute("--version", cwd=tmp_path).stdout == "refute 0.1.0\n"


def test_heavy_libraries_wait(tmp_path: Path) -> None:
    code = "import sys, refute.cli; print({'torch', 'matplotlib', 'scipy', 'duckdb'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert answer.stdout == "set()\n"


def test_json_has_the_promised_shape_and_nothing_else(lab: Path) -> None:
    document = json.loads((lab / "first.json").read_text())
    assert document["phenomenon"] == "layer-criticality"
    assert document["scale"] == "smoke"
    assert document["trials"].keys() >= {"planned", "run", "cached", "diverged"}
    assert document["trials"]["run"] == document["trials"]["planned"] > 0
    assert document["seconds"] > 0
    for claim in document["claims"]:
        assert claim.keys() >= {"id", "statement", "verdict", "bound", "cells"}
        for cell in claim["cells"]:
            assert cell.keys() >= {"levels", "blocks", "effect", "low", "high", "verdict", "excluded"}


def test_the_second_run_computes_nothing_and_says_the_same(lab: Path, inside: Inside) -> None:
    again = inside("run", "layer-criticality", *DIGITS, "--json", cwd=lab)
    first, second = json.loads((lab / "first.json").read_text()), json.loads(again.stdout)
    assert second["trials"]["run"] == 0
    assert second["claims"] == first["claims"]


def test_verdict_and_report_train_nothing(lab: Path, inside: Inside) -> None:
    verdict = inside("verdict", "layer-criticality", *DIGITS, cwd=lab)
    assert verdict.returncode == 0, verdict.stderr
    assert "C1" in verdict.stdout
    report = inside("report", "layer-criticality", *DIGITS, "--html", "page.html", cwd=lab)
    assert report.returncode == 0, report.stderr
    assert "<html" in (lab / "page.html").read_text()
    part = inside("report", "layer-criticality", *DIGITS, "--write-evidence", "kept", cwd=lab)
    assert part.returncode == 2
    assert "a record speaks of the whole protocol" in part.stderr
    assert not (lab / "kept").exists()


def test_a_page_is_made_from_committed_evidence_without_a_lab(tmp_path: Path, inside: Inside) -> None:
    folder = EVIDENCE / "stage-like-learning" / "small"
    report = inside("report", "stage-like-learning", "--evidence", str(folder), "--html", "page.html", cwd=tmp_path)
    assert report.returncode == 0, report.stderr
    assert "Stage like learning" in (tmp_path / "page.html").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html"]
    part = inside("report", "stage-like-learning", "--evidence", str(folder), "--seeds", "5", cwd=tmp_path)
    assert part.returncode == 2
    assert "a record is judged as it is" in part.stderr


def test_list_show_and_data(tmp_path: Path, inside: Inside) -> None:
    assert "layer-criticality" in inside("list", cwd=tmp_path).stdout
    assert json.loads(inside("list", "--json", cwd=tmp_path).stdout)["phenomena"]
    shown = inside("show", "layer-criticality", cwd=tmp_path).stdout
    assert "C5-lazy" in shown
    assert "1902.01996" in shown
    data = inside("data", cwd=tmp_path).stdout
    assert "digits" in data
    assert "cifar10" in data


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("run", "layer-critcality"), "did you mean 'layer-criticality'"),
        (("run", "layer-criticality", "--scale", "smal"), "did you mean 'small'"),
        (("run", "layer-criticality", "--seeds", "1"), "1 seed can't be judged"),
        (("run", "layer-criticality", "--only", "dataset=minst"), "did you mean 'mnist'"),
        (("run", "layer-criticality", "--only", "datset=mnist"), "did you mean 'dataset'"),
        (("run", "layer-criticality", "--only", "mnist"), "--only takes factor=level"),
        (("run", "layer-criticality", "--device", "cuda:9"), "--device cpu"),
        (("run", "layer-criticality", "--device", "meta"), "--device cpu"),
        (
            ("run", "layer-criticality", "--scale", "smoke", "--executor", "dask"),
            "must be local, ray or ray://HOST:PORT",
        ),
        (("run", "layer-criticality", "--memory", "much"), "--memory takes a size such as 8GB"),
        (("run", "layer-criticality", "--data", "mnist"), "--data takes NAME=PATH"),
        (("run", "layer-criticality", "--data", "minst=/tmp"), "did you mean 'mnist'"),
        (("run", "layer-criticality", "--data", "mnist=/no/such/place"), "/no/such/place"),
        (("verdict", "layer-criticality"), "there is no lab"),
        (("verdict", "nothing"), "there is no phenomenon 'nothing'"),
        (("data", "fetch", "cifar"), "did you mean 'cifar10'"),
        (("run",), "Missing argument"),
        (("fly",), "No such command"),
    ],
)
def test_wrong_use_gets_one_sentence_and_exit_code_2(
    arguments: tuple[str, ...], says: str, tmp_path: Path, inside: Inside
) -> None:
    answer = inside(*arguments, cwd=tmp_path)
    assert answer.returncode == 2, answer.stderr
    assert says in answer.stderr
    assert "Traceback" not in answer.stderr
    assert answer.stdout == ""


def test_a_lab_that_is_a_file_gets_one_sentence(tmp_path: Path, inside: Inside) -> None:
    (tmp_path / "lab").write_text("not a folder")
    answer = inside("run", "layer-criticality", *DIGITS, cwd=tmp_path)
    assert answer.returncode == 1, answer.stderr
    assert "lab" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert (tmp_path / "lab").read_text() == "not a folder"


def test_a_damaged_file_is_set_aside_and_its_trials_run_again(lab: Path, tmp_path: Path, inside: Inside) -> None:
    source = sorted((lab / "lab" / "trials").rglob("*.parquet"))
    target = tmp_path / "lab" / "trials" / "layer-criticality"
    target.mkdir(parents=True)
    for path in source:
        (target / path.name).write_bytes(path.read_bytes())
    damaged = sorted(target.glob("*.parquet"))[0]
    damaged.write_bytes(damaged.read_bytes()[:-100])
    answer = inside("run", "layer-criticality", *DIGITS, "--workers", "1", "--json", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert damaged.name in answer.stderr
    document = json.loads(answer.stdout)
    assert document["trials"]["run"] > 0
    assert document["claims"] == json.loads((lab / "first.json").read_text())["claims"]


PART = ("run", "layer-criticality", "--scale", "smoke", "--only", "regime=standard", "--only", "architecture=fc-4")
"""Several cohorts."""


def test_a_stopped_run_goes_on_where_it_was(tmp_path: Path, inside: Inside) -> None:
    stopped, killed, untouched = (tmp_path / name for name in ("stopped", "killed", "untouched"))
    errors = _stopped(stopped, signal.SIGINT)
    assert "every finished cohort is kept. Go on with: refute run" in errors
    assert "Traceback" not in errors
    _stopped(killed, signal.SIGKILL)
    untouched.mkdir()
    whole = json.loads(inside(*PART, "--workers", "1", "--json", cwd=untouched).stdout)
    assert whole["trials"]["cached"] == 0
    for folder in (stopped, killed):
        resumed = json.loads(inside(*PART, "--workers", "1", "--json", cwd=folder).stdout)
        assert resumed["trials"]["cached"] > 0
        assert resumed["trials"]["run"] > 0
        assert resumed["claims"] == whole["claims"]


def _stopped(folder: Path, how: signal.Signals) -> str:
    """Begin the run there and stop it when something is stored; what it says."""
    folder.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "refute.cli", *PART, "--workers", "1"],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    trials = folder / "lab" / "trials"
    deadline = time.monotonic() + 60
    while not list(trials.rglob("*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(how)
    _, errors = process.communicate(timeout=60)
    assert list(trials.rglob("*.parquet"))
    assert process.returncode == (1 if how is signal.SIGINT else -how)
    return errors


BROKEN = """
import sys
from refute import catalogue, cli
from refute.phenomena import layer_criticality as module
from dataclasses import replace

def trial(cohort):
    if 1 in cohort.blocks and cohort["regime"] == "standard":
        raise ZeroDivisionError("nothing to divide")
    return module.trial(cohort)

if __name__ == "__main__":
    broken = replace(module.PHENOMENON, trial=trial)
    catalogue.get = lambda name: broken
    sys.argv[0] = "refute"
    cli.main()
"""


def test_a_failing_trial_is_reported_and_tried_again(lab: Path, tmp_path: Path, inside: Inside) -> None:
    (tmp_path / "broken.py").write_text(BROKEN)
    arguments = ("run", "layer-criticality", *DIGITS, "--only", "regime=standard", "--workers", "1", "--json")
    answer = subprocess.run(
        [sys.executable, "broken.py", *arguments],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert answer.returncode == 1, answer.stderr
    document = json.loads(answer.stdout)
    failed = document["trials"]["planned"] - document["trials"]["run"]
    assert failed > 0
    assert document["claims"], "the verdicts are made from the others"
    assert f"{failed} of {document['trials']['planned']} trials of layer-criticality could not be run" in answer.stderr
    assert "ZeroDivisionError: nothing to divide (broken.py, line 9)" in answer.stderr
    assert "dataset=digits, " in answer.stderr
    assert ", seed 1\n" in answer.stderr
    assert "Traceback" not in answer.stderr
    mended = json.loads(inside(*arguments, cwd=tmp_path).stdout)
    assert mended["trials"]["run"] == failed
    assert mended["claims"] == json.loads(inside(*arguments, cwd=lab).stdout)["claims"]
