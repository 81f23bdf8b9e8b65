"""Whether two ways to run a module give the same numbers: outputs, gradients and buffers of two replicas."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from refute.architectures.folded import Folded
from refute.architectures.folding import NotFoldable, Order, order_of
from refute.architectures.layers import Layer, Slot
from refute.architectures.looped import Looped
from refute.errors import UsageError
from refute.randomness import stream

AGREEMENT = {torch.float64: 1e-9, torch.float32: 1e-4}
"""Largest difference, relative to the largest number compared, at which folded and looped mode are the same."""


@dataclass(frozen=True)
class _Found:
    """What one pass gives, and what it leaves in the buffers."""

    outputs: Tensor
    gradients: Mapping[str, Tensor]
    buffers: Mapping[str, Tensor]


@dataclass(frozen=True)
class Followed:
    """Layers one after another, which a module's code was found to run through."""

    layers: tuple[Layer, ...]

    def slots(self) -> tuple[Slot, ...]:
        return tuple(slot for layer in self.layers for slot in layer.slots())

    def apply(self, inputs: Tensor, weights: Mapping[str, Tensor], training: bool) -> Tensor:
        for layer in self.layers:
            inputs = layer.apply(inputs, weights, training)
        return inputs


Candidate = Looped | Folded | Followed


@dataclass(frozen=True, eq=False)
class Trial:
    """Two replicas with different weights and inputs, and what looped mode makes of them."""

    weights: Mapping[str, Tensor]
    inputs: Tensor
    expected: Mapping[bool, _Found]
    """In training and in evaluation."""
    orders: Mapping[str, Order]
    """Name of a dropout layer -> how the memory of its inputs is ordered."""

    @staticmethod
    def of(looped: Looped, drawn: list[Mapping[str, Tensor]], samples: Tensor) -> "Trial":
        errors = []
        for dtype in AGREEMENT:
            weights = _trial_weights(looped, drawn, dtype)
            inputs = (samples.to(dtype) if samples.is_floating_point() else samples).view(2, -1, *samples.shape[1:])
            try:
                with _watched(looped.template) as orders:
                    expected = {t: _pass(looped, weights, inputs, training=t) for t in (True, False)}
                return Trial(weights, inputs, expected, orders)
            except Exception as error:  # whatever the user's code raises
                errors.append(f"{dtype}: {type(error).__name__}: {error}")
        raise UsageError(f"the module cannot be differentiated. It said {'; '.join(errors)}")

    def mixes(self, looped: Looped) -> bool:
        """Whether in training examples act on one another, or on buffers."""
        whole = self.expected[True]
        if any(not torch.equal(self.weights[name], found) for name, found in whole.buffers.items()):
            return True
        with torch.no_grad():
            parts = [
                looped.apply(part, self.weights, True)
                for part in torch.split(self.inputs, [2, self.inputs.shape[1] - 2], dim=1)
            ]
        return not _close(torch.cat(parts, dim=1), whole.outputs)

    def difference(self, layer: Candidate) -> str:
        """In what the layer differs from looped mode, of the tensors that it has; empty if it agrees."""
        own = {slot.name for slot in layer.slots()}
        if isinstance(layer, Folded):
            layer.fold.recording = True
        try:
            with torch.random.fork_rng(devices=[]):
                before = torch.get_rng_state()
                found = {t: _pass(layer, self.weights, self.inputs, training=t) for t in (True, False)}
                if not torch.equal(before, torch.get_rng_state()):
                    return "it draws random numbers for all replicas together"
        except NotFoldable as error:
            return str(error)
        except Exception as error:  # whatever the user's code raises
            return f"its code needs a plain batch ({type(error).__name__}: {error})"
        finally:
            if isinstance(layer, Folded):
                layer.fold.recording = False
        for training, mode in ((True, "in training"), (False, "in evaluation")):
            here, there = self.expected[training], found[training]
            if not _close(there.outputs, here.outputs):
                return f"examples of a batch act on one another: folded outputs differ {mode}"
            for name, tensor in {**here.gradients, **here.buffers}.items():
                if name not in own:
                    continue
                other = there.gradients[name] if name in here.gradients else there.buffers[name]
                if not _close(other, tensor):
                    return f"folded and looped mode differ in {name} {mode}"
        return ""


@contextmanager
def _watched(module: nn.Module) -> Iterator[dict[str, Order]]:
    """Note the order of memory of every dropout layer's inputs."""
    orders: dict[str, Order] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def note(_: nn.Module, args: tuple[Any, ...]) -> None:
            if args and isinstance(args[0], Tensor):
                orders[name] = order_of(args[0])

        return note

    dropouts = (
        (name, part) for name, part in module.named_modules() if isinstance(part, nn.modules.dropout._DropoutNd)
    )
    handles = [part.register_forward_pre_hook(watch(name)) for name, part in dropouts]
    try:
        yield orders
    finally:
        for handle in handles:
            handle.remove()


def _trial_weights(looped: Looped, drawn: list[Mapping[str, Tensor]], dtype: torch.dtype) -> dict[str, Tensor]:
    """Drawn weights, moved a little, so that no zeros and ones hide a replica's weights."""
    generator = stream(0, "weights to compare with")
    weights = {}
    for slot in looped.slots():
        tensor = torch.stack([each[slot.name] for each in drawn])
        if tensor.is_floating_point():
            tensor = tensor.to(dtype)
            if not slot.buffer:
                tensor = tensor + 0.1 * torch.randn(tensor.shape, generator=generator, dtype=dtype)
            elif slot.name.rpartition(".")[2] in ("running_mean", "running_var"):
                tensor = tensor + 0.5 * torch.rand(tensor.shape, generator=generator, dtype=dtype)
        weights[slot.name] = tensor
    return weights


def _pass(layer: Candidate, weights: Mapping[str, Tensor], inputs: Tensor, *, training: bool) -> _Found:
    trained = [slot.name for slot in layer.slots() if not slot.buffer]
    own = {name: tensor.clone() for name, tensor in weights.items()}
    leaves = [own[name].requires_grad_() for name in trained]
    outputs = layer.apply(inputs, own, training)
    toward = torch.randn(outputs.shape, generator=stream(0, "direction of the gradient"), dtype=torch.float64)
    gradients: tuple[Tensor | None, ...] = (None,) * len(leaves)
    if outputs.requires_grad:
        gradients = torch.autograd.grad(outputs, leaves, toward.to(outputs.dtype), allow_unused=True)
    filled = [torch.zeros_like(leaf) if g is None else g for leaf, g in zip(leaves, gradients, strict=True)]
    buffers = {name: tensor for name, tensor in own.items() if name not in trained}
    return _Found(outputs.detach(), dict(zip(trained, filled, strict=True)), buffers)


def _close(first: Tensor, second: Tensor) -> bool:
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    if not first.is_floating_point():
        return torch.equal(first, second)
    tolerance = AGREEMENT.get(first.dtype, max(AGREEMENT.values()))
    largest = max(1.0, float(second.abs().max())) if second.numel() else 1.0
    return torch.allclose(first, second, rtol=0.0, atol=tolerance * largest, equal_nan=True)
