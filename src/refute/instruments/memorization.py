"""What an autoencoder gives for unseen inputs: something in the span of its training examples, one of them, or the
input itself.

Source: Radhakrishnan, Yang, Belkin & Uhler 2018 (arXiv 1810.10333), section 2 (span), and the specification of
autoencoder-memorization (matches).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from refute.architectures import Network, Weights
from refute.errors import ShapeError
from refute.instruments.hessian import cast
from refute.instruments.interface import Flags, check_examples, own_examples, subject

RANK_TOLERANCE = 1e-6
MATCH, MARGIN = 0.95, 0.05


@dataclass(frozen=True)
class Memorization:
    """Per unseen input (replica, input), unless it says otherwise.

    `span_residual`: |(I - P) f(x)| / |f(x)|, P the orthogonal projector on the span of the examples;
    `identity_error`: |f(x) - x|^2 / |x|^2; `projector_error`: |P x - x|^2 / |x|^2; `projector_gap`: |f(x) - P x| /
    |P x|; `training_error` (replica, example): |f(x_i) - x_i|^2 / |x_i|^2; `correlation` and `second`: the two largest
    Pearson correlations, over numbers, of f(x) with an example (second: -1 if there is one example only); `nearest`
    int64: the example of the largest; `rank` (replica,): dimension of the span. Flags: "span is everything" (the
    residual is 0 by construction), "zero outputs" (a residual or correlation is not defined; 1 and 0 are put), "outside
    the range of the output function" (some outputs have no inverse).
    """

    span_residual: Tensor
    identity_error: Tensor
    projector_error: Tensor
    projector_gap: Tensor
    training_error: Tensor
    correlation: Tensor
    second: Tensor
    nearest: Tensor
    rank: Tensor
    features: int
    flags: Flags

    @property
    def span_reference(self) -> Tensor:
        """Root mean square residual of a random direction, sqrt(1 - rank / d), (replica,)."""
        return (1 - self.rank / self.features).sqrt()

    def single_example(self, *, match: float = MATCH, margin: float = MARGIN) -> Tensor:
        """Which outputs are one training example: correlation >= match, the second best at least margin behind."""
        return (self.correlation >= match) & (self.correlation - self.second >= margin)


@torch.no_grad()
def memorization(
    network: Network | torch.nn.Module,
    weights: Weights | None,
    inputs: Tensor,
    examples: Tensor,
    *,
    inverse: Callable[[Tensor], Tensor] | None = None,
    rank_tolerance: float = RANK_TOLERANCE,
) -> Memorization:
    """Compare the outputs for unseen inputs with the training examples and their span, in float64.

    Args:
        network, weights: with as many outputs as inputs; see `subject`.
        inputs: unseen, (input, *input_shape) or (replica, input, *input_shape).
        examples: training examples, (example, *input_shape) or (replica, example, *input_shape).
        inverse: of the elementwise output function phi, for a one-layer net f = phi(W x): the span residual is then
            that of phi^-1(f(x)) against the span of phi^-1 of the examples (its section 2, "nonlinear span").
        rank_tolerance: singular values below this share of the largest do not count.

    Raises:
        ShapeError: outputs unlike inputs, inputs or examples that do not fit.

    >>> net = torch.nn.Linear(2, 2, bias=False)
    >>> _ = net.weight.data.copy_(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    >>> found = memorization(net, None, torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0, 0.0]]))
    >>> found.span_residual.item(), round(found.identity_error.item(), 4)
    (0.0, 0.64)
    """
    network, weights = subject(network, weights, inputs)
    check_examples(network, weights, inputs)
    try:
        check_examples(network, weights, examples)
    except ShapeError as error:
        raise ShapeError(str(error).replace("inputs must", "examples must")) from error
    features = math.prod(network.input_shape)
    if network.outputs != features:
        raise ShapeError(
            f"{network.name} must have as many outputs as inputs ({features}), it has {network.outputs}: "
            "is it an autoencoder?"
        )
    double = cast(weights, torch.float64)
    x, known = (own_examples(weights, network, each.double()) for each in (inputs, examples))
    outputs, trained = network.evaluate(double, x), network.evaluate(double, known)
    x, known = x.flatten(2), known.flatten(2)
    basis, rank = _span(known, rank_tolerance)
    projected = _project(x, basis)
    bent, bent_basis, bent_rank = outputs, basis, rank
    if inverse is not None:
        bent = inverse(outputs)
        bent_basis, bent_rank = _span(inverse(known), rank_tolerance)
    defined = torch.isfinite(bent).all(dim=2) & (bent.norm(dim=2) > 0)
    bent = torch.nan_to_num(bent, nan=0.0, posinf=0.0, neginf=0.0)
    residual = _ratio((bent - _project(bent, bent_basis)).norm(dim=2), bent.norm(dim=2))
    correlations = _unit(outputs) @ _unit(known).transpose(1, 2)
    best = correlations.topk(min(2, known.shape[1]), dim=2)
    second = best.values[..., 1] if known.shape[1] > 1 else torch.full_like(residual, -1.0)
    flags = {
        "span is everything": bent_rank == x.shape[2],
        "zero outputs": (outputs.norm(dim=2) == 0).any(dim=1),
        "outside the range of the output function": ~defined.all(dim=1) & (inverse is not None),
    }
    return Memorization(
        span_residual=torch.where(defined, residual, 1.0),
        identity_error=_ratio((outputs - x).square().sum(dim=2), x.square().sum(dim=2)),
        projector_error=_ratio((projected - x).square().sum(dim=2), x.square().sum(dim=2)),
        projector_gap=_ratio((outputs - projected).norm(dim=2), projected.norm(dim=2)),
        training_error=_ratio((trained - known).square().sum(dim=2), known.square().sum(dim=2)),
        correlation=best.values[..., 0],
        second=second,
        nearest=best.indices[..., 0],
        rank=bent_rank,
        features=x.shape[2],
        flags=flags,
    )


def _span(examples: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """An orthonormal basis (replica, direction, feature) of the examples' span, its last rows 0, and its dimension."""
    if examples.shape[1] > examples.shape[2]:  # a smaller matrix with the same singular values and directions
        examples = torch.linalg.qr(examples, mode="r").R
    _, values, directions = torch.linalg.svd(examples, full_matrices=False)
    kept = values > tolerance * values[:, :1]
    return directions * kept.unsqueeze(2), kept.sum(dim=1)


def _project(points: Tensor, basis: Tensor) -> Tensor:
    projected: Tensor = (points @ basis.transpose(1, 2)) @ basis
    return projected


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    return part / whole.clamp(min=torch.finfo(part.dtype).tiny)


def _unit(points: Tensor) -> Tensor:
    """Centred over features and of length 1; 0 for a constant."""
    centred = points - points.mean(dim=2, keepdim=True)
    scaled: Tensor = centred / centred.norm(dim=2, keepdim=True).clamp(min=1e-12)
    return scaled
