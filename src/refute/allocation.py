"""Freed memory stays with the process, so that every training step writes to pages that it has already.

glibc gives large freed blocks back to the system and asks for them again a step later; each page is then cleared anew,
which costs up to a third of a step of a recurrent net (benchmarks/NOTES.md).
"""

import ctypes
import os
import sys
from functools import cache

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Numbers of glibc's mallopt(3)."""
KEPT = 512 * 2**20
"""Freed bytes at the end of the heap that are kept."""
MAPPED = 32 * 2**20
"""Blocks from this size on are mapped by themselves; glibc allows no more."""


@cache
def keep_freed_memory() -> bool:
    """Tell glibc's malloc, once per process, to keep what is freed; returns whether it does.

    Elsewhere than on Linux with glibc nothing happens, nor where a user has set MALLOC_TRIM_THRESHOLD_ or
    MALLOC_MMAP_THRESHOLD_.
    """
    if not sys.platform.startswith("linux") or {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"} & set(os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(TRIM_THRESHOLD, KEPT)) and bool(mallopt(MMAP_THRESHOLD, MAPPED))


def give_back() -> None:
    """Return what is freed to the system now, where glibc can."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        return
