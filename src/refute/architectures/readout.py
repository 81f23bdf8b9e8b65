"""What the loss and the accuracy see of a network's outputs."""

from dataclasses import dataclass

from torch import Tensor

from refute.architectures.network import Network, Weights


@dataclass(frozen=True)
class Readout:
    """What the loss and the accuracy see: scale * (f(x; w) - f(x; centre)), per replica.

    `scale` (replica,) large and `centre` the initial weights give lazy training (Chizat et al. 2019, eq. 2).
    """

    scale: Tensor | None = None
    centre: Weights | None = None

    def of(self, network: Network, outputs: Tensor, inputs: Tensor) -> Tensor:
        """Readout of outputs (replica, example, output) at inputs (replica, example, ...) or (example, ...)."""
        if self.centre is not None:
            outputs = outputs - network.evaluate(self.centre, inputs)
        return outputs if self.scale is None else outputs * self.scale.view(-1, 1, 1)

    def gradient(self, gradient: Tensor) -> Tensor:
        """A loss's gradient with respect to the network's outputs, from that with respect to the readout."""
        return gradient if self.scale is None else gradient * self.scale.view(-1, 1, 1)

    def take(self, replicas: slice) -> "Readout":
        """The readout of some replicas."""
        return Readout(
            None if self.scale is None else self.scale[replicas],
            None if self.centre is None else self.centre.take(replicas),
        )
