"""Freed memory is kept where glibc is, and nowhere against a user's will."""

import os
import subprocess
import sys

import pytest

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="page faults are counted on Linux")
FAULTS = """
import resource, torch
from refute.allocation import keep_freed_memory
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
torch.set_num_threads(1)
print(keep_freed_memory())
for _ in range(3):
    parts = [torch.ones(2_000_000) for _ in range(6)]
    del parts
before = faults()
for _ in range(20):
    parts = [torch.ones(2_000_000) for _ in range(6)]
    del parts
print(faults() - before)
"""


def answer(**changes: str) -> list[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")} | changes
    done = subprocess.run([sys.executable, "-c", FAULTS], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


@LINUX
def test_blocks_of_a_step_are_pages_that_were_there_before() -> None:
    done, faults = answer()
    if done == "False":
        pytest.skip("another C library")
    assert int(faults) < 12_000  # all of 20 x 6 blocks of 8 MB anew would be 234,000; one or two may find no place


def test_the_settings_of_a_user_stand() -> None:
    assert answer(MALLOC_TRIM_THRESHOLD_="131072")[0] == "False"
