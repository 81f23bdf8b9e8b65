"""Margins of nets whose output grows as a power of the weights' size, and the linear problem behind many classes.

For f(c theta; x) = c^L f(theta; x) the sign of the margin says that an example is right, and the size only how large
the weights are; what is left when that is divided out:

    q_n = f_y - max_{c != y} f_c            (one output: +-f)
    normalized    min_n q_n / |theta|^L
    smoothed      -ln(exp(sum_n loss_n) - 1) / |theta|^L, the loss cross-entropy; never above the normalized one

Source: Lyu & Li 2020 (arXiv 1906.05890), sections 3 and A; specification implicit-bias-max-margin (deep version, C6).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from refute.architectures import Network, Weights
from refute.errors import ShapeError
from refute.instruments.confidence import confidence
from refute.instruments.hessian import cast, examples_of
from refute.instruments.interface import Flags, check_examples, subject

SCALE = 1.25
"""Factor of the weights by which the power is measured."""
ROUNDING = 1e-6
"""Relative deviation from a power above which outputs are no power of the size of the weights."""


@dataclass(frozen=True)
class NormalizedMargin:
    """float64 (replica,): `normalized`; `smoothed`; `smallest`, min_n q_n; `norm`, |theta|; `order`, L. Flags: "not
    homogeneous" (biases, normalization: the margins mean nothing), "errors" (an example is on the wrong side)."""

    normalized: Tensor
    smoothed: Tensor
    smallest: Tensor
    norm: Tensor
    order: Tensor
    flags: Flags


@torch.no_grad()
def normalized_margin(
    network: Network | torch.nn.Module, weights: Weights | None, inputs: Tensor, labels: Tensor
) -> NormalizedMargin:
    """The least margin over examples in units of |theta|^L, in float64; L is measured and rounded to a whole number.

    Args:
        network: a homogeneous net: relu or linear layers without biases.
        weights: of the cohort; None for a module.
        inputs: training examples, (example, *input_shape) or (replica, example, *input_shape).
        labels: classes, (example,) or (replica, example).

    Raises:
        ShapeError: examples or weights that do not fit.

    >>> from refute import architectures
    >>> net = architectures.build("linear", (2,), 2, depth=1)
    >>> weights = net.initialize([0])
    >>> _ = weights.flat.copy_(torch.tensor([[3.0, 0.0, 0.0, 4.0]]))  # f = (3 x_1, 4 x_2), |theta| = 5
    >>> found = normalized_margin(net, weights, torch.eye(2), torch.tensor([0, 1]))
    >>> round(found.normalized.item(), 6), found.order.item()
    (0.6, 1.0)
    """
    network, weights = subject(network, weights, inputs)
    check_examples(network, weights, inputs, labels)
    exact = cast(weights, torch.float64)
    x, y = examples_of(network, exact, inputs, labels)
    outputs = network.evaluate(exact, x)
    order, residual = _order(outputs, network.evaluate(Weights(exact.slots, SCALE * exact.flat, exact.buffers), x))
    margins, losses = _margins(outputs, y)
    norm = exact.flat.norm(dim=1)
    size = norm.pow(order)
    total = losses.logsumexp(dim=1)
    # ln(exp(s) - 1) = s + ln(1 - exp(-s)), and about ln s where s is too small for that
    inverse = torch.where(total < -30, total, total.exp() + torch.log(-torch.expm1(-total.exp())))
    smallest = margins.amin(dim=1)
    return NormalizedMargin(
        smallest / size,
        -inverse / size,
        smallest,
        norm,
        order,
        {"not homogeneous": ~(residual < ROUNDING), "errors": smallest <= 0},
    )


def class_differences(inputs: Tensor, labels: Tensor, *, classes: int) -> Tensor:
    """z = (e_y - e_c) x x^T of every example and every wrong class c: many classes as one separable problem.

    The largest margin of z (`max_margin`) is that of the multi-class support vector machine, min |W|_F^2 with (w_y -
    w_c) . x >= 1 (Crammer & Singer 2001, without a bias), and its direction, viewed as (class, feature), is W.

    Args:
        inputs: (replica, example, feature).
        labels: whole numbers (replica, example) or (example,).
        classes: how many, 2 or more.

    Returns:
        (replica, example x (classes - 1), classes x feature), in the type of the inputs.

    Raises:
        ShapeError: inputs or labels that do not fit.

    >>> class_differences(torch.tensor([[[5.0]]]), torch.tensor([1]), classes=2).tolist()
    [[[-5.0, 5.0]]]
    """
    if inputs.ndim != 3 or inputs.numel() == 0 or labels.shape not in (inputs.shape[:2], inputs.shape[1:2]):
        raise ShapeError(
            f"expected inputs (replica, example, feature) and labels (replica, example) or (example,), "
            f"{tuple(inputs.shape)} and {tuple(labels.shape)} came"
        )
    if labels.is_floating_point() or classes < 2 or not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise ShapeError(f"labels must be whole numbers of 0 to {classes - 1}, of 2 classes or more")
    own = labels.expand(inputs.shape[:2])
    right = functional.one_hot(own, classes).to(inputs.dtype)
    offsets = torch.arange(1, classes, device=inputs.device)
    wrong = functional.one_hot((own.unsqueeze(2) + offsets) % classes, classes).to(inputs.dtype)
    signs = right.unsqueeze(2) - wrong  # (replica, example, wrong class, class)
    z = signs.unsqueeze(4) * inputs[:, :, None, None, :]
    return z.flatten(3).flatten(1, 2)


def _order(outputs: Tensor, scaled: Tensor) -> tuple[Tensor, Tensor]:
    """L, (replica,), and how far scaled outputs are from SCALE^L outputs."""
    before, after = outputs.flatten(1), scaled.flatten(1)
    order = (torch.log(after.norm(dim=1) / before.norm(dim=1)) / math.log(SCALE)).round()
    expected = before * torch.pow(SCALE, order).unsqueeze(1)
    return order, (after - expected).norm(dim=1) / after.norm(dim=1)


def _margins(outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """q_n and ln loss_n, (replica, example)."""
    if outputs.shape[2] == 1:
        margins = outputs.squeeze(2) * (2 * (labels > 0).to(outputs.dtype) - 1)
        return margins, torch.where(margins > 30, -margins, functional.softplus(-margins).log())
    own = confidence(outputs, labels.long())
    at_label = labels.long().unsqueeze(2)
    gaps = outputs - outputs.gather(2, at_label)
    excess = gaps.scatter(2, at_label, -torch.inf).logsumexp(dim=2)  # ln sum_{c != y} exp(f_c - f_y)
    return own.margin, torch.where(excess < -30, excess, functional.softplus(excess).log())
