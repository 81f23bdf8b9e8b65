"""Any nn.Module as a layer, one replica after the other, on views of the cohort's weights."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from refute.architectures import noise
from refute.architectures.folding import Place, alone, holding, written
from refute.architectures.layers.interface import Differentiated, Slot, Step, Tensors
from refute.errors import UsageError

MakeModule = Callable[[], nn.Module]


def draw(make_module: MakeModule, seed: int) -> Mapping[str, Tensor]:
    """Initial tensors of one replica (parameters, buffers and the state of its noise), without the replica axis.

    The factory draws from torch's global generator, which is seeded for it and put back.
    """
    module = made(make_module, seed)
    return {**{name: tensor.detach().clone() for name, tensor in named_tensors(module)}, noise.STATE: noise.state(seed)}


def made(make_module: MakeModule, seed: int) -> nn.Module:
    """An instance with the weights of that seed; on the CPU, wherever the factory puts it."""
    with torch.random.fork_rng(devices=[]):
        if torch.backends.cuda.is_built():  # type: ignore[no-untyped-call]
            torch.manual_seed(seed)
        else:  # without the notes that torch takes for devices which may come, half a millisecond of them
            torch.default_generator.manual_seed(seed)
        return make_module().cpu()


def named_tensors(module: nn.Module) -> list[tuple[str, Tensor]]:
    """Parameters and buffers, module by module, tied ones once."""
    seen: set[int] = set()
    found = []
    for prefix, part in module.named_modules():
        for key, tensor in (*part._parameters.items(), *part._buffers.items()):
            if tensor is not None and id(tensor) not in seen:
                seen.add(id(tensor))
                found.append((f"{prefix}.{key}" if prefix else key, tensor))
    return found


def places_of(module: nn.Module) -> list[tuple[Place, str]]:
    """Where every tensor stands, tied ones at each of their places under their one name."""
    names = {id(tensor): name for name, tensor in named_tensors(module)}
    return [
        ((dictionary, key), names[id(tensor)])
        for part in module.modules()
        for dictionary in (part._parameters, part._buffers)
        for key, tensor in dictionary.items()
        if tensor is not None
    ]


def slots_of(module: nn.Module, *, noisy: bool) -> tuple[Slot, ...]:
    """What a layer that runs the module owns: its tensors, and the state of its noise."""
    own = [
        Slot(name, tuple(t.shape), "module", buffer=not (isinstance(t, nn.Parameter) and t.requires_grad))
        for name, t in named_tensors(module)
    ]
    return (*own, Slot(noise.STATE, (2,), "module", buffer=True)) if noisy else tuple(own)


def momenta_of(module: nn.Module) -> dict[str, float]:
    """Names of running statistics -> their momentum m: a batch's statistic b moves s to (1 - m) s + m b."""
    kind = nn.modules.batchnorm._NormBase
    norms = [(prefix, part) for prefix, part in module.named_modules() if isinstance(part, kind)]
    return {
        f"{prefix}.{key}" if prefix else key: part.momentum
        for prefix, part in norms
        for key in ("running_mean", "running_var")
        if part._buffers.get(key) is not None and part.momentum is not None
    }


def outputs_of(found: Any) -> Tensor:
    """The tensor that a module's result is about: itself, its `logits`, or the first of several."""
    if isinstance(found, Tensor):
        return found
    logits = found.get("logits") if isinstance(found, Mapping) else getattr(found, "logits", None)
    if isinstance(logits, Tensor):
        return logits
    if isinstance(found, tuple | list) and found and isinstance(found[0], Tensor):
        return found[0]
    raise UsageError(
        f"a module must return a tensor, a tuple that starts with one or something with `logits`, "
        f"{type(found).__name__} came; wrap it in a module that returns the tensor to train on"
    )


@dataclass(frozen=True, eq=False)
class Looped:
    """Any nn.Module, run replica by replica on views of the cohort's weights.

    `template` is an instance whose own weights are never used. `why` says why it is not folded.
    """

    template: nn.Module
    slots_: tuple[Slot, ...]
    places: tuple[tuple[Place, str], ...]
    noisy: bool
    mixes: bool = True
    why: str = ""
    momenta: Mapping[str, float] = field(default_factory=dict)
    """See `momenta_of`."""
    channels_last: bool = False
    """Whether it gets images with their channels together in memory, where convolutions are faster."""
    loops = True
    groups = False

    def slots(self) -> tuple[Slot, ...]:
        return self.slots_

    def apply(self, inputs: Tensor, weights: Tensors, training: bool) -> Tensor:
        if self.template.training != training:
            self.template.train(training)
        streams = streams_of(weights, training) if self.noisy else None
        stacked = {name: alone(weights[name]) for name in {name for _, name in self.places}}
        outputs = []
        for replica, x in enumerate(alone(inputs)):
            own = [(place, stacked[name][replica]) for place, name in self.places]
            with holding(own), streams.of(replica) if streams else nullcontext():
                outputs.append(outputs_of(self.template(channels_together(x) if self.channels_last else x)))
                written((place, tensor) for place, tensor in own if not tensor.requires_grad)
        return outputs[0].unsqueeze(0) if len(outputs) == 1 else torch.stack(outputs)

    def bind(self, weights: Tensors, gradients: Tensors, *, wanted: bool, spare: bool) -> Step:  # noqa: ARG002
        return Differentiated(self, weights, gradients, wanted=wanted)


def channels_together(images: Tensor) -> Tensor:
    """(batch, channel, height, width), the same numbers with the channels of each pixel side by side in memory."""
    if images.shape[1] == 1:  # nothing moves, but the strides must say so
        return images.squeeze(1).contiguous().unsqueeze(-1).movedim(-1, 1)
    return images.contiguous(memory_format=torch.channels_last)


def streams_of(weights: Tensors, training: bool) -> noise.Streams:
    """The generators of the next pass."""
    states = weights[noise.STATE]
    return noise.Streams.next(states if training else states.clone())
