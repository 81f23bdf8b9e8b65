"""How often one and the same perturbation changes what a network says: the universal evasion rate of a whole cohort."""

from dataclasses import dataclass

import torch
from torch import Tensor

from refute import losses
from refute.architectures import Network, Weights
from refute.errors import ShapeError, UsageError
from refute.instruments.hessian import examples_of
from refute.instruments.interface import Flags, check_examples, subject
from refute.instruments.objective import right
from refute.instruments.procedural_noise import MOST_SHIFT
from refute.losses import Loss

CLIPPED = 0.5
"""Effective share of the perturbation's energy below which clipping has taken more than half of it."""


@dataclass(frozen=True)
class Evasion:
    """What each perturbation does.

    Attributes:
        rate: UER, share of inputs whose prediction changes, in [0, 1], (replica, pattern).
        standard_error: sqrt(r (1 - r) / n), (replica, pattern).
        accuracy_drop: share of inputs right before minus share right after, (replica, pattern); nan without labels.
        effective_l2: root mean square over inputs of |x' - x|_2 after clipping, (replica, pattern).
        flags: "clipped" (the mean energy left is below half), "brightness shift" (a pattern's |mean| above 0.1 radius).
    """

    rate: Tensor
    standard_error: Tensor
    accuracy_drop: Tensor
    effective_l2: Tensor
    flags: Flags


@torch.no_grad()
def universal_evasion(
    network: Network | torch.nn.Module,
    weights: Weights | None,
    inputs: Tensor,
    patterns: Tensor,
    *,
    radius: float,
    labels: Tensor | None = None,
    low: float | None = None,
    high: float | None = None,
) -> Evasion:
    """UER(delta) = (1/n) sum_i 1[argmax f(clip(x_i + delta)) != argmax f(x_i)], delta = radius * pattern.

    Source: Co et al. 2019, arXiv 1906.03455, section 3; specification gabor-noise-sensitivity (low 0, high 1).

    Args:
        network, weights: a cohort, or a module alone.
        inputs: (example, *input_shape) or (replica, example, *input_shape).
        patterns: (pattern, height, width), the same on all channels, or (pattern, *input_shape), or with a replica axis
            before (each replica's own, see `universal_perturbation`); within -1..1.
        radius: in units of the inputs.
        labels: (example,) or (replica, example), for `accuracy_drop`.
        low, high: range of the inputs; None for no bound.

    Raises:
        ShapeError, UsageError: patterns that do not fit or leave -1..1, a negative radius.

    >>> net = torch.nn.Linear(2, 2, bias=False)
    >>> _ = net.load_state_dict({"weight": torch.eye(2)})
    >>> inputs = torch.tensor([[0.5, 0.45], [0.9, 0.1]])
    >>> universal_evasion(net, None, inputs, torch.tensor([[-1.0, 1.0]]), radius=0.1).rate.tolist()
    [[0.5]]
    """
    network, weights = subject(network, weights, inputs)
    check_examples(network, weights, inputs, labels)
    if radius < 0:
        raise UsageError(f"radius must not be negative, {radius} came")
    each = _on_inputs(network, weights, patterns).to(inputs)
    if not bool((torch.isfinite(each) & (each.abs() <= 1)).all()):
        raise UsageError("patterns must lie within -1..1: the radius says how large they are")
    before = network.evaluate(weights, inputs)
    said = _said(before)
    truth = None if labels is None else examples_of(network, weights, inputs, labels)[1]
    examples = said.shape[1]
    rates, drops, sizes = [], [], []
    for number in range(each.shape[-len(network.input_shape) - 1]):
        delta = radius * (each[:, number] if each.ndim == len(network.input_shape) + 2 else each[number])
        if each.ndim == len(network.input_shape) + 2:
            delta = delta.unsqueeze(1)
        moved = inputs + delta
        moved = moved if low is None and high is None else moved.clamp(low, high)
        after = network.evaluate(weights, moved)
        rates.append((_said(after) != said).double().mean(dim=1))
        energy = (moved - inputs).flatten(-len(network.input_shape)).double().square().sum(dim=-1).mean(dim=-1)
        sizes.append(energy.expand(weights.replicas))
        if truth is not None:
            drops.append(right(before, truth).double().mean(dim=1) - right(after, truth).double().mean(dim=1))
    rate, size = torch.stack(rates, dim=1), torch.stack(sizes, dim=1)
    fresh = radius**2 * each.flatten(-len(network.input_shape)).double().square().sum(dim=-1)
    level = each.flatten(-len(network.input_shape)).mean(dim=-1).abs().expand(weights.replicas, -1)
    flags = {
        "clipped": size.mean(dim=1) < CLIPPED * fresh.expand(weights.replicas, -1).mean(dim=1),
        "brightness shift": (level > MOST_SHIFT + 1e-6).any(dim=1),
    }
    drop = torch.stack(drops, dim=1) if drops else torch.full_like(rate, torch.nan)
    return Evasion(rate, (rate * (1 - rate) / examples).sqrt(), drop, size.sqrt(), flags)


