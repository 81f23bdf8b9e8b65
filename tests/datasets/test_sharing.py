"""Decoded pools lie in the cache once and are memory-mapped; data sets travel to caches that lack them."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from refute import datasets
from refute.datasets import cache, loading, sending


@pytest.fixture(autouse=True)
def fresh(data_folder: Path) -> Path:
    loading._pool.cache_clear()
    return data_folder


def load(**options: object) -> datasets.Data:
    return datasets.load("digits", train=20, test=10, seeds=[0, 1], **options)  # type: ignore[arg-type]


def files(folder: Path) -> list[Path]:
    return sorted((folder / loading.VIEWS).glob("*/train_inputs.npy"))


def mapped(path: Path) -> bool:
    """Whether this process has the file in its address space (Linux)."""
    return str(path) in Path("/proc/self/maps").read_text()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="reads Linux's list of mapped files")
def test_a_pool_is_written_once_and_mapped(fresh: Path) -> None:
    first = load()
    (path,) = files(fresh)
    written = path.stat().st_mtime_ns
    loading._pool.cache_clear()
    second = load()
    assert mapped(path)
    assert path.stat().st_mtime_ns == written
    assert first.inputs.equal(second.inputs)


def test_other_views_have_other_files_but_flattening_has_not(fresh: Path) -> None:
    plain, flat = load(), load(flatten=True)
    assert plain.inputs.flatten(1).equal(flat.inputs)
    assert len(files(fresh)) == 1
    load(standardize=True)
    load(classes=[3, 1])
    load(size=4)
    assert len(files(fresh)) == 4


def test_writing_into_a_pool_changes_no_file(fresh: Path) -> None:
    before = load().inputs.clone()
    load().inputs.fill_(7.0)
    loading._pool.cache_clear()
    assert load().inputs.equal(before)


def test_a_damaged_pool_is_made_again(fresh: Path) -> None:
    before = load().inputs.clone()
    (path,) = files(fresh)
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(bytes(content))
    loading._pool.cache_clear()
    assert load().inputs.equal(before)
    path.write_bytes(b"short")
    loading._pool.cache_clear()
    assert load().inputs.equal(before)


def test_a_cache_that_takes_nothing_costs_memory_only(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = load().inputs.clone()

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "_write_array", full)
    loading._pool.cache_clear()
    (path,) = files(fresh)
    path.unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load().inputs.equal(before)
    assert not files(fresh)


# To other machines ---------------------------------------------------------------------------------------------------


def never() -> datasets.Parcel:
    raise AssertionError("nothing is sent to a machine that has the data set")


def test_a_machine_without_the_data_set_gets_it_once(
    fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parcel = datasets.pack("digits")
    assert parcel.own is None
    monkeypatch.setenv("REFUTE_DATA", str(tmp_path / "other"))
    datasets.receive("digits", None, lambda: parcel)
    datasets.receive("digits", None, never)
    found = datasets.raw("digits")
    assert found.source.channel == sending.CHANNEL
    assert np.array_equal(found.train_images, parcel.arrays.train_images)


def test_an_own_copy_is_used_there_too(fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = datasets.pack("digits").arrays
    sending.save_npz(tmp_path / "mine.npz", replace(arrays, train_images=arrays.train_images[::-1]))
    monkeypatch.setenv("REFUTE_DATA_LOCAL", f"digits={tmp_path / 'mine.npz'}")
    parcel = datasets.pack("digits")
    assert parcel.own == datasets.raw("digits").source.identity != datasets.get("digits").identity
    monkeypatch.setenv("REFUTE_DATA", str(tmp_path / "other"))
    monkeypatch.setenv("REFUTE_DATA_LOCAL", "")
    datasets.receive("digits", parcel.own, lambda: parcel)
    datasets.receive("digits", parcel.own, never)
    assert datasets.raw("digits").source.identity == parcel.own
