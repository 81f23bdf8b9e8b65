"""Memory: what a cohort took, what a worker may take, and whether memory was what ended it."""

import errno
import math
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from refute.allocation import give_back
from refute.errors import UsageError

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

SAFE_SHARE = 0.8
"""Share of the available memory that cohorts are sized for; the rest is for peaks between two measurements."""
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
KILLED_FIRST = "500"
"""How much sooner the kernel ends a worker than the driver when memory runs out (oom_score_adj, up to 1000)."""
SAID_OF_MEMORY = re.compile(r"can't allocate memory|not enough memory|out of memory|cannot allocate memory", re.I)

STATUS = Path("/proc/self/status")
CLEAR = Path("/proc/self/clear_refs")
FREE = Path("/proc/meminfo")
EVENTS = Path("/proc/vmstat")
GROUP = Path("/proc/self/cgroup")
GROUPS = Path("/sys/fs/cgroup")


def parse_size(text: str) -> int:
    """Bytes from "8GB", "512MB" or a plain number of bytes.

    >>> parse_size("1.5GB")
    1500000000
    """
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?B?)\s*", text, re.I)
    unit = found.group(2).upper() if found else ""
    unit = unit if unit in UNITS else f"{unit}B"
    if not found or float(found.group(1)) <= 0:
        raise UsageError(f"--memory takes a size such as 8GB or 500MB, '{text}' came")
    return int(float(found.group(1)) * UNITS[unit])


def available() -> int:
    """Bytes that new work may take on this machine: what is free, or what the control group leaves if that is less."""
    return min([_free(), *(max(0, most - used) for most, used in _control_groups())])


def on_gpu(device: str) -> bool:
    """Whether a device's memory is that of a GPU, with accounts of its own."""
    return device.startswith("cuda")


def share(device: str, workers: int, whole: int | None = None) -> int:
    """Bytes that cohorts of one of `workers` processes are sized for; `whole` is a limit that the user gave for all."""
    if whole is not None:
        return whole // max(1, workers)
    room = torch.cuda.mem_get_info(device)[0] if on_gpu(device) else available()
    return int(SAFE_SHARE * room) // max(1, workers)


def limit(room: int) -> None:
    """Let this process allocate at most `room` bytes more than it has; beyond that an allocation fails (Linux)."""
    most = ceiling(room)
    if most is not None:
        _allow(most)


def ceiling(room: int) -> int | None:
    """Bytes that this process holds when it has allocated `room` more than now; None where the system does not say."""
    data = _status("VmData")
    return data + room if resource is not None and data else None


def hard_limit(device: str, room: int, whole: int | None) -> int | None:
    """`ceiling` of `room` where a user has set a limit, `whole`, and it is this machine's memory that counts."""
    return None if whole is None or on_gpu(device) else ceiling(room)


@contextmanager
def limited(most: int | None) -> Iterator[None]:
    """For as long as this lasts, let this process hold at most `most` bytes (see `ceiling`); None limits nothing."""
    if resource is None or most is None:
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_DATA)
    _allow(most)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _allow(most: int) -> None:
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (most if hard < 0 else min(most, hard), hard))


def offer_to_the_kernel() -> None:
    """When memory runs out, this process shall end before the driver does."""
    try:
        Path("/proc/self/oom_score_adj").write_text(KILLED_FIRST)
    except OSError:
        return


def kills() -> int:
    """How many processes this system has ended for lack of memory so far; 0 where it does not say."""
    try:
        lines = EVENTS.read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


def is_exhaustion(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on the machine or on its GPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and bool(SAID_OF_MEMORY.search(str(error)))


class Meter:
    """Measures the most memory that work in this process takes: private pages, or those of its GPU."""

    def __init__(self, device: str) -> None:
        self.device = device
        if on_gpu(device):
            torch.cuda.get_device_properties(device)  # its accounts begin with the first look at it
        else:
            give_back()  # what was freed before would hide as much of what comes
        self.base = _private()

    def start(self) -> None:
        if on_gpu(self.device):
            torch.cuda.reset_peak_memory_stats(self.device)
            return
        give_back()  # or what the last work freed would count
        try:
            CLEAR.write_text("5")  # the peak begins anew (proc(5))
        except OSError:
            return

    def peak(self) -> int:
        """Bytes since `start`, above what the process held when it began."""
        if on_gpu(self.device):
            return int(torch.cuda.max_memory_allocated(self.device))
        return max(0, _peak() - self.base)


def largest_cohort(observed: Sequence[tuple[int, int]], room: int) -> int:
    """Replicas that fit into `room` bytes by (replicas, bytes) of finished cohorts; the worst of them counts.

    >>> largest_cohort([(8, 4000), (16, 6000)], 2000)
    4
    """
    worst = max((taken / replicas for replicas, taken in observed), default=0.0)
    return sys.maxsize if worst <= 0 else max(1, math.floor(room / worst))


def _private() -> int:
    return _status("RssAnon") or _usage()


def _peak() -> int:
    """Peak of private pages; pages of mapped files are shared with other workers and can be dropped."""
    peak = _status("VmHWM")
    return peak - (_status("RssFile") or 0) - (_status("RssShmem") or 0) if peak else _usage()


def _usage() -> int:
    if resource is None:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _status(name: str) -> int | None:
    return _kilobytes(STATUS, name)


def _free() -> int:
    free = _kilobytes(FREE, "MemAvailable")
    return free if free else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _kilobytes(file: Path, name: str) -> int | None:
    """Bytes from a line such as "VmHWM:  1234 kB"; None where there is no such line."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)


def _control_groups() -> Iterator[tuple[int, int]]:
    """Limit and use of each control group that this process is in, version 2 or 1, up to the root (cgroups(7))."""
    try:
        lines = GROUP.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        root, limit, used = (
            (GROUPS / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes")
            if controllers
            else (GROUPS, "memory.max", "memory.current")
        )
        own = root / path.strip("/")
        for folder in (own, *own.parents):
            numbers = _number(folder / limit), _number(folder / used)
            if numbers[0] is not None and numbers[1] is not None:
                yield numbers[0], numbers[1]
            if folder == root:
                break


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # "max" means no limit
        return None
