"""Sizes in words, what is free, what was taken, and which errors mean that memory ran out."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from refute.allocation import keep_freed_memory
from refute.engine import memory
from refute.errors import UsageError

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's accounts of a process")


@pytest.mark.parametrize(
    ("text", "size"),
    [("8GB", 8 * 10**9), ("500 mb", 5 * 10**8), ("1.5G", 15 * 10**8), ("2T", 2 * 10**12), ("12345", 12345), ("9B", 9)],
)
def test_sizes(text: str, size: int) -> None:
    assert memory.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "much", "-1GB", "0", "8GBB", "1e3", "GB"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match="--memory takes a size such as 8GB"):
        memory.parse_size(text)


@pytest.mark.parametrize(
    ("error", "meant"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
            True,
        ),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes"), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (OSError(errno.ENOSPC, "No space left"), False),
        (RuntimeError("size mismatch"), False),
        (ValueError("out of memory of what was"), False),
    ],
)
def test_which_errors_mean_that_memory_ran_out(error: Exception, meant: bool) -> None:
    assert memory.is_exhaustion(error) is meant


@LINUX
@pytest.mark.parametrize("freed_before", [0, 50])
def test_the_meter_sees_the_peak_and_begins_anew(freed_before: int) -> None:
    keep_freed_memory()
    before = [torch.ones(1_000_000) for _ in range(freed_before)]
    del before
    meter = memory.Meter("cpu")
    meter.start()
    many = [torch.ones(1_000_000) for _ in range(25)]  # 100 MB
    del many
    assert 90_000_000 < meter.peak() < 200_000_000
    meter.start()
    assert meter.peak() < 60_000_000


LIMITED_FOR_A_WHILE = """
import pytest
import torch
from refute.engine import memory

with memory.limited(memory.ceiling(100_000_000)):
    torch.ones(5_000_000)
    with pytest.raises(RuntimeError) as raised:
        torch.ones(50_000_000)
assert memory.is_exhaustion(raised.value)
torch.ones(50_000_000)
with memory.limited(None):
    torch.ones(50_000_000)
"""


@LINUX
def test_a_process_is_limited_for_a_while() -> None:
    """In a process of its own: what other tests leave to be freed meanwhile would count as room."""
    done = subprocess.run([sys.executable, "-c", LIMITED_FOR_A_WHILE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("line", "folder", "limit", "used"),
    [
        ("0::/slurm/job_7", "slurm", "memory.max", "memory.current"),
        ("5:memory:/slurm/job_7", "memory/slurm", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ],
)
def test_the_control_group_counts_when_it_leaves_less(
    line: str, folder: str, limit: str, used: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cgroup").write_text(f"12:cpu:/elsewhere\n{line}\n")
    monkeypatch.setattr(memory, "GROUP", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "GROUPS", tmp_path)
    job = tmp_path / folder / "job_7"
    job.mkdir(parents=True)
    for where, numbers in ((job, ("max", "100000")), (job.parent, ("1000000", "400000"))):
        (where / limit).write_text(f"{numbers[0]}\n")
        (where / used).write_text(f"{numbers[1]}\n")
    assert memory.available() == 600_000, "the limit may stand above the job's own group"
    (job / limit).write_text("300000\n")
    assert memory.available() == 200_000


def test_a_system_that_does_not_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = tmp_path / "nowhere"
    for name in ("STATUS", "CLEAR", "FREE", "EVENTS", "GROUP"):
        monkeypatch.setattr(memory, name, nowhere)
    assert memory.kills() == 0
    assert memory.available() > 0
    meter = memory.Meter("cpu")
    meter.start()
    assert meter.peak() >= 0
