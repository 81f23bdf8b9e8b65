"""Gradients by hidden states of a step against PyTorch's own cells, one time step after the other."""

import itertools
from collections.abc import Mapping

import pytest
import torch
from torch import nn

from refute.errors import ShapeError, UsageError
from refute.instruments.recurrent_gradients import step_gradients

CELLS = {
    "lstm": nn.LSTMCell,
    "gru": nn.GRUCell,
    "rnn-tanh": nn.RNNCell,
    "rnn-relu": lambda i, h: nn.RNNCell(i, h, nonlinearity="relu"),
}


def layers_of(kind: str, sizes: tuple[int, ...], replicas: int) -> list[list[nn.Module]]:
    """Cells of each replica, (replica, layer)."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return [[CELLS[kind](a, b).double() for a, b in itertools.pairwise(sizes)] for _ in range(replicas)]


def stacked(cells: list[list[nn.Module]]) -> list[Mapping[str, torch.Tensor]]:
    depth = len(cells[0])
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return [
        {name: torch.stack([getattr(own[layer], name).detach() for own in cells]) for name in names}
        for layer in range(depth)
    ]


@pytest.mark.parametrize("kind", list(CELLS))
@pytest.mark.parametrize("sizes", [(3, 4), (3, 4, 5), (3, 4, 4, 5)])
def test_every_layer_and_step_against_cells_with_states_held_fixed(kind: str, sizes: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(1)
    replicas, batch, times, classes = 2, 3, 4, 6
    cells = layers_of(kind, sizes, replicas)
    words = torch.randn(replicas, batch, times, 3, generator=generator, dtype=torch.float64)
    kernel = torch.randn(replicas, classes, sizes[-1], generator=generator, dtype=torch.float64)
    bias = torch.randn(replicas, classes, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, classes, (replicas, batch, times), generator=generator)
    found = step_gradients(kind, words, stacked(cells), kernel, bias, targets)
    for replica in range(replicas):
        states: list[object] = [None] * len(cells[0])
        for time in range(times):
            below, hidden = words[replica, :, time], []
            for layer, cell in enumerate(cells[replica]):
                state = cell(below, states[layer])
                below = state[0] if kind == "lstm" else state
                hidden.append(below)
                states[layer] = tuple(part.detach() for part in state) if kind == "lstm" else state.detach()
            outputs = below @ kernel[replica].T + bias[replica]
            each = nn.functional.cross_entropy(outputs, targets[replica, :, time], reduction="none")
            expected = torch.autograd.grad(each.sum(), hidden)
            assert torch.allclose(found.losses[replica, :, time], each.detach(), atol=1e-12)
            for layer in range(len(hidden)):
                assert torch.allclose(found.states[layer][replica, :, time], hidden[layer].detach(), atol=1e-12)
                assert torch.allclose(found.gradients[layer][replica, :, time], expected[layer], atol=1e-12)
    assert not any(flag.any() for flag in found.flags.values())


def test_the_top_layer_in_closed_form_and_without_bias() -> None:
    cells = layers_of("gru", (3, 4), 1)
    words = torch.randn(1, 2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    kernel, targets = torch.ones(1, 6, 4, dtype=torch.float64).cumsum(dim=1), torch.ones(1, 2, 5, dtype=torch.int64)
    found = step_gradients("gru", words, stacked(cells), kernel, None, targets)
    shares = torch.softmax(found.states[0] @ kernel[0].T, dim=-1)
    shares[..., 1] -= 1
    assert torch.allclose(found.gradients[0], shares @ kernel[0], atol=1e-13)


def test_a_readout_of_zero_is_flagged() -> None:
    cells = layers_of("lstm", (3, 4), 1)
    words, targets = torch.ones(1, 2, 5, 3, dtype=torch.float64), torch.ones(1, 2, 5, dtype=torch.int64)
    kernel = torch.zeros(1, 6, 4, dtype=torch.float64)
    assert step_gradients("lstm", words, stacked(cells), kernel, None, targets).flags["gradient vanishes"].all()


def test_refusals_name_what_is_wrong() -> None:
    words, targets = torch.ones(1, 2, 5, 3), torch.ones(1, 2, 5, dtype=torch.int64)
    kernel = torch.ones(1, 6, 4)
    with pytest.raises(UsageError, match="kind must be one of"):
        step_gradients("qrnn", words, [{}], kernel, None, targets)
    with pytest.raises(UsageError, match="at least one recurrent layer"):
        step_gradients("lstm", words, [], kernel, None, targets)
    with pytest.raises(ShapeError, match="inputs must be"):
        step_gradients("lstm", words[0], [{}], kernel, None, targets)
    with pytest.raises(ShapeError, match="inputs must be finite"):
        step_gradients("lstm", words / 0, [{}], kernel, None, targets)
