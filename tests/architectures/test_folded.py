"""Random architectures: folded, looped and a plain module trained alone give the same numbers."""

from collections.abc import Mapping
from dataclasses import dataclass

import pytest
import torch
from drawn import Mean, OverChannels, Part, Positions, Recurrent, Residual, SelfAttention, part, wrapped
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from refute.architectures import noise
from refute.architectures.folded import Folded
from refute.architectures.looped import Looped, MakeModule, draw, made
from refute.architectures.modules import as_layer
from refute.randomness import stream

BATCH, STEPS, CLASSES, TOKENS = 6, 3, 3, 7
RATE = 0.05
SEEDS = (3, 11)

TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-3}
"""In float32 rounding is what differs: three steps amplify it where a batch of 6 has a small variance."""


class Cells(nn.Module):
    """A recurrent cell, stepped by the user's own loop."""

    def __init__(self, kind: type[nn.RNNCellBase], inputs: int, width: int) -> None:
        super().__init__()
        self.cell = kind(inputs, width)  # type: ignore[call-arg]

    def forward(self, x: Tensor) -> Tensor:
        state, outputs = None, []
        for now in x.unbind(1):
            state = self.cell(now, state)
            outputs.append(state[0] if isinstance(state, tuple) else state)
        return torch.stack(outputs, dim=1)


class TimeFirst(nn.Module):
    """A layer that wants (time, batch, channel), torch's default for sequences."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.transpose(0, 1)).transpose(0, 1)


class Tied(nn.Module):
    """Tokens in, their own embedding as the last layer's weight."""

    def __init__(self, width: int, *body: nn.Module) -> None:
        super().__init__()
        self.embedding = nn.Embedding(TOKENS, width)
        self.body = nn.Sequential(*body)
        self.head = nn.Linear(width, TOKENS, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.embedding(x)).mean(1))


@dataclass(frozen=True)
class Architecture:
    description: str
    make: MakeModule
    input_shape: tuple[int, ...]
    tokens: bool = False

    def __repr__(self) -> str:
        return self.description


PROBABILITY = st.sampled_from((0.0, 0.3))
ACTIVATION: st.SearchStrategy[type[nn.Module]] = st.sampled_from((nn.Tanh, nn.GELU, nn.SiLU, nn.Softplus, nn.Sigmoid))


NORMS = ("LayerNorm", "RMSNorm", "GroupNorm", "TransformerEncoderLayer")


def conditioned(choices: tuple[tuple[Part, int], ...], width: int) -> list[tuple[Part, int]]:
    """Without norms over two numbers: what they leave is a sign, and its derivative is rounding alone."""
    return [one for one in choices if width > 2 or not any(norm in one[0][0] for norm in NORMS)]


@st.composite
def vectors(draw: st.DrawFn, width: int) -> tuple[Part, int]:
    to = draw(st.integers(2, 5))
    choice = draw(
        st.sampled_from(
            conditioned(
                (
                    (part(nn.Linear, width, to, bias=draw(st.booleans())), to),
                    (part(nn.BatchNorm1d, width, affine=draw(st.booleans()), momentum=0.2), width),
                    (part(nn.BatchNorm1d, width, track_running_stats=False), width),
                    (part(nn.LayerNorm, width, elementwise_affine=draw(st.booleans())), width),
                    (part(nn.RMSNorm, width), width),
                    (part(nn.GroupNorm, 1, width), width),
                    (part(nn.PReLU), width),
                    (part(draw(ACTIVATION)), width),
                    (part(nn.Dropout, draw(PROBABILITY)), width),
                    (wrapped(Residual, part(nn.Linear, width, width), part(nn.Tanh)), width),
                ),
                width,
            )
        )
    )
    return choice


