"""What a net that was trained to reproduce images does with others: identity, constant, or neither.

Source: Zhang et al. 2019 (arXiv 1902.04698), sections 3 and 4; specification of identity-crisis.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from refute.errors import ShapeError
from refute.instruments.interface import Flags

SILENT = 1e-6
"""Standard deviation over pixels below which an output has no correlation with anything."""
NEAR = 0.1
"""Inputs nearer to the reference than this share of the median distance are left out."""


@dataclass(frozen=True)
class Reproduction:
    """Per replica, over the inputs that are not too near to the reference.

    `bias` (replica,): mean of (mse_const - mse_id) / (mse_const + mse_id): +1 identity, -1 constant; `neither`
    (replica,): mean of min(mse_id, mse_const) / distance to the reference, 0 for a clean identity or constant;
    `identity`, `constant`, `baseline` (replica,): correlations over pixels of output and input, output and reference,
    input and reference, averaged as Fisher's z; `each_constant` (replica, input). Flags: "silent outputs" (some output
    does not vary over pixels; its correlations count as 0), "few inputs" (fewer than 20 are left).
    """

    bias: Tensor
    neither: Tensor
    identity: Tensor
    constant: Tensor
    baseline: Tensor
    each_constant: Tensor
    flags: Flags


def reproduction(outputs: Tensor, inputs: Tensor, reference: Tensor) -> Reproduction:
    """Compare the outputs for other inputs with these inputs and with the reference that was trained.

    Args:
        outputs, inputs: (replica, input, pixel).
        reference: (replica, pixel), the image that the net has learnt to reproduce.

    Raises:
        ShapeError: shapes that do not belong together.

    >>> x, seen = torch.rand(1, 30, 16), torch.rand(1, 16)
    >>> reproduction(x, x, seen).bias.item(), reproduction(seen[:, None].expand_as(x), x, seen).bias.item()
    (1.0, -1.0)
    """
    if outputs.shape != inputs.shape or outputs.dim() != 3 or reference.shape != (len(inputs), inputs.shape[-1]):
        raise ShapeError(
            "outputs and inputs must be (replica, input, pixel) and reference (replica, pixel); "
            f"{tuple(outputs.shape)}, {tuple(inputs.shape)}, {tuple(reference.shape)} came"
        )
    outputs, inputs, seen = outputs.double(), inputs.double(), reference.double().unsqueeze(1)
    of_identity = (outputs - inputs).square().mean(dim=-1)
    of_constant = (outputs - seen).square().mean(dim=-1)
    distance = (inputs - seen).square().mean(dim=-1)
    kept = distance >= NEAR * distance.median(dim=1, keepdim=True).values
    share = (of_constant - of_identity) / (of_constant + of_identity).clamp(min=1e-300)
    least = torch.minimum(of_identity, of_constant) / distance.clamp(min=1e-300)
    to_input, to_seen = correlation(outputs, inputs), correlation(outputs, seen.expand_as(outputs))
    return Reproduction(
        bias=_mean(share, kept),
        neither=_mean(least, kept),
        identity=_fisher_mean(to_input, kept),
        constant=_fisher_mean(to_seen, kept),
        baseline=_fisher_mean(correlation(inputs, seen.expand_as(inputs)), kept),
        each_constant=to_seen,
        flags={
            "silent outputs": (outputs.std(dim=-1) < SILENT).any(dim=1),
            "few inputs": kept.sum(dim=1) < 20,
        },
    )


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Pearson's correlation over the last axis; 0 where one of them does not vary."""
    a, b = first - first.mean(dim=-1, keepdim=True), second - second.mean(dim=-1, keepdim=True)
    lengths = a.norm(dim=-1) * b.norm(dim=-1)
    silent = (first.std(dim=-1) < SILENT) | (second.std(dim=-1) < SILENT)
    return torch.where(silent, 0.0, (a * b).sum(dim=-1) / lengths.clamp(min=1e-300))


def _mean(values: Tensor, kept: Tensor) -> Tensor:
    return torch.where(kept, values, 0.0).sum(dim=1) / kept.sum(dim=1).clamp(min=1)


def _fisher_mean(correlations: Tensor, kept: Tensor) -> Tensor:
    limit = 1 - 1e-9
    return _mean(correlations.clamp(-limit, limit).atanh(), kept).tanh()
