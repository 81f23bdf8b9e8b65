"""Batches of matrix products by OpenBLAS on AMD's processors, where torch's own library is slow and rounds at will.

torch multiplies on x86 by MKL, which leaves half of an AMD processor's vector units idle; OpenBLAS with its kernels for
AVX-512 multiplies small matrices there about twice as fast, with others as fast (benchmarks/NOTES.md). And MKL's last
bit depends there on a matrix's place in memory, OpenBLAS's does not. It comes as the package scipy-openblas32 and is
loaded from its own file, so numpy's and scipy's copies are not touched. Which kernels it takes is its own choice, or
that of whoever has set OPENBLAS_CORETYPE.

It takes one thread, whatever torch does: its threads wait in a busy loop, and those of torch, which want the same
cores, then wait milliseconds for every operation.
"""

import ctypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from refute.architectures import processor
from refute.forkserver import ONE_THREAD, environment

PACKAGE = "scipy_openblas32"
"""Not installed where the processor is not an x86; never imported, since that would load the library everywhere."""
ROWS_FIRST, AS_IT_IS, TURNED = 101, 111, 112
"""CBLAS's numbers for row-major order, a matrix and its transpose."""
WIDE = {"SkylakeX", "Cooperlake", "SapphireRapids"}
"""OpenBLAS's names of its kernels for AVX-512."""
AVX_512 = 64
"""Bytes of its vectors."""
TYPES: "Mapping[torch.dtype, tuple[str, type[ctypes._SimpleCData[float]]]]" = {
    torch.float32: ("scipy_cblas_sgemm_batch_strided", ctypes.c_float),
    torch.float64: ("scipy_cblas_dgemm_batch_strided", ctypes.c_double),
}
"""Name of the product, and the kind of its factors."""
LARGEST = 2**31 - 1
"""Strides are 32 bit numbers."""


@dataclass(frozen=True)
class _Library:
    """OpenBLAS, its product for each type, and whether its kernels fill the widest vectors there are."""

    handle: ctypes.CDLL
    products: Mapping[torch.dtype, Callable[..., None]]
    wide: bool


def fits(*tensors: Tensor) -> bool:
    """Whether these (replica, row, column) can go to OpenBLAS, and should: on an AMD processor. Not of mixed types."""
    first = tensors[0]
    if first.dtype not in TYPES or first.device.type != "cpu" or _library() is None:
        return False
    return all(each.dtype == first.dtype and each.numel() > 0 and each.stride(0) <= LARGEST for each in tensors)


def wide() -> bool:
    """Whether its kernels fill the widest vectors there are; without them oneDNN is faster on large matrices."""
    library = _library()
    return library is not None and library.wide


def multiply(left: Tensor, right: Tensor, out: Tensor, *, keep: float) -> None:
    """out <- keep out + left right, for every replica; what was in `out` counts for nothing if keep is 0.

    Args:
        left: (replica, row, inner), in any order of memory.
        right: (replica, inner, column), in any order of memory.
        out: (replica, row, column), with the numbers of a row side by side.
        keep: see above.
    """
    library = _library()
    assert library is not None, "asked before by `fits`"
    left, left_way, left_row = _laid_out(left)
    right, right_way, right_row = _laid_out(right)
    replicas, rows, columns = out.shape
    library.products[out.dtype](
        ROWS_FIRST, left_way, right_way, rows, columns, left.shape[2], 1.0,
        left.data_ptr(), left_row, left.stride(0),
        right.data_ptr(), right_row, right.stride(0), keep,
        out.data_ptr(), max(out.stride(1), columns), out.stride(0), replicas,
    )  # fmt: skip


def _laid_out(matrices: Tensor) -> tuple[Tensor, int, int]:
    """The matrices, whether they lie in memory as they are or turned, and the numbers from one line to the next."""
    _, rows, columns = matrices.shape
    if matrices.stride(2) == 1 and matrices.stride(1) >= columns:
        return matrices, AS_IT_IS, matrices.stride(1)
    if matrices.stride(1) == 1 and matrices.stride(2) >= rows:
        return matrices, TURNED, matrices.stride(2)
    return matrices.contiguous(), AS_IT_IS, columns


@cache
def _library() -> _Library | None:
    """OpenBLAS, loaded once per process, or None where it does not pay or is not there."""
    package = find_spec(PACKAGE) if pays() else None
    if package is None or package.origin is None:
        return None
    with environment(ONE_THREAD):
        try:
            handle = ctypes.CDLL(str(_file(Path(package.origin).parent / "lib")))
            products = {dtype: getattr(handle, name) for dtype, (name, _) in TYPES.items()}
            kernels = handle.scipy_openblas_get_corename
            handle.scipy_openblas_set_num_threads(1)  # the environment counts for nothing if it had been loaded before
        except (OSError, AttributeError, StopIteration):
            return None
    kernels.restype = ctypes.c_char_p
    whole = ctypes.c_int
    matrix: list[type[ctypes._SimpleCData[Any]]] = [ctypes.c_void_p, whole, whole]
    for dtype, (_, real) in TYPES.items():
        products[dtype].argtypes = [*[whole] * 6, real, *matrix, *matrix, real, *matrix, whole]
        products[dtype].restype = None
    return _Library(handle, products, kernels().decode() in WIDE or processor.vector_bytes() < AVX_512)


def pays() -> bool:
    """Whether OpenBLAS is better than what torch has."""
    return processor.maker() == "AMD"


def _file(folder: Path) -> Path:
    return next(path for path in sorted(folder.iterdir()) if path.suffix in (".so", ".dll", ".dylib"))