@st.composite
def sequences(draw: st.DrawFn, width: int) -> tuple[Part, int]:
    """On (time, width); the width stays even."""
    to = draw(st.sampled_from((2, 4)))
    both = draw(st.booleans())
    kind = draw(st.sampled_from((nn.LSTM, nn.GRU, nn.RNN)))
    options = {
        "num_layers": draw(st.integers(1, 2)),
        "bias": draw(st.booleans()),
        "bidirectional": both,
        "time_first": draw(st.booleans()),
    }
    options["dropout"] = draw(PROBABILITY) if options["num_layers"] == 2 else 0.0
    attention = {"causal": draw(st.booleans()), "weighted": draw(st.booleans()), "dropout": draw(PROBABILITY)}
    encoder = {"dropout": draw(PROBABILITY), "batch_first": True, "norm_first": draw(st.booleans())}
    return draw(
        st.sampled_from(
            conditioned(
                (
                    (part(nn.Linear, width, to), to),
                    (part(nn.LayerNorm, width), width),
                    (part(draw(ACTIVATION)), width),
                    (part(nn.Dropout, draw(PROBABILITY)), width),
                    (part(Recurrent, kind, width, to, **options), 2 * to if both else to),
                    (part(Cells, draw(st.sampled_from((nn.LSTMCell, nn.GRUCell, nn.RNNCell))), width, to), to),
                    (part(SelfAttention, width, 2, bias=draw(st.booleans()), **attention), width),
                    (part(nn.TransformerEncoderLayer, width, 2, 5, **encoder), width),
                    (wrapped(TimeFirst, part(nn.TransformerEncoderLayer, width, 2, 5, draw(PROBABILITY))), width),
                    (wrapped(TimeFirst, part(nn.Linear, width, to)), to),
                    (wrapped(OverChannels, part(nn.BatchNorm1d, width)), width),
                    (wrapped(OverChannels, part(nn.Conv1d, width, to, 3, padding=1)), to),
                    (wrapped(OverChannels, part(nn.Dropout1d, draw(PROBABILITY))), width),
                    (part(Positions, 4, width), width),
                ),
                width,
            )
        )
    )


@st.composite
def images(draw: st.DrawFn, width: int) -> tuple[Part, int]:
    to = draw(st.sampled_from((2, 4)))
    return draw(
        st.sampled_from(
            (
                (part(nn.Conv2d, width, to, 3, padding=1, bias=draw(st.booleans())), to),
                (part(nn.Conv2d, width, 2 * width, 2, stride=2, groups=width), 2 * width),
                (part(nn.ConvTranspose2d, width, to, 2, stride=2), to),
                (part(nn.BatchNorm2d, width, affine=draw(st.booleans())), width),
                (part(nn.GroupNorm, 1, width), width),
                (part(nn.AvgPool2d, 2, ceil_mode=True), width),
                (part(nn.MaxPool2d, 2, ceil_mode=True), width),
                (part(draw(ACTIVATION)), width),
                (part(nn.Dropout2d, draw(PROBABILITY)), width),
                (wrapped(Residual, part(nn.Conv2d, width, width, 3, padding=1), part(nn.BatchNorm2d, width)), width),
            )
        )
    )


@st.composite
def architectures(draw: st.DrawFn) -> Architecture:
    kind = draw(st.sampled_from(("vector", "sequence", "image", "tokens", "tied")))
    parts: list[Part] = []
    width = {"vector": 4, "sequence": 4, "image": 2, "tokens": 4, "tied": 4}[kind]
    if kind == "tokens":
        parts.append(part(nn.Embedding, TOKENS, width, padding_idx=draw(st.sampled_from((None, 0)))))
    if kind != "vector":
        strategy = images if kind == "image" else sequences
        for _ in range(draw(st.integers(1, 3))):
            found, width = draw(strategy(width))
            parts.append(found)
        if kind == "tied":
            parts.append(part(nn.Linear, width, 4))
        elif kind == "image":
            parts += [part(nn.AdaptiveAvgPool2d, draw(st.integers(1, 2))), part(nn.Flatten)]
            width *= int(parts[-2][0][-3]) ** 2
        else:
            parts.append(part(Mean))
    if kind != "tied":
        for _ in range(draw(st.integers(0, 3))):
            found, width = draw(vectors(width))
            parts.append(found)
        parts.append(part(nn.Linear, width, CLASSES))
    description = f"{kind}: {', '.join(text for text, _ in parts)}"
    shape = {"vector": (4,), "sequence": (4, 4), "image": (2, 5, 5), "tokens": (4,), "tied": (4,)}[kind]

    def make() -> nn.Module:
        modules = [make_part() for _, make_part in parts]
        return Tied(4, *modules) if kind == "tied" else nn.Sequential(*modules)

    return Architecture(description, make, shape, tokens=kind in ("tokens", "tied"))


