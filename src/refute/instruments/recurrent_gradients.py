"""Gradients of one word's loss by the hidden states of its own time step, in every layer of a recurrent net.

g_l(t) = d loss_t / d h_l(t), loss_t the loss of the one target at t: states that came before are constants, so that no
other time step contributes. In the top layer it is W^T (d loss_t / d outputs), for the cross-entropy W^T (p_t -
onehot(y_t)); below, the single step t of each upper layer is run again and differentiated, all times at once.

Source: the specification activation-gradient-concentration-lm, after Saphra & Lopez 2019 (arXiv 1908.01817).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from refute import losses
from refute.architectures import recurrent
from refute.errors import ShapeError, UsageError
from refute.instruments.interface import Flags
from refute.losses import Loss

KINDS = ("lstm", "gru", "rnn-tanh", "rnn-relu")
VANISHING = 1e-8


@dataclass(frozen=True)
class StepGradients:
    """Hidden states and gradients by them, input side first.

    `states[l]`, `gradients[l]` (replica, batch, time, hidden); `losses` (replica, batch, time). Flags: "not finite",
    "gradient vanishes" (all of a layer's gradients are shorter than 1e-8).
    """

    states: tuple[Tensor, ...]
    gradients: tuple[Tensor, ...]
    losses: Tensor
    flags: Flags


def step_gradients(
    kind: str,
    inputs: Tensor,
    layers: Sequence[Mapping[str, Tensor]],
    kernel: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    *,
    loss: str | Loss = "cross-entropy",
) -> StepGradients:
    """g_l(t) of every layer and time step of a stack of recurrent layers with a dense readout; states start at 0.

    Args:
        kind: "lstm", "gru", "rnn-tanh" or "rnn-relu".
        inputs: what the first layer reads (embedded words), (replica, batch, time, input).
        layers: for each, input side first, "weight_ih" (replica, gates x hidden, input), "weight_hh" and, if it has
            them, "bias_ih" and "bias_hh" (replica, gates x hidden), laid out as in torch.nn.LSTM and torch.nn.GRU.
        kernel: of the readout, (replica, output, hidden).
        bias: (replica, output) or None.
        targets: labels (replica, batch, time).
        loss: name or value, see `refute.losses`.

    Raises:
        UsageError: an unknown kind, or no layers.
        ShapeError: inputs or targets that do not fit.

    >>> layer = {"weight_ih": torch.ones(1, 2, 3), "weight_hh": torch.zeros(1, 2, 2)}
    >>> words, targets = torch.zeros(1, 1, 4, 3), torch.zeros(1, 1, 4, dtype=torch.int64)
    >>> found = step_gradients("rnn-tanh", words, [layer], torch.eye(2)[None], None, targets)
    >>> found.gradients[0][0, 0, 0].tolist()
    [-0.5, 0.5]
    """
    if kind not in KINDS:
        raise UsageError(f"kind must be one of {', '.join(KINDS)}, {kind!r} came")
    if not layers:
        raise UsageError("layers must hold at least one recurrent layer, none came")
    if inputs.ndim != 4 or targets.shape != inputs.shape[:3]:
        raise ShapeError(
            f"inputs must be (replica, batch, time, input) and targets (replica, batch, time), "
            f"{tuple(inputs.shape)} and {tuple(targets.shape)} came"
        )
    if not bool(torch.isfinite(inputs).all()):
        raise ShapeError("inputs must be finite: some numbers are nan or inf")
    chosen = losses.get(loss) if isinstance(loss, str) else loss
    with torch.no_grad():
        runs, below = [], inputs
        for layer in layers:
            run = _run(kind, below, layer)
            runs.append(run)
            below = run.outputs
        flat = below.flatten(1, 2)
        outputs = flat @ kernel.transpose(1, 2)
        outputs = outputs if bias is None else outputs + bias.unsqueeze(1)
        each = chosen.value_and_gradient(outputs, targets.flatten(1))
        gradient = each.gradient @ kernel
    gradients = [gradient]
    for run, layer in zip(reversed(runs[1:]), reversed(layers[1:]), strict=True):
        gradients.append(_through(kind, run, layer, gradients[-1]))
    found = tuple(own.view(*inputs.shape[:3], -1) for own in reversed(gradients))
    vanishes = torch.stack([(own.norm(dim=3) < VANISHING).flatten(1).all(dim=1) for own in found])
    finite = torch.stack([torch.isfinite(own).flatten(1).all(dim=1) for own in found])
    flags = {"not finite": ~finite.all(dim=0), "gradient vanishes": vanishes.any(dim=0)}
    return StepGradients(tuple(run.outputs for run in runs), found, each.each.view(targets.shape), flags)


@dataclass(frozen=True)
class _Run:
    """Of one layer: what it read, its hidden states, and the states that every step started from, each
    (replica, batch, time, ...); cells are the LSTM's alone."""

    inputs: Tensor
    outputs: Tensor
    hidden: Tensor
    cells: Tensor | None


def _run(kind: str, inputs: Tensor, layer: Mapping[str, Tensor]) -> _Run:
    hidden = inputs.new_zeros(*inputs.shape[:2], layer["weight_hh"].shape[2])
    cell = torch.zeros_like(hidden) if kind == "lstm" else None
    outputs, before, cells = [], [], []
    for time in range(inputs.shape[2]):
        before.append(hidden)
        if cell is not None:
            cells.append(cell)
        step = _step(kind, inputs[:, :, time], layer, hidden, cell)
        hidden, cell = step.hidden, step.cell
        outputs.append(hidden)
    return _Run(
        inputs, torch.stack(outputs, dim=2), torch.stack(before, dim=2), torch.stack(cells, dim=2) if cells else None
    )


def _step(
    kind: str, inputs: Tensor, layer: Mapping[str, Tensor], hidden: Tensor, cell: Tensor | None
) -> recurrent.Sequence:
    biases = (layer.get("bias_ih"), layer.get("bias_hh"))
    one = inputs.unsqueeze(2)
    return recurrent.run_plainly(kind, one, layer["weight_ih"], layer["weight_hh"], *biases, hidden, cell)


def _through(kind: str, run: _Run, layer: Mapping[str, Tensor], gradient: Tensor) -> Tensor:
    """Gradient by what a layer read at the same step, from that by its hidden states; both (replica, step, ...)."""
    inputs = run.inputs.flatten(1, 2).detach().requires_grad_()
    cells = None if run.cells is None else run.cells.flatten(1, 2)
    with torch.enable_grad():
        hidden = _step(kind, inputs, layer, run.hidden.flatten(1, 2), cells).hidden
        (found,) = torch.autograd.grad(hidden, inputs, gradient)
    return found
