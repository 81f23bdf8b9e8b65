"""Where results come from: code, software, machine."""

import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path

from refute.core import Provenance

PACKAGES = ("torch", "numpy", "scipy")
"""Packages whose version may move a number."""


@cache
def provenance(device: str) -> Provenance:
    """Code version (with the commit in a checkout), packages, processor and device of this process.

    >>> provenance("cpu").device
    'cpu'
    """
    return Provenance(
        code_version=_code_version(),
        python=platform.python_version(),
        packages={name: metadata.version(name) for name in PACKAGES},
        platform=f"{platform.system()} {platform.machine()}",
        processor=_processor(),
        device=device,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _code_version() -> str:
    version = metadata.version("refute")
    folder = Path(__file__).parent
    commit = _git(folder, "rev-parse", "--short=12", "HEAD")
    root = _git(folder, "rev-parse", "--show-toplevel")
    if not commit or not (Path(root) / "src" / "refute").is_dir():
        return version
    changed = _git(folder, "status", "--porcelain", "--", str(Path(root) / "src"))
    return f"{version}+{commit}{'.dirty' if changed else ''}"


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
