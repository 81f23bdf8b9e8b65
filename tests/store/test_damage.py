"""What goes wrong with disks: half files, altered bytes, folders that take nothing. No result is trusted or lost."""

import errno
import os
import stat
import time
import warnings
from pathlib import Path

import pytest

from refute.errors import DamagedFileWarning, StoreError
from refute.store import Store

from .samples import PROVENANCE, cohort, results, trials


def add(lab: Path, first: int = 0) -> Path:
    members = trials(4, first=first)
    return Store(lab).add(cohort(members), results(members), PROVENANCE, 1.0)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def alter_one_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [truncate, alter_one_byte, empty])
def test_a_damaged_file_is_set_aside_and_its_trials_run_again(tmp_path: Path, damage) -> None:
    damaged, sound = add(tmp_path), add(tmp_path, first=4)
    damage(damaged)
    store = Store(tmp_path)
    with pytest.warns(DamagedFileWarning, match=damaged.name) as caught:
        assert store.missing(trials(8)) == trials(4)
    assert len(caught) == 1
    assert [path.name for path in (tmp_path / "damaged").iterdir()] == [damaged.name]
    assert not damaged.exists()
    assert sound.exists()
    assert len(store.results(trials(8))) == 4
    assert add(tmp_path) == damaged, "the same bytes, the same name"
    assert store.missing(trials(8)) == []


def test_damage_is_noticed_in_a_store_that_has_read_the_file(tmp_path: Path) -> None:
    path = add(tmp_path)
    store = Store(tmp_path)
    assert store.missing(trials(4)) == []
    truncate(path)
    with pytest.warns(DamagedFileWarning):
        assert store.results(trials(4)) == {}


def test_damaged_files_of_one_name_do_not_replace_each_other(tmp_path: Path) -> None:
    for _ in range(2):
        truncate(add(tmp_path))
        with pytest.warns(DamagedFileWarning):
            Store(tmp_path).missing(trials(1))
    assert len(list((tmp_path / "damaged").iterdir())) == 2


def test_a_damaged_file_that_can_not_be_moved_is_left_and_named_once(tmp_path: Path) -> None:
    path = add(tmp_path)
    truncate(path)
    (tmp_path / "damaged").write_text("in the way")
    store = Store(tmp_path)
    with pytest.warns(DamagedFileWarning, match="left where it is"):
        assert store.missing(trials(4)) == trials(4)
    assert store.missing(trials(4)) == trials(4)
    assert path.exists()


def test_a_renamed_file_is_not_believed(tmp_path: Path) -> None:
    path = add(tmp_path)
    path.rename(path.with_name("mine.parquet"))
    with pytest.warns(DamagedFileWarning, match="mine.parquet"):
        assert Store(tmp_path).missing(trials(4)) == trials(4)


def test_an_unfinished_file_is_ignored_and_removed_when_old(tmp_path: Path) -> None:
    path = add(tmp_path)
    young, old = path.with_name(f".tmp-{path.name}"), path.with_name(f".tmp-old-{path.name}")
    for temporary in (young, old):
        temporary.write_bytes(path.read_bytes()[:50])
    os.utime(old, (time.time() - 1e5,) * 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Store(tmp_path).missing(trials(5)) == trials(1, first=4)
    assert young.exists()
    assert not old.exists()
    assert not (tmp_path / "damaged").exists()


def test_a_sound_file_of_another_program_is_an_error_not_a_traceback(tmp_path: Path) -> None:
    folder = add(tmp_path).parent
    (folder / "notes-e3b0c44298fc1c14.parquet").write_bytes(b"")
    with pytest.raises(StoreError, match=r"notes-.*move it out of the lab"):
        Store(tmp_path).missing(trials(1))


@pytest.mark.parametrize("lab", ["file", "file/below"])
def test_a_lab_that_is_a_file(tmp_path: Path, lab: str) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreError, match=r"file.*expected a folder.*choose another folder"):
        Store(tmp_path / lab)


def fail_with(number: int):
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def test_disk_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = add(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("refute.store.files.os.fsync", fail_with(errno.ENOSPC))
        with pytest.raises(StoreError, match=r"is full: \d+ kB were needed.*is kept; make room") as caught:
            add(tmp_path, first=4)
    assert str(first.parent) in str(caught.value)
    assert list(first.parent.iterdir()) == [first], "no temporary file stays"
    assert Store(tmp_path).missing(trials(8)) == trials(4, first=4)
    add(tmp_path, first=4)
    assert Store(tmp_path).missing(trials(8)) == []


def test_a_folder_that_takes_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("refute.store.files.os.fsync", fail_with(errno.EROFS))
    with pytest.raises(StoreError, match=r"expected .*toy to be a folder.*Read-only file system"):
        add(tmp_path)
    assert not list(tmp_path.rglob("*.parquet*"))


def test_a_folder_that_can_not_be_synced_stores_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse_folders(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr("refute.store.files.os.fsync", refuse_folders)
    add(tmp_path)
    assert Store(tmp_path).missing(trials(4)) == []


def test_a_lab_that_can_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(tmp_path)
    monkeypatch.setattr(Path, "read_bytes", fail_with(errno.EACCES))
    with pytest.raises(StoreError, match=r"can't be read.*Permission denied"):
        Store(tmp_path).missing(trials(1))
