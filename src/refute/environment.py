"""Where results come from: code, software, machine."""

import platform
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path

from refute.core import Provenance

PACKAGES = ("torch", "numpy", "scipy", "numba")
"""Packages whose version may move a number."""

CPU_INFORMATION = Path("/proc/cpuinfo")


def provenance(device: str) -> Provenance:
    """Code version (with the commit in a checkout), packages, processor and device of this process, and the time now.

    >>> provenance("cpu").device
    'cpu'
    """
    return replace(_here(device), created=datetime.now(UTC).isoformat(timespec="seconds"))


@cache
def _here(device: str) -> Provenance:
    return Provenance(
        code_version=_code_version(),
        python=platform.python_version(),
        packages={name: metadata.version(name) for name in PACKAGES},
        platform=f"{platform.system()} {platform.machine()}",
        processor=_processor(device),
        device=device,
        created="",
    )


def _code_version() -> str:
    version = metadata.version("refute")
    source = Path(__file__).resolve().parent
    checkout = source.parents[1]
    if _command("git", "-C", str(source), "rev-parse", "--show-toplevel") != str(checkout):
        return version
    commit = _command("git", "-C", str(source), "rev-parse", "--short=12", "HEAD")
    changed = _command("git", "-C", str(source), "status", "--porcelain", "--", str(source))
    return f"{version}+{commit or 'no-commit'}{'.dirty' if changed else ''}"


def _processor(device: str) -> str:
    """Model of the processor, and of the GPUs when they are what computes."""
    central = _central_processor()
    if not device.startswith("cuda"):
        return central
    cards = _command("nvidia-smi", "--query-gpu=name", "--format=csv,noheader").splitlines()
    return "; ".join([central, *sorted(set(cards))])


def _central_processor() -> str:
    fallback = platform.processor() or platform.machine() or "unknown"
    try:
        lines = CPU_INFORMATION.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return fallback
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), fallback)


def _command(*arguments: str) -> str:
    """What a command prints, empty when it is not installed or fails."""
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
