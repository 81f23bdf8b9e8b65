"""Sparse training: some weights never move (as in lottery tickets, Frankle & Carbin 2019, section 2)."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from refute.algorithms.interface import Again, Algorithm, State
from refute.architectures import Weights
from refute.errors import ShapeError, UnknownNameError, did_you_mean


@dataclass(frozen=True)
class Masked:
    """The inner algorithm where `mask` is true; the weights elsewhere keep, bit for bit, the value they start with.

    They count in no norm of the gradient and move by no weight decay. A pruned network starts with zeros there:
    `weights.flat.mul_(mask)`. `mask`: (replica, parameter), bool or of zeros and ones; see `mask_of`. Wrap `Masked`
    around everything else. Raises `ShapeError` at the start if the mask does not fit the weights.
    """

    inner: Algorithm
    mask: Tensor

    def start(self, weights: Weights) -> State:
        if self.mask.shape != weights.flat.shape:
            raise ShapeError(
                f"the mask must be (replica, parameter) = {tuple(weights.flat.shape)}, {tuple(self.mask.shape)} came"
            )
        mask = self.mask.to(weights.flat)
        if not bool((mask * (mask - 1) == 0).all()):
            raise ShapeError("the mask must be bool or hold only zeros and ones, other numbers came")
        return {**self.inner.start(weights), "mask": mask, "frozen": weights.flat * (1 - mask)}

    def direction(self, weights: Weights, gradient: Tensor, state: State, decay: Tensor | None, again: Again) -> Tensor:
        gradient.mul_(state["mask"])
        masking = _masking(gradient, state["mask"], again)
        return self.inner.direction(weights, gradient, state, decay, masking).mul_(state["mask"])

    def step(
        self, weights: Weights, gradient: Tensor, state: State, rate: Tensor, decay: Tensor | None, again: Again
    ) -> None:
        gradient.mul_(state["mask"])
        self.inner.step(weights, gradient, state, rate, decay, _masking(gradient, state["mask"], again))
        torch.addcmul(state["frozen"], weights.flat, state["mask"], out=weights.flat)

    def take(self, replicas: slice) -> "Masked":
        return Masked(self.inner.take(replicas), self.mask[replicas])


def _masking(gradient: Tensor, mask: Tensor, again: Again) -> Again:
    def masked() -> None:
        again()
        gradient.mul_(mask)

    return masked


def mask_of(weights: Weights, masks: Mapping[str, Tensor]) -> Tensor:
    """The mask (replica, parameter), bool, whose named tensors are `masks`, and true elsewhere.

    Each of `masks` is (replica, *shape), or (*shape) for all replicas alike. Raises `UnknownNameError` for a name that
    no trained tensor has and `ShapeError` for another shape.
    """
    mask = Weights(weights.slots, torch.ones_like(weights.flat, dtype=torch.bool))
    for name, kept in masks.items():
        if name not in mask:
            raise UnknownNameError(f"there is no trained tensor '{name}': {did_you_mean(name, tuple(mask))}")
        shape = tuple(mask[name].shape)
        if tuple(kept.shape) not in (shape, shape[1:]):
            raise ShapeError(f"the mask of {name} must be {shape} or {shape[1:]}, {tuple(kept.shape)} came")
        mask[name].copy_(kept)
    return mask.flat
