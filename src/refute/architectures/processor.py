"""The processor's maker, vectors and cache: which library and which sizes are fastest depends on it."""

import platform
from functools import cache
from pathlib import Path

from llvmlite import binding

MAKERS = {"AuthenticAMD": "AMD", "GenuineIntel": "Intel"}
"""What x86 processors call their makers."""
INFORMATION = Path("/proc/cpuinfo")
LAST_CACHE = Path("/sys/devices/system/cpu/cpu0/cache/index3")
LEAST_GROUP, MOST_GROUP, MODULE_GROUP = 6 * 2**20, 32 * 2**20, 64 * 2**20


@cache
def maker() -> str:
    """AMD or Intel; empty where it is neither or can't be found out."""
    told = INFORMATION.read_text(errors="replace") if INFORMATION.exists() else platform.processor()
    return next((name for word, name in MAKERS.items() if word in told), "")


@cache
def vector_bytes() -> int:
    """Bytes of the widest vector registers: 64 with AVX-512, 32 with AVX2, else 16."""
    try:
        features = binding.get_host_cpu_features()
    except RuntimeError:  # some processors do not say
        return 16
    return 64 if features.get("avx512f") else 32 if features.get("avx2") else 16


def group_bytes() -> int:
    """What one group of replicas should touch in a step of training, in bytes (measured, see benchmarks/NOTES.md).

    A core's share of the last cache, 32 MiB at most, where the libraries for Intel's processors multiply, whose calls
    for many matrices at once pay; 6 MiB elsewhere.
    """
    return max(LEAST_GROUP, min(MOST_GROUP, _share_of_last_cache())) if maker() == "Intel" else LEAST_GROUP


def module_group_bytes() -> int:
    """The same where torch differentiates modules: its many small calls cost more than memory that is farther away."""
    return MODULE_GROUP // 2 if maker() == "Intel" else MODULE_GROUP


def _share_of_last_cache() -> int:
    """One core's, in bytes; 0 where the system does not tell."""
    try:
        size, cores = ((LAST_CACHE / name).read_text().strip() for name in ("size", "shared_cpu_list"))
        ends = [[int(core) for core in part.split("-")] for part in cores.split(",")]
        sharing = sum(part[-1] - part[0] + 1 for part in ends)
        return int(size.removesuffix("K")) * 1024 // sharing
    except (OSError, ValueError):
        return 0
