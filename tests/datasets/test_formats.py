"""Decoders against arrays that were written byte by byte."""

import gzip
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from refute.datasets.dataset import Arrays, checksums
from refute.datasets.formats import (
    CIFAR_BINARY,
    CIFAR_SHEETS,
    IDX,
    IDX_FILES,
    decode_cifar_records,
    decode_idx,
    decode_npz,
    find_files,
)
from refute.errors import DataError

from .made_up import idx_bytes, make_arrays, write_cifar, write_idx, write_npz, write_tar


def same(left: Arrays, right: Arrays) -> bool:
    return checksums(left) == checksums(right)


def test_idx_header_is_big_endian() -> None:
    data = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6])
    assert decode_idx(data, "x").tolist() == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "starts with b''"),
        (b"<html>no such page</html>", "starts with b'<htm'"),
        (bytes([0, 0, 0x0D, 1, 0, 0, 0, 0]), "unsigned bytes"),
        (bytes([0, 0, 8, 3, 0, 0]), "header of 16 bytes, but has 6"),
        (idx_bytes(np.arange(5))[:-1], r"\(5,\) bytes after its header, but holds 4"),
    ],
)
def test_idx_refuses_what_is_not_idx(data: bytes, said: str) -> None:
    with pytest.raises(DataError, match=said):
        decode_idx(data, "file")


@pytest.mark.parametrize("compressed", [False, True])
def test_idx_files(tmp_path: Path, compressed: bool) -> None:
    arrays = make_arrays()
    folder = write_idx(arrays, tmp_path / "MNIST" / "raw", compressed=compressed)
    assert same(IDX.decode(find_files(folder, IDX.files, tmp_path)), arrays)
    assert same(IDX.decode(find_files(folder.parent.parent, IDX.files, tmp_path)), arrays)


def test_damaged_gzip_is_named(tmp_path: Path) -> None:
    folder = write_idx(make_arrays(), tmp_path / "raw", compressed=True)
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz cannot be read"):
        IDX.decode(find_files(folder, IDX.files, tmp_path))


def test_cifar_record_is_label_then_planes() -> None:
    record = bytes([7]) + bytes([1]) * 1024 + bytes([2]) * 1024 + bytes([3]) * 1023 + bytes([9])
    images, labels = decode_cifar_records(record, "x")
    assert labels.tolist() == [7]
    assert images.shape == (1, 32, 32, 3)
    assert images[0, 0, 0].tolist() == [1, 2, 3]
    assert images[0, 31, 31].tolist() == [1, 2, 9]
    with pytest.raises(DataError, match="records of 3073 bytes, but has 3072"):
        decode_cifar_records(record[:-1], "x")


def test_cifar_binary_from_folder_and_archive(tmp_path: Path) -> None:
    arrays = make_arrays((32, 32, 3))
    folder = write_cifar(arrays, tmp_path / "cifar-10-batches-bin")
    archive = write_tar(folder, tmp_path / "cifar-10-binary.tar.gz", "cifar-10-batches-bin")
    for path in (folder, archive):
        scratch = tmp_path / f"scratch-{path.name}"
        scratch.mkdir()
        assert same(CIFAR_BINARY.decode(find_files(path, CIFAR_BINARY.files, scratch)), arrays)


def test_cifar_sheets_agree_with_the_binary_version(tmp_path: Path) -> None:
    arrays = make_arrays((32, 32, 3))
    for batch in range(5):
        part = arrays.train_images[batch * 12 : (batch + 1) * 12]
        Image.fromarray(part.reshape(12, 1024, 3)).save(tmp_path / f"data_batch_{batch + 1}.png")
    Image.fromarray(arrays.test_images.reshape(-1, 1024, 3)).save(tmp_path / "test_batch.png")
    (tmp_path / "train_lables.json").write_text(json.dumps(arrays.train_labels.tolist()))
    (tmp_path / "test_lables.json").write_text(json.dumps(arrays.test_labels.tolist()))
    assert same(CIFAR_SHEETS.decode(find_files(tmp_path, CIFAR_SHEETS.files, tmp_path)), arrays)
    (tmp_path / "test_lables.json").write_text('{"not": "a list"}')
    with pytest.raises(DataError, match="JSON list of class numbers"):
        CIFAR_SHEETS.decode(find_files(tmp_path, CIFAR_SHEETS.files, tmp_path))


