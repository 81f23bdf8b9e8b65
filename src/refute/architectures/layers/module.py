"""Any nn.Module as one layer."""

from dataclasses import dataclass

import torch
from torch import Tensor

from refute.architectures.layers.convolution import joined
from refute.architectures.layers.interface import Differentiated, Slot, Step, Tensors


@dataclass(frozen=True)
class FromModule:
    """Any nn.Module as one layer, run replica by replica on views of the cohort's weights.

    `template` is an instance whose own weights are never used; `initial` draws them (see `Network.from_module`).
    """

    template: torch.nn.Module
    loops = True
    mixes = True

    def slots(self) -> tuple[Slot, ...]:
        parameters = [Slot(name, tuple(p.shape), "module") for name, p in self.template.named_parameters()]
        buffers = [Slot(name, tuple(b.shape), "module", buffer=True) for name, b in self.template.named_buffers()]
        return (*parameters, *buffers)

    def apply(self, inputs: Tensor, weights: Tensors, training: bool) -> Tensor:
        names = [slot.name for slot in self.slots()]
        self.template.train(training)
        outputs = [
            torch.func.functional_call(self.template, {name: weights[name][replica] for name in names}, (x,))
            for replica, x in enumerate(inputs)
        ]
        return joined(outputs)

    def bind(self, weights: Tensors, gradients: Tensors, *, wanted: bool, spare: bool) -> Step:  # noqa: ARG002
        return Differentiated(self, weights, gradients, wanted=wanted)
