"""Supermask training: learn which weights to keep, never what they are (Zhou et al. 2019, section 5)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from refute.algorithms.interface import Again, Algorithm, State
from refute.architectures import Weights
from refute.errors import ShapeError, UsageError
from refute.randomness import stream


@dataclass(frozen=True)
class Supermask:
    """The inner algorithm on the logits s of a random mask; the network computes with w_i m, m ~ Bernoulli(sigmoid(s)).

    The mask is drawn anew after every step. The gradient passes straight through the draw (Bengio et al. 2013): with
    g the gradient by the masked weights, s is moved along g w_i c sigmoid'(s). Kernels are masked; everything else
    keeps its initial value. Start training from `draw(0)` of the same value; `logits` then holds what was learned.

    Attributes:
        inner: what moves the logits.
        initial: the frozen weights w_i.
        logits: (replica, parameter), changed in place; entries of what is no kernel have no meaning.
        seeds: one per replica; masks come of their streams "supermask-STEP".
        rescaled: dynamic weight rescaling: a masked kernel is multiplied by c = (number of weights) / (number
            kept), a constant in the gradient; otherwise c = 1.
    """

    inner: Algorithm
    initial: Weights
    logits: Tensor
    seeds: tuple[int, ...]
    rescaled: bool = False

    def __post_init__(self) -> None:
        flat = self.initial.flat
        if self.logits.shape != flat.shape or len(self.seeds) != len(flat):
            raise ShapeError(
                f"logits must be (replica, parameter) = {tuple(flat.shape)} with a seed per replica, "
                f"{tuple(self.logits.shape)} and {len(self.seeds)} seeds came"
            )

    def draw(self, step: int) -> Weights:
        """The weights masked by the draw of this step."""
        return masked(self.initial, self._mask(step), rescaled=self.rescaled)

    def start(self, weights: Weights) -> State:
        steps = torch.zeros(len(weights.flat), 1, dtype=torch.int64, device=weights.flat.device)
        factors = torch.zeros_like(weights.flat)
        _factors(self.initial, self._mask(0), rescaled=self.rescaled, out=factors)
        return {**self.inner.start(Weights(weights.slots, self.logits)), "draws": steps, "factors": factors}

    def direction(self, weights: Weights, gradient: Tensor, state: State, decay: Tensor | None, again: Again) -> Tensor:  # noqa: ARG002
        raise UsageError("Supermask moves logits, not weights: no other algorithm can be wrapped around it")

    def step(
        self, weights: Weights, gradient: Tensor, state: State, rate: Tensor, decay: Tensor | None, again: Again
    ) -> None:
        chances = torch.sigmoid(self.logits)
        gradient.mul_(self.initial.flat).mul_(state["factors"]).mul_(chances * (1 - chances))
        self.inner.step(Weights(weights.slots, self.logits), gradient, state, rate, decay, again)
        step = int(state["draws"][0]) + 1
        state["draws"].fill_(step)
        mask = self._mask(step)
        _factors(self.initial, mask, rescaled=self.rescaled, out=state["factors"])
        weights.flat.copy_(masked(self.initial, mask, rescaled=self.rescaled).flat)

    def take(self, replicas: slice) -> "Supermask":
        inner, initial = self.inner.take(replicas), self.initial.take(replicas)
        return Supermask(inner, initial, self.logits[replicas], self.seeds[replicas], self.rescaled)

    def _mask(self, step: int) -> Tensor:
        return drawn(self.logits, self.seeds, f"supermask-{step}")


def drawn(logits: Tensor, seeds: Sequence[int], purpose: str) -> Tensor:
    """A mask of zeros and ones that are one with the chance sigmoid(logits), (replica, parameter)."""
    chances = torch.sigmoid(logits)
    uniform = torch.stack([torch.rand(logits.shape[1], generator=stream(seed, purpose)) for seed in seeds])
    return (uniform.to(chances) < chances).to(chances)


def masked(weights: Weights, mask: Tensor, *, rescaled: bool = False) -> Weights:
    """The weights whose kernels are multiplied by a mask (replica, parameter), and by 1 / share kept if `rescaled`."""
    found = weights.clone()
    kept = Weights(weights.slots, mask)
    for slot in weights.slots:
        if slot.kernel:
            found[slot.name].mul_(kept[slot.name])
            if rescaled:
                found[slot.name].mul_(_rescaling(kept[slot.name]))
    return found


def _factors(weights: Weights, mask: Tensor, *, rescaled: bool, out: Tensor) -> None:
    """c at the kernels and 0 elsewhere, like the mask: what the gradient by w_i m c is to be multiplied by."""
    kept, factors = Weights(weights.slots, mask), Weights(weights.slots, out)
    for slot in weights.slots:
        if slot.kernel:
            factors[slot.name].fill_(1.0)
            if rescaled:
                factors[slot.name].mul_(_rescaling(kept[slot.name]))


def _rescaling(kept: Tensor) -> Tensor:
    """1 / share kept of each replica, with as many axes as `kept`; 1 if nothing is kept."""
    share = kept.flatten(1).mean(dim=1)
    return torch.where(share > 0, 1 / share, 1.0).view(-1, *[1] * (kept.ndim - 1))