def test_npz(tmp_path: Path) -> None:
    arrays = make_arrays()
    assert same(decode_npz(write_npz(arrays, tmp_path / "a.npz"), (28, 28)), arrays)
    np.savez(
        tmp_path / "b.npz",
        x_train=arrays.train_images[..., None],
        y_train=arrays.train_labels[:, None].astype(np.uint8),
        x_test=arrays.test_images[..., None].astype(np.int32),
        y_test=arrays.test_labels[:, None],
    )
    assert same(decode_npz(tmp_path / "b.npz", (28, 28)), arrays)


def test_npz_refusals(tmp_path: Path) -> None:
    arrays = make_arrays()
    names = {"x_train": arrays.train_images / 255, "y_train": arrays.train_labels, "x_test": arrays.test_images}
    np.savez(tmp_path / "a.npz", **names)
    with pytest.raises(DataError, match="y_test"):
        decode_npz(tmp_path / "a.npz", (28, 28))
    np.savez(tmp_path / "b.npz", **names, y_test=arrays.test_labels)
    with pytest.raises(DataError, match="x_train should hold whole numbers, but is float64"):
        decode_npz(tmp_path / "b.npz", (28, 28))
    np.savez(tmp_path / "c.npz", **(names | {"x_train": arrays.train_images.astype(int) * 2}), y_test=[0])
    with pytest.raises(DataError, match=r"x_train should lie in 0\.\.255"):
        decode_npz(tmp_path / "c.npz", (28, 28))
    (tmp_path / "d.npz").write_text("not a zip")
    with pytest.raises(DataError, match="should hold the arrays"):
        decode_npz(tmp_path / "d.npz", (28, 28))


def test_missing_and_ambiguous_files(tmp_path: Path) -> None:
    write_idx(make_arrays(), tmp_path / "MNIST" / "raw")
    write_idx(make_arrays(), tmp_path / "FashionMNIST" / "raw")
    with pytest.raises(DataError, match=r"twice.*name the folder itself"):
        find_files(tmp_path, IDX.files, tmp_path)
    (tmp_path / "MNIST" / "raw" / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="missing: t10k-labels-idx1-ubyte"):
        find_files(tmp_path / "MNIST", IDX.files, tmp_path)


def test_archives_unpack_by_base_name_only(tmp_path: Path) -> None:
    folder = write_idx(make_arrays(), tmp_path / "raw", compressed=True)
    scratch = tmp_path / "deep" / "scratch"
    scratch.mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        for name in IDX_FILES.values():
            archive.write(folder / f"{name}.gz", f"../../escaped/{name}.gz")
    files = find_files(tmp_path / "evil.zip", IDX.files, scratch)
    assert {path.parent for path in files.values()} == {scratch}
    assert not (tmp_path / "escaped").exists()


@pytest.mark.parametrize(
    "content", [b"not an archive", b"", gzip.compress(b"only gzip")], ids=["text", "empty", "gzip"]
)
def test_not_an_archive(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(DataError, match=r"folder, a tar or a zip|missing"):
        find_files(tmp_path / "file", IDX.files, tmp_path)


def test_truncated_archive(tmp_path: Path) -> None:
    folder = write_idx(make_arrays(), tmp_path / "raw")
    archive = write_tar(folder, tmp_path / "a.tar.gz", "raw")
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    with pytest.raises(DataError, match="should be a folder, a tar or a zip"):
        find_files(archive, IDX.files, tmp_path)


def test_links_in_archives_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name in IDX_FILES.values():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, str(secret)
            tar.addfile(link)
    with pytest.raises(DataError, match="missing"):
        find_files(tmp_path / "a.tar", IDX.files, tmp_path)