def batches(architecture: Architecture, dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
    """Inputs (replica, batch, ...) and labels (replica, batch) of every step."""
    generator = stream(0, "batches")
    shape = (len(SEEDS), BATCH, *architecture.input_shape)
    found = []
    for _ in range(STEPS):
        tokens = torch.randint(0, TOKENS, shape, generator=generator)
        inputs = tokens if architecture.tokens else torch.randn(shape, generator=generator, dtype=torch.float64)
        labels = torch.randint(0, CLASSES, shape[:2], generator=generator)
        found.append((inputs if architecture.tokens else inputs.to(dtype), labels))
    return found


def stacked(make: MakeModule, layer: Folded | Looped, dtype: torch.dtype) -> dict[str, Tensor]:
    drawn = [draw(make, seed) for seed in SEEDS]
    tensors = {slot.name: torch.stack([each[slot.name] for each in drawn]) for slot in layer.slots()}
    return {name: t.to(dtype) if t.is_floating_point() else t for name, t in tensors.items()}


def trained(
    layer: Folded | Looped, weights: dict[str, Tensor], steps: list[tuple[Tensor, Tensor]]
) -> dict[str, Tensor]:
    """The cohort's tensors after plain gradient descent, and its outputs in evaluation."""
    gradients = {slot.name: torch.zeros_like(weights[slot.name]) for slot in layer.slots() if not slot.buffer}
    bound = layer.bind(weights, gradients, wanted=False, spare=False)
    for inputs, labels in steps:
        outputs = bound.forward(inputs).detach().requires_grad_()
        loss = nn.functional.cross_entropy(outputs.flatten(0, 1), labels.flatten(), reduction="sum") / BATCH
        bound.backward(torch.autograd.grad(loss, outputs)[0], keep=0)
        for name, gradient in gradients.items():
            weights[name].sub_(RATE * gradient)
    with torch.no_grad():
        return {**weights, "outputs": layer.apply(steps[0][0], weights, False)}


def trained_alone(
    make: MakeModule, replica: int, steps: list[tuple[Tensor, Tensor]], dtype: torch.dtype
) -> dict[str, Tensor]:
    module = made(make, SEEDS[replica]).to(dtype)
    optimizer = torch.optim.SGD(module.parameters(), lr=RATE)
    own_noise = int(noise.state(SEEDS[replica])[0])
    for step, (inputs, labels) in enumerate(steps):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream(own_noise, f"pass-{step}").initial_seed())
            loss = nn.functional.cross_entropy(module(inputs[replica]), labels[replica])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return {**module.state_dict(), "outputs": module.eval()(steps[0][0][replica])}


def assert_same(found: Tensor, expected: Tensor, name: str) -> None:
    assert found.dtype == expected.dtype, name
    if not found.is_floating_point():
        assert torch.equal(found, expected), name
        return
    tolerance = TOLERANCE[found.dtype]
    assert torch.allclose(found, expected, atol=tolerance, rtol=tolerance), name


def check(architecture: Architecture, dtype: torch.dtype) -> None:
    make, steps = architecture.make, batches(architecture, dtype)
    folded = as_layer(make, architecture.input_shape)
    assert isinstance(folded, Folded), folded.why
    looped = as_layer(make, architecture.input_shape, fold=False)
    assert isinstance(looped, Looped)
    results: list[Mapping[str, Tensor]] = [
        trained(layer, stacked(make, layer, dtype), steps) for layer in (folded, looped)
    ]
    for replica in range(len(SEEDS)):
        alone = trained_alone(make, replica, steps, dtype)
        for result in results:
            for name, tensor in result.items():
                if name != noise.STATE:
                    assert_same(tensor[replica], alone[name], name)


THOROUGH = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.filterwarnings("ignore:dropout1d. Received:UserWarning", "ignore:enable_nested_tensor:UserWarning")
@given(architectures())
@THOROUGH
def test_folded_looped_and_plain_modules_are_the_same(architecture: Architecture) -> None:
    check(architecture, torch.float64)


@given(architectures())
@settings(THOROUGH, max_examples=25)
def test_they_are_the_same_up_to_rounding_in_single_precision(architecture: Architecture) -> None:
    check(architecture, torch.float32)
