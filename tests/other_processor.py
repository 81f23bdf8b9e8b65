"""Test code run in a process of its own, in which numba and refute take the processor for another one."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from refute.architectures.processor import vector_bytes

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


def _shorter(features: list[str], width: int, name: str) -> object:
    """Skipped where that is no other processor: its tests run anyway."""
    here = platform.machine() in ("x86_64", "AMD64") and vector_bytes() > width
    marks = pytest.mark.skipif(not here, reason="an x86 processor with longer vectors is needed")
    return pytest.param(name, features, width, marks=marks)


x86_with_shorter_vectors = pytest.mark.parametrize(
    ("name", "features", "width"), [_shorter([], 16, "x86-64"), _shorter(["avx2"], 32, "haswell")]
)
