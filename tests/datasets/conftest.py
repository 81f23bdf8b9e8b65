"""Keeps the tests of data sets off the user's cache."""

from pathlib import Path

import pytest

from refute.datasets import cache


@pytest.fixture(autouse=True)
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has an empty cache of its own, and no own copies."""
    monkeypatch.setenv(cache.DATA_VARIABLE, str(tmp_path / "data"))
    monkeypatch.setenv("REFUTE_DATA_LOCAL", "")
    return tmp_path / "data"
