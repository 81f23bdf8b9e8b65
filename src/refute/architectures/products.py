"""Matrix products of a cohort: every replica's own matrices, in one call or replica by replica, whichever is faster.

Small products of all replicas are one batched call. Large ones go replica by replica through oneDNN, which on some
processors is twice as fast as the library behind `torch.bmm` (see benchmarks/NOTES.md). Which way a product goes
depends on the sizes of one replica's matrices alone, so packing replicas differently changes no bit of a result.
"""

import torch
from torch import Tensor

LARGE = 2_000_000
"""Multiplications of one replica's product from which oneDNN pays for its call (measured on matrices of 64 to 784)."""

_ONEDNN = bool(torch.backends.mkldnn.is_available()) and hasattr(torch.ops.mkldnn, "_linear_pointwise")  # type: ignore[no-untyped-call]


def linear(inputs: Tensor, weight: Tensor, bias: Tensor | None = None, out: Tensor | None = None) -> Tensor:
    """inputs weight^T + bias, (replica, example, output).

    Args:
        inputs: (replica, example, input).
        weight: (replica, output, input).
        bias: (replica, output) or None.
        out: memory for the result, which may be used; the result is what is returned.
    """
    if _by_replica(inputs, inputs.shape[1], weight.shape[1], inputs.shape[2]):
        biases = [None] * len(weight) if bias is None else list(bias)
        return _joined([_onednn(x, w, b) for x, w, b in zip(inputs, weight, biases, strict=True)], out)
    if bias is None:
        return _bmm(inputs, weight.transpose(1, 2), out)
    if out is None:
        return torch.baddbmm(bias.unsqueeze(1), inputs, weight.transpose(1, 2))
    return torch.baddbmm(bias.unsqueeze(1), inputs, weight.transpose(1, 2), out=out)


def input_gradient(gradient: Tensor, weight: Tensor, out: Tensor | None = None) -> Tensor:
    """gradient weight, (replica, example, input): derivative of a loss with respect to the inputs of `linear`."""
    if _by_replica(gradient, gradient.shape[1], weight.shape[1], weight.shape[2]):
        return _joined([_onednn(g, w.t(), None) for g, w in zip(gradient, weight, strict=True)], out)
    return _bmm(gradient, weight, out)


def weight_gradient(gradient: Tensor, inputs: Tensor, out: Tensor, *, keep: float) -> None:
    """out <- keep out + gradient^T inputs, (replica, output, input): the derivative with respect to the weight."""
    if _by_replica(gradient, gradient.shape[1], gradient.shape[2], inputs.shape[2]):
        for target, g, x in zip(out, gradient, inputs, strict=True):
            found = _onednn(g.t(), x.t(), None)
            put(target, found, keep=keep)
    elif keep == 0:
        torch.bmm(gradient.transpose(1, 2), inputs, out=out)
    else:
        out.baddbmm_(gradient.transpose(1, 2), inputs, beta=keep)


def put(target: Tensor, found: Tensor, *, keep: float) -> None:
    """target <- keep target + found; what was there counts for nothing if keep is 0, even if it is not a number."""
    if keep == 0:
        target.copy_(found)
    else:
        torch.add(found, target, alpha=keep, out=target)


def _by_replica(tensor: Tensor, rows: int, columns: int, inner: int) -> bool:
    return (
        _ONEDNN
        and rows * columns * inner >= LARGE
        and tensor.dtype == torch.float32
        and tensor.device.type == "cpu"
        and not torch.is_grad_enabled()
    )


def _onednn(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    found: Tensor = torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, "none", [], "")
    return found


def _joined(parts: list[Tensor], out: Tensor | None) -> Tensor:
    if len(parts) == 1:
        return parts[0].unsqueeze(0)
    return torch.stack(parts) if out is None else torch.stack(parts, out=out)


def _bmm(left: Tensor, right: Tensor, out: Tensor | None) -> Tensor:
    return torch.bmm(left, right) if out is None else torch.bmm(left, right, out=out)
