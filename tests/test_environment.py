"""Provenance names code, software and machine."""

import importlib
import subprocess
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest

from refute.environment import provenance


@pytest.fixture
def environment() -> ModuleType:
    return importlib.import_module("refute.environment")


def answers(replies: dict[str, str]):
    def run(command: tuple[str, ...], **_: object) -> subprocess.CompletedProcess[str]:
        for part, reply in replies.items():
            if part in command:
                return subprocess.CompletedProcess(command, 0, reply, "")
        return subprocess.CompletedProcess(command, 1, "", "no")

    return run


def test_provenance_of_this_process() -> None:
    made = provenance("cpu")
    assert made.code_version.startswith(metadata.version("refute"))
    assert made.packages == {name: metadata.version(name) for name in ("torch", "numpy", "scipy", "numba")}
    assert made.device == "cpu"
    assert made.processor
    assert made.created.endswith("+00:00")
    later = provenance("cpu")
    assert later.created >= made.created
    assert later.environment == made.environment


def test_the_commit_of_a_checkout(environment: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout = str(Path(environment.__file__).resolve().parents[2])
    version = metadata.version("refute")
    replies = {"--show-toplevel": checkout + "\n", "HEAD": "abc123\n", "--porcelain": ""}
    monkeypatch.setattr(environment.subprocess, "run", answers(replies))
    assert environment._code_version() == f"{version}+abc123"
    monkeypatch.setattr(environment.subprocess, "run", answers({**replies, "--porcelain": " M core.py\n"}))
    assert environment._code_version() == f"{version}+abc123.dirty"


def test_no_commit_when_the_checkout_is_not_ours(environment: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    replies = {"--show-toplevel": "/somewhere/else", "HEAD": "abc123"}
    monkeypatch.setattr(environment.subprocess, "run", answers(replies))
    assert environment._code_version() == metadata.version("refute")


def test_no_git(environment: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment.subprocess, "run", lambda *_, **__: (_ for _ in ()).throw(FileNotFoundError("git")))
    assert environment._code_version() == metadata.version("refute")


def test_the_gpu_is_named_when_it_computes(environment: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    query = "--query-gpu=name"
    monkeypatch.setattr(environment.subprocess, "run", answers({query: "Tensor 9000\nTensor 9000\n"}))
    assert environment._processor("cuda:0").endswith("; Tensor 9000")
    assert "Tensor" not in environment._processor("cpu")


def test_the_model_of_the_processor(environment: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    information = tmp_path / "cpuinfo"
    monkeypatch.setattr(environment, "CPU_INFORMATION", information)
    assert environment._central_processor()
    information.write_text("processor : 0\nmodel name\t: Abacus 3 @ 2 GHz\nmodel name\t: other\n")
    assert environment._central_processor() == "Abacus 3 @ 2 GHz"
    information.write_text("no model\n")
    assert environment._central_processor()
