"""Files that are there completely or not at all, and that prove by their name what they hold."""

import contextlib
import errno
import hashlib
import os
import secrets
import time
from pathlib import Path

from refute.errors import StoreError

DIGEST_LENGTH = 16
TEMPORARY = ".tmp-"
"""How the names of unfinished files begin; nothing that begins so is ever read."""

STALE_SECONDS = 3600
"""A temporary file older than this belongs to a writer that is gone."""

FULL = (errno.ENOSPC, errno.EDQUOT)


def digest_of(content: bytes) -> str:
    """First hexadecimal digits of the SHA-256 of a file's bytes: the end of its name in the lab.

    >>> digest_of(b"")
    'e3b0c44298fc1c14'
    """
    return hashlib.sha256(content).hexdigest()[:DIGEST_LENGTH]


def proves_itself(path: Path, content: bytes) -> bool:
    """Whether the digest at the end of the name is that of the content."""
    return path.stem.rpartition("-")[2] == digest_of(content)


def write_whole(path: Path, content: bytes) -> None:
    """Write under a temporary name beside `path`, sync, rename, sync the folder; no half file ever has the name.

    Raises:
        StoreError: the disk is full or the folder can't be written; nothing is left behind.
    """
    temporary = path.with_name(f"{TEMPORARY}{path.name}.{secrets.token_hex(6)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise StoreError(_cannot_write(path, len(content), error)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def remove_stale(temporary: Path) -> None:
    """Remove an unfinished file whose writer is surely gone."""
    with contextlib.suppress(OSError):
        if time.time() - temporary.stat().st_mtime > STALE_SECONDS:
            temporary.unlink()


def set_aside(path: Path, folder: Path) -> str:
    """Move a damaged file into `folder`, beside others of its name; returns where it is now, in words.

    Raises:
        FileNotFoundError: somebody else has moved it.
    """
    aside = folder / path.name
    try:
        folder.mkdir(exist_ok=True)
        if aside.exists():
            aside = folder / f"{path.stem}.{secrets.token_hex(3)}{path.suffix}"
        path.rename(aside)
    except FileNotFoundError:
        raise
    except OSError as error:
        return f"it can't be moved to {folder} ({reason(error)}) and is left where it is"
    return f"it now lies at {aside}"


def reason(error: OSError) -> str:
    """What the system says is wrong, without numbers and paths."""
    return error.strerror or str(error) or type(error).__name__


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut, where the file system can; some refuse, and the file is there all the same."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def _cannot_write(path: Path, size: int, error: OSError) -> str:
    if error.errno in FULL:
        return (
            f"the disk of {path.parent} is full: {max(1, round(size / 1024))} kB were needed for {path.name}; what was "
            "stored before is kept; make room or choose another folder, then run the same command again"
        )
    return (
        f"{path.name} can't be written: expected {path.parent} to be a folder that takes new files, but the system "
        f"says '{reason(error)}'; correct that or choose another folder"
    )
