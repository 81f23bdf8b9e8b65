"""Flatness that a rescaling of layers does not change: relative flatness and the Fisher-Rao norm."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from refute.architectures import Network, Weights
from refute.errors import UsageError
from refute.instruments.hessian import curvature
from refute.instruments.interface import Flags
from refute.instruments.probes import UNCERTAIN, Probes, check_seeds, drawn, standard_error
from refute.losses import Loss
from refute.randomness import stream


@dataclass(frozen=True)
class RelativeFlatness:
    """Of every kernel, input side first, (replica, kernel): `value` |W|_F^2 tr(A_W), `standard_error` over probes, and
    `trace`, tr(A_W) alone; `kernels`, their names.

    Flags: "uncertain" (a standard error above a tenth of the largest |value|), "one probe", "not finite".
    """

    value: Tensor
    standard_error: Tensor
    trace: Tensor
    kernels: tuple[str, ...]
    flags: Flags


def relative_flatness(
    network: Network | torch.nn.Module,
    weights: Weights | None,
    inputs: Tensor,
    labels: Tensor,
    *,
    seeds: Sequence[int],
    probes: int = 30,
    kind: Probes = "rademacher",
    loss: str | Loss = "cross-entropy",
    training: bool = False,
    dtype: torch.dtype | None = None,
    chunk: int | None = None,
) -> RelativeFlatness:
    """|W|_F^2 tr(A_W) of every layer, A_W the block of the Hessian that belongs to its kernel W.

    The simpler form of Petzka et al. 2021 (arXiv 2001.00939), section 3, its trace by Hutchinson's estimator. Probes
    are 0 outside the kernel: a draw sees its block alone, and W -> alpha W, A_W -> A_W / alpha^2 leaves it unchanged.

    Args:
        network, weights, inputs, labels, loss, training, dtype, chunk: see `hessian.curvature`.
        seeds: one per replica, of which its probes come.
        probes: products per kernel.
        kind: "rademacher" (least variance) or "gaussian".

    Raises:
        ShapeError: as `hessian.curvature`; seeds that do not fit.
        UsageError: no probe, or a network without kernels.

    >>> net = torch.nn.Linear(2, 1, bias=False)
    >>> _ = torch.nn.init.ones_(net.weight)
    >>> inputs, values = torch.tensor([[3.0, 0.0], [0.0, 1.0]]), torch.zeros(2, 1)
    >>> relative_flatness(net, None, inputs, values, seeds=[0], loss="squared").value.tolist()  # 2 x 5
    [[10.0]]
    """
    at = curvature(network, weights, inputs, labels, loss=loss, training=training, dtype=dtype, chunk=chunk)
    check_seeds(seeds, at.replicas)
    if probes < 1:
        raise UsageError(f"probes must be at least 1, {probes} came")
    places = {slot.name: at.places[slot.name] for slot in at.weights.slots if slot.kernel}
    if not places:
        raise UsageError("the network has no kernels (weights of linear maps)")
    generators = [stream(seed, "relative-flatness") for seed in seeds]
    values, errors, traces = [], [], []
    with torch.no_grad():
        for name, place in places.items():
            each = []
            for _ in range(probes):
                probe = torch.zeros_like(at.gradient)
                probe[:, place] = drawn(kind, at.gradient[:, place], generators)
                each.append((probe * at.product(probe)).sum(dim=1))
            block = torch.stack(each, dim=1)
            squared = at.weights[name].flatten(1).square().sum(dim=1)
            traces.append(block.mean(dim=1))
            values.append(squared * block.mean(dim=1))
            errors.append(squared * standard_error(block))
    value, error = torch.stack(values, dim=1), torch.stack(errors, dim=1)
    flags = {
        "uncertain": (error > UNCERTAIN * value.abs().amax(dim=1, keepdim=True)).any(dim=1),
        "one probe": torch.full((at.replicas,), probes < 2, device=value.device),
        "not finite": ~torch.isfinite(value).all(dim=1),
    }
    return RelativeFlatness(value, error, torch.stack(traces, dim=1), tuple(places), flags)


@dataclass(frozen=True)
class FisherRao:
    """`value` (replica,): the norm; flags: "vanishes" (no example has a gradient), "not finite"."""

    value: Tensor
    flags: Flags


def fisher_rao_norm(
    network: Network | torch.nn.Module,
    weights: Weights | None,
    inputs: Tensor,
    labels: Tensor,
    *,
    loss: str | Loss = "cross-entropy",
    training: bool = False,
    dtype: torch.dtype | None = None,
    chunk: int | None = None,
) -> FisherRao:
    """sqrt(mean_i <theta, grad_theta loss_i>^2) = sqrt(mean_i <d loss_i / d f, J_i theta>^2), with the true labels.

    Source: Liang et al. 2019 (arXiv 1711.01530), definition 2, empirical Fisher matrix; for a bias-free relu net of L
    layers J_i theta = L f (their theorem 3.1), so that it sees the function alone.

    Args: as `hessian.curvature`.

    >>> net = torch.nn.Linear(1, 1, bias=False)
    >>> _ = torch.nn.init.constant_(net.weight, 2.0)
    >>> fisher_rao_norm(net, None, torch.tensor([[1.0]]), torch.ones(1, 1), loss="squared").value.item()  # 2 (2 - 1)
    2.0
    """
    at = curvature(network, weights, inputs, labels, loss=loss, training=training, dtype=dtype, chunk=chunk)
    total = at.squared_slopes(at.weights.flat)
    value = total.sqrt()
    return FisherRao(value, {"vanishes": value == 0, "not finite": ~torch.isfinite(value)})
