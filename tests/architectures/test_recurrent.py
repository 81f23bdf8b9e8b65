"""Recurrent layers: their hand-written derivatives, and torch's own nets as a reference."""

import pytest
import torch
from torch import Tensor, nn

from refute.architectures import recurrent

GATES = {"lstm": 4, "gru": 3, "rnn-tanh": 1, "rnn-relu": 1}
REPLICAS, BATCH, TIME, INPUTS, WIDTH = 2, 3, 4, 2, 3


def tensors(
    kind: str, *, dtype: torch.dtype = torch.float64, width: int = WIDTH, batch: int = BATCH, scale: float = 1
) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    rows = GATES[kind] * width
    states = [(REPLICAS, batch, width)] * (2 if kind == "lstm" else 1)
    shapes = [(REPLICAS, batch, TIME, INPUTS), (REPLICAS, rows, INPUTS), (REPLICAS, rows, width)]
    shapes += [(REPLICAS, rows)] * 2 + states
    found = [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]
    for weight in found[1:3]:
        weight.mul_(scale)
    return [tensor.to(dtype).requires_grad_() for tensor in found]


def results(found: recurrent.Sequence) -> tuple[Tensor, ...]:
    return tuple(tensor for tensor in found if tensor is not None)


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("kind", GATES)
def test_derivatives_are_those_of_the_formulas(kind: str, backwards: bool) -> None:
    given = tensors(kind)

    def run(*own: Tensor) -> tuple[Tensor, ...]:
        return results(recurrent.run(kind, *own, backwards=backwards))

    plain = results(recurrent.run_plainly(kind, *given, backwards=backwards))
    for found, expected in zip(run(*given), plain, strict=True):
        assert torch.allclose(found, expected, atol=1e-12)
    assert torch.autograd.gradcheck(run, given)
    assert torch.autograd.gradgradcheck(run, given)


@pytest.mark.parametrize("loops", [False, True])
@pytest.mark.parametrize(("width", "batch"), [(3, 3), (8, 1), (24, 7), (64, 64)])
@pytest.mark.parametrize("backwards", [False, True])
def test_single_precision_lstms_are_those_of_torch(
    width: int, batch: int, backwards: bool, loops: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By compiled loops, or small ones of all replicas at once and large ones by oneDNN."""
    monkeypatch.setattr(recurrent, "PAYS", loops)
    scale = min(1, 3 / width) if loops else 1  # wide nets are chaotic, and the loops' tanh is a little less exact
    given = tensors("lstm", dtype=torch.float32, width=width, batch=batch, scale=scale)
    found = recurrent.run("lstm", *given, backwards=backwards)
    gradients = torch.autograd.grad(found.outputs.square().mean(), given, allow_unused=True)
    for replica in range(REPLICAS):
        inputs, *weights, hidden, cell = (t[replica].detach().clone().requires_grad_() for t in given)
        seen = inputs.flip(1) if backwards else inputs
        outputs, last, kept = torch.lstm(seen, [hidden[None], cell[None]], weights, True, 1, 0.0, True, False, True)
        outputs = outputs.flip(1) if backwards else outputs
        loss = (outputs.square().sum()) / found.outputs.numel()
        own = torch.autograd.grad(loss, [inputs, *weights, hidden, cell])
        assert torch.allclose(found.outputs[replica], outputs, atol=1e-5)
        assert torch.allclose(found.hidden[replica], last[0], atol=1e-5)
        assert found.cell is not None
        assert torch.allclose(found.cell[replica], kept[0], atol=1e-5)
        for ours, theirs in zip(gradients, own, strict=True):
            assert torch.allclose(ours[replica], theirs, atol=1e-5)


def test_groups_of_replicas_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    given = tensors("gru")
    together = recurrent.run("gru", *given)
    monkeypatch.setattr(recurrent, "STEP", 1)
    apart = recurrent.run("gru", *given)
    assert torch.allclose(together.outputs, apart.outputs, atol=1e-12)
    module = nn.GRU(INPUTS, WIDTH, batch_first=True).double()
    for name, tensor in zip(("weight_ih", "weight_hh", "bias_ih", "bias_hh"), given[1:5], strict=True):
        getattr(module, f"{name}_l0").data.copy_(tensor[0])
    assert torch.allclose(module(given[0][0], given[5][:1])[0], apart.outputs[0], atol=1e-12)


def test_an_lstm_by_loops_has_the_same_bits_alone_and_among_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recurrent, "PAYS", True)
    given = tensors("lstm", dtype=torch.float32, width=16, batch=5)
    together = recurrent.run("lstm", *given)
    gradients = torch.autograd.grad(together.outputs.square().sum(), given)
    for replica in range(REPLICAS):
        own = [t[replica : replica + 1].detach().requires_grad_() for t in given]
        alone = recurrent.run("lstm", *own)
        assert torch.equal(alone.outputs[0], together.outputs[replica])
        for found, expected in zip(torch.autograd.grad(alone.outputs.square().sum(), own), gradients, strict=True):
            assert torch.equal(found[0], expected[replica])


def test_an_lstm_by_loops_keeps_nothing_in_an_evaluation_and_differentiates_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recurrent, "PAYS", True)
    given = tensors("lstm", dtype=torch.float32, width=8)
    found = recurrent.run("lstm", *given)
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(recurrent.run("lstm", *given), found, strict=True))
    outputs = [found, recurrent.run_plainly("lstm", *given)]
    curvatures = []
    for each in outputs:
        assert each.cell is not None
        loss = each.outputs.square().sum() + each.hidden.sum() + each.cell.square().sum()
        slope = torch.autograd.grad(loss, given, create_graph=True)
        curvatures.append(torch.autograd.grad(sum(s.square().sum() for s in slope), given))
    for ours, theirs in zip(*curvatures, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_lstm_by_loops_passes_on_what_is_not_a_number(value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recurrent, "PAYS", True)
    given = [tensor.detach() for tensor in tensors("lstm", dtype=torch.float32, width=8)]
    given[0][1, 0, 2, 0] = value
    found, plain = recurrent.run("lstm", *given), recurrent.run_plainly("lstm", *given)
    assert torch.equal(found.outputs.isnan(), plain.outputs.isnan())
    assert torch.allclose(found.outputs, plain.outputs, atol=1e-5, equal_nan=True)
