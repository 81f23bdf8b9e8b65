"""Machine code that is kept on disk."""

import os
import time
from pathlib import Path
from types import ModuleType

import numba
import pytest

from refute.architectures.layers import kernels

SOURCE = """
from refute.architectures.layers.kernels import compiled

@compiled
def twice(x):
    return 2 * x
"""


def loaded(path: Path) -> ModuleType:
    """The module as if it were imported in a new process."""
    module = ModuleType(path.stem)
    module.__file__ = str(path)
    exec(compile(path.read_text(), str(path), "exec"), module.__dict__)
    return module


def test_machine_code_older_than_any_source_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")  # beside the module, whatever NUMBA_CACHE_DIR says
    path = tmp_path / "doubling.py"
    path.write_text(SOURCE)
    assert loaded(path).twice(3) == 6
    (index,) = tmp_path.rglob("*.nbi")
    others = index.with_name(index.name.replace("twice", "thrice"))
    others.write_bytes(index.read_bytes())

    again = loaded(path)
    assert again.twice(4) == 8
    assert again.twice.stats.cache_hits

    monkeypatch.setattr(kernels, "NEWEST_SOURCE", time.time() + 60)
    changed = loaded(path)
    assert not index.exists()
    assert others.exists()
    assert changed.twice(4) == 8
    assert not changed.twice.stats.cache_hits


def test_what_cannot_be_removed_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = tmp_path / "module.twice-1.py311.nbi"
    index.touch()

    def refused(_: Path) -> None:
        raise PermissionError(os.strerror(13))

    monkeypatch.setattr(Path, "unlink", refused)
    kernels.forget_older(tmp_path, "twice", time.time() + 60)
    assert index.exists()
