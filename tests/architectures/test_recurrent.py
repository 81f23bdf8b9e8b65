"""Recurrent layers: their hand-written derivatives, and torch's own nets as a reference."""

import pytest
import torch
from torch import Tensor, nn

from refute.architectures import recurrent

GATES = {"lstm": 4, "gru": 3, "rnn-tanh": 1, "rnn-relu": 1}
REPLICAS, BATCH, TIME, INPUTS, WIDTH = 2, 3, 4, 2, 3


def tensors(kind: str, *, dtype: torch.dtype = torch.float64, width: int = WIDTH, batch: int = BATCH) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    rows = GATES[kind] * width
    states = [(REPLICAS, batch, width)] * (2 if kind == "lstm" else 1)
    shapes = [(REPLICAS, batch, TIME, INPUTS), (REPLICAS, rows, INPUTS), (REPLICAS, rows, width)]
    shapes += [(REPLICAS, rows)] * 2 + states
    return [torch.randn(s, generator=generator, dtype=torch.float64).to(dtype).requires_grad_() for s in shapes]


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


@pytest.mark.parametrize(("width", "batch"), [(3, 3), (64, 64)])
@pytest.mark.parametrize("backwards", [False, True])
def test_single_precision_lstms_are_those_of_torch(width: int, batch: int, backwards: bool) -> None:
    """Small ones of all replicas at once, large ones by oneDNN."""
    given = tensors("lstm", dtype=torch.float32, width=width, batch=batch)
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