def universal_perturbation(
    network: Network | torch.nn.Module,
    weights: Weights | None,
    inputs: Tensor,
    labels: Tensor,
    *,
    radius: float,
    epochs: int = 10,
    batch: int = 100,
    step_size: float = 0.1,
    loss: str | Loss = "cross-entropy",
    low: float | None = None,
    high: float | None = None,
) -> Tensor:
    """The control U: one perturbation for all inputs by sign-gradient ascent on the mean loss, in units of `radius`.

    delta <- clamp(delta + step_size sign(sum_i d loss(x_i + radius delta) / d delta), -1, 1) over the batches in their
    order; starts at 0. Source: specification gabor-noise-sensitivity (1000 training images, 10 epochs).

    Args:
        network, weights, inputs, labels, low, high: see `universal_evasion`.
        radius: in units of the inputs.
        epochs, batch: passes over the inputs, and inputs per step.
        step_size: in units of the radius.
        loss: what is raised.

    Returns:
        (replica, 1, *input_shape) within -1..1: patterns for `universal_evasion`.
    """
    network, weights = subject(network, weights, inputs)
    check_examples(network, weights, inputs, labels)
    if radius <= 0 or epochs < 1 or batch < 1 or step_size <= 0:
        raise UsageError(
            f"radius and step_size must be above 0, epochs and batch at least 1; {radius}, {step_size}, {epochs}, "
            f"{batch} came"
        )
    chosen = losses.get(loss) if isinstance(loss, str) else loss
    x, y = examples_of(network, weights, inputs, labels)
    delta = torch.zeros(weights.replicas, 1, *network.input_shape, dtype=x.dtype, device=x.device)
    flat = Weights(weights.slots, weights.flat.detach(), weights.buffers)
    rows = [slice(r, r + 1) for r in range(weights.replicas)] if network.mode == "looped" else [slice(None)]
    for _ in range(epochs):
        for own, answers in zip(torch.split(x, batch, dim=1), torch.split(y, batch, dim=1), strict=True):
            for row in rows:
                with torch.enable_grad():
                    leaf = delta[row].detach().requires_grad_()
                    moved = own[row] + radius * leaf
                    moved = moved if low is None and high is None else moved.clamp(low, high)
                    total = chosen.each(network(flat.take(row), moved), answers[row]).sum()
                    (gradient,) = torch.autograd.grad(total, leaf, materialize_grads=True)
                delta[row] = (delta[row] + step_size * gradient.sign()).clamp(-1, 1)
    return delta


def _said(outputs: Tensor) -> Tensor:
    return (outputs.squeeze(-1) > 0).long() if outputs.shape[-1] == 1 else outputs.argmax(dim=-1)


def _on_inputs(network: Network, weights: Weights, patterns: Tensor) -> Tensor:
    """(pattern, *input_shape), or (replica, pattern, *input_shape)."""
    shape = network.input_shape
    if tuple(patterns.shape[1:]) == shape:
        return patterns
    if tuple(patterns.shape[2:]) == shape and len(patterns) == weights.replicas:
        return patterns
    if patterns.ndim == 3 and len(shape) == 3 and tuple(patterns.shape[1:]) == shape[1:]:
        return patterns.unsqueeze(1).expand(-1, *shape)
    if patterns.ndim == 3 and len(shape) == 1 and patterns[0].numel() and shape[0] % patterns[0].numel() == 0:
        return patterns.flatten(1).repeat(1, shape[0] // patterns[0].numel())
    raise ShapeError(
        f"patterns must be (pattern, {', '.join(map(str, shape))}) or (pattern, height, width), with or without a "
        f"replica axis; {tuple(patterns.shape)} came"
    )
