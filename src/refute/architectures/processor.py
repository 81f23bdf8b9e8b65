"""Who made the processor: which library is fastest depends on it."""

import platform
from functools import cache
from pathlib import Path

MAKERS = {"AuthenticAMD": "AMD", "GenuineIntel": "Intel"}
"""What x86 processors call their makers."""
INFORMATION = Path("/proc/cpuinfo")


@cache
def maker() -> str:
    """AMD or Intel; empty where it is neither or can't be found out."""
    told = INFORMATION.read_text(errors="replace") if INFORMATION.exists() else platform.processor()
    return next((name for word, name in MAKERS.items() if word in told), "")
