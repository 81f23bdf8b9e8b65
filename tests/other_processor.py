"""Test code run in a process of its own, in which numba and refute take the processor for another one."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

PATCH = """
import sys
from llvmlite import binding
features = dict.fromkeys(sys.argv[1:], True)
binding.get_host_cpu_features = lambda: features
"""
WIDTH = """
from refute.architectures.layers.small_products import WIDEST
print(WIDEST)
"""


def shorter_vectors(code: str, folder: Path, cache: Path, name: str, features: list[str]) -> int:
    """Bytes of a register there, after `code`, which may import what lies in `folder`, has passed there."""
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    changed = {
        "NUMBA_CPU_NAME": name,
        "NUMBA_CPU_FEATURES": "",
        "NUMBA_CACHE_DIR": str(cache),
        "PYTHONPATH": path,
    }
    done = subprocess.run(
        [sys.executable, "-c", PATCH + code + WIDTH, *features],
        cwd=folder,
        env=os.environ | changed,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


x86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names of processors of that kind")
x86_with_shorter_vectors = pytest.mark.parametrize(
    ("name", "features", "width"),
    [pytest.param("x86-64", [], 16, marks=x86), pytest.param("haswell", ["avx2"], 32, marks=x86)],
)
