"""Matrix products of a cohort: every replica's own matrices, in one call.

On AMD's processors they go to OpenBLAS (see `openblas`), elsewhere products of all replicas are one batched call of
torch; but on processors other than Intel's, where the library behind `torch.bmm` is not at its best, large ones go
replica by replica through oneDNN if that can be twice as fast (see benchmarks/NOTES.md). Which way a product goes
depends on the processor and the sizes of one replica's matrices alone, so packing replicas differently changes no bit
of a result.
"""

from typing import Any

import torch
from torch import Tensor

from refute.architectures import openblas, processor

LARGE = 2_000_000
"""Multiplications of one replica's product from which oneDNN pays for its call (measured on matrices of 64 to 784)."""

_MKL = bool(torch.backends.mkl.is_available())  # type: ignore[no-untyped-call]
_ONEDNN = bool(torch.backends.mkldnn.is_available()) and hasattr(torch.ops.mkldnn, "_linear_pointwise")  # type: ignore[no-untyped-call]


def linear(inputs: Tensor, weight: Tensor, bias: Tensor | None = None, out: Tensor | None = None) -> Tensor:
    """inputs weight^T + bias, (replica, example, output). Can be differentiated, any number of times.

    Args:
        inputs: (replica, example, input).
        weight: (replica, output, input).
        bias: (replica, output) or None.
        out: memory for the result, which may be used; the result is what is returned.
    """
    turned = weight.transpose(1, 2)
    if torch.is_grad_enabled():
        if bias is not None and _by_torch(inputs, turned):
            return torch.baddbmm(bias.unsqueeze(1), inputs, turned)
        found = product(inputs, turned)
        return found if bias is None else found + bias.unsqueeze(1)
    if _by_onednn(inputs, turned):
        biases = [None] * len(weight) if bias is None else list(bias)
        return _joined([_onednn(x, w, b) for x, w, b in zip(inputs, weight, biases, strict=True)], out)
    out = inputs.new_empty(len(inputs), inputs.shape[1], weight.shape[1]) if out is None else out
    if bias is not None:
        out.copy_(bias.unsqueeze(1).expand_as(out))
    multiply(inputs, turned, out, keep=0 if bias is None else 1)
    return out


def input_gradient(gradient: Tensor, weight: Tensor, out: Tensor | None = None) -> Tensor:
    """gradient weight, (replica, example, input): derivative of a loss with respect to the inputs of `linear`."""
    if _by_onednn(gradient, weight):
        return _joined([_onednn(g, w.t(), None) for g, w in zip(gradient, weight, strict=True)], out)
    out = gradient.new_empty(*gradient.shape[:2], weight.shape[2]) if out is None else out
    multiply(gradient, weight, out, keep=0)
    return out


def weight_gradient(gradient: Tensor, inputs: Tensor, out: Tensor, *, keep: float) -> None:
    """out <- keep out + gradient^T inputs, (replica, output, input): the derivative with respect to the weight."""
    multiply(gradient.transpose(1, 2), inputs, out, keep=keep)


def multiply(left: Tensor, right: Tensor, out: Tensor, *, keep: float) -> None:
    """out <- keep out + left right for every replica, outside of what autograd sees.

    Args:
        left: (replica, row, inner).
        right: (replica, inner, column).
        out: (replica, row, column); what was in it counts for nothing if keep is 0, even if it is not a number.
        keep: see above.
    """
    if _by_onednn(left, right):
        for target, a, b in zip(out, left, right, strict=True):
            put(target, _onednn(a, b.t(), None), keep=keep)
    elif openblas.fits(left, right, out) and out.stride(2) == 1:
        openblas.multiply(left, right, out, keep=keep)
    elif keep == 0:
        torch.bmm(left, right, out=out)
    else:
        torch.baddbmm(out, left, right, beta=keep, out=out)


class _Product(torch.autograd.Function):
    """left right, whose derivatives are such products again."""

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor) -> Tensor:
        ctx.save_for_backward(left, right)
        out = left.new_empty(*left.shape[:2], right.shape[2])
        multiply(left, right, out, keep=0)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        left, right = ctx.saved_tensors
        of_left = product(gradient, right.transpose(1, 2)) if ctx.needs_input_grad[0] else None
        of_right = product(left.transpose(1, 2), gradient) if ctx.needs_input_grad[1] else None
        return of_left, of_right


def product(left: Tensor, right: Tensor) -> Tensor:
    """left right, (replica, row, column), which can be differentiated any number of times."""
    if _by_torch(left, right):
        return torch.bmm(left, right)  # its derivatives go the same way, without a detour through Python
    found: Tensor = _Product.apply(left, right)  # type: ignore[no-untyped-call, unused-ignore]
    return found


def put(target: Tensor, found: Tensor, *, keep: float) -> None:
    """target <- keep target + found; what was there counts for nothing if keep is 0, even if it is not a number."""
    if keep == 0:
        target.copy_(found)
    else:
        torch.add(found, target, alpha=keep, out=target)


def mkl_is_at_home() -> bool:
    """Whether torch multiplies by MKL on a processor that MKL was made for."""
    return _MKL and processor.maker() == "Intel"


def _by_torch(left: Tensor, right: Tensor) -> bool:
    return not openblas.fits(left, right) and not _by_onednn(left, right)


def _by_onednn(left: Tensor, right: Tensor) -> bool:
    return (
        _ONEDNN
        and not mkl_is_at_home()
        and left.shape[1] * left.shape[2] * right.shape[2] >= LARGE
        and left.dtype == torch.float32
        and left.device.type == "cpu"
        and not openblas.wide()
    )


def _onednn(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    found: Tensor = torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, "none", [], "")
    return found


def _joined(parts: list[Tensor], out: Tensor | None) -> Tensor:
    if len(parts) == 1:
        return parts[0].unsqueeze(0)
    return torch.stack(parts) if out is None else torch.stack(parts, out=out)
