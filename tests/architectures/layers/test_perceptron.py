"""Dense layers with relus between them, taken together, against the same layers one after another."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from other_processor import shorter_vectors, x86_with_shorter_vectors
from torch import Tensor

from refute.algorithms import SGD
from refute.architectures import Network, Weights
from refute.architectures import network as architectures_network
from refute.architectures.layers import (
    Activation,
    Chain,
    Dense,
    Flatten,
    Layer,
    PerceptronStep,
    Renamed,
    combination,
    perceptron,
    perceptrons,
    whole,
)
from refute.architectures.layers.tiled_products import NEAR
from refute.errors import ShapeError
from refute.losses import CrossEntropy, Loss, Reconstruction

TOLERANCE = {torch.float64: 1e-11, torch.float32: 2e-5}
MOMENTUM, RATE, DECAY = 0.9, 0.1, 0.01

widths = st.lists(st.sampled_from([8, 16, 24, 40, 72, 136]), min_size=2, max_size=4)
kinds = st.sampled_from([torch.float64, torch.float32])


def net(sizes: list[int], outputs: int, *, bias: bool = True) -> Network:
    layers: list[Layer] = [Flatten()]
    for place, (reads, writes) in enumerate(zip(sizes, [*sizes[1:], outputs], strict=True)):
        layers += [Dense(f"dense{place}", reads, writes, bias=bias), Activation("relu")]
    return Network("perceptron", tuple(layers[:-1]), (sizes[0],), outputs)


def drawn(network: Network, replicas: int, dtype: torch.dtype) -> Weights:
    start = network.initialize(range(replicas))
    return Weights(start.slots, start.flat.to(dtype))


def inputs_of(network: Network, replicas: int, examples: int, dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(replicas, examples, *network.input_shape, dtype=dtype, generator=generator)


def bound(network: Network, weights: Weights, gradient: Tensor, *, together: bool, wanted: bool = False) -> Chain:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(combination, "PAYS", together)
        return Chain(network.layers, weights, Weights(weights.slots, gradient), wanted=wanted, spare=False)


def both_ways(
    network: Network,
    weights: Weights,
    inputs: Tensor,
    of_outputs: Tensor,
    *,
    together: bool,
    keep: float = 0,
    wanted: bool = False,
) -> list[Tensor]:
    """Outputs, gradients of the weights and, if wanted, of the inputs."""
    into = torch.full_like(weights.flat, torch.nan if keep == 0 else 2.0)
    chain = bound(network, weights, into, together=together, wanted=wanted)
    assert any(isinstance(step, PerceptronStep) for step in chain.steps) == together
    outputs = chain.forward(inputs).clone()
    passed = chain.backward(of_outputs.clone(), keep=keep)
    return [outputs, into] if passed is None else [outputs, into, passed]


def close(found: Tensor, expected: Tensor) -> bool:
    return torch.allclose(found, expected, rtol=0, atol=TOLERANCE[found.dtype] * (1 + float(expected.abs().max())))


@settings(max_examples=60, deadline=None)
@given(
    widths, st.integers(1, 13), st.integers(1, 3), st.integers(1, 41), st.booleans(), st.booleans(), kinds,
    st.sampled_from([0.0, 1.0, MOMENTUM]),
)  # fmt: skip
def test_the_loops_give_the_same_outputs_and_gradients(
    sizes: list[int],
    outputs: int,
    replicas: int,
    examples: int,
    bias: bool,
    wanted: bool,
    dtype: torch.dtype,
    keep: float,
) -> None:
    network = net(sizes, outputs, bias=bias)
    weights, inputs = drawn(network, replicas, dtype), inputs_of(network, replicas, examples, dtype)
    of_outputs = torch.randn(replicas, examples, outputs, dtype=dtype)
    ours, theirs = (
        both_ways(network, weights, inputs, of_outputs, together=way, keep=keep, wanted=wanted) for way in (True, False)
    )
    assert len(ours) == (3 if wanted else 2)
    assert all(close(found, expected) for found, expected in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("keep", [0.0, MOMENTUM])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_examples_have_a_gradient_of_zero(keep: float, dtype: torch.dtype) -> None:
    network = net([136, 136, 16], 3)
    weights, inputs = drawn(network, 2, dtype), inputs_of(network, 2, 0, dtype)
    found = both_ways(network, weights, inputs, inputs[..., :3], together=True, keep=keep, wanted=True)
    assert torch.equal(found[1], torch.full_like(weights.flat, keep * 2.0))
    assert found[0].shape == (2, 0, 3)
    assert found[2].shape == (2, 0, 136)


@pytest.mark.parametrize("keep", [0.0, MOMENTUM])
@pytest.mark.parametrize("sizes", [[136, 136], [72, 40]], ids=["packed", "as they are"])
def test_more_examples_than_stay_in_cache(sizes: list[int], keep: float) -> None:
    examples = 2 * NEAR // min(sizes) + 1
    network = net(sizes, 3)
    weights, inputs = drawn(network, 2, torch.float64), inputs_of(network, 2, examples, torch.float64)
    of_outputs = torch.randn(2, examples, 3, dtype=torch.float64)
    ours, theirs = (
        both_ways(network, weights, inputs, of_outputs, together=way, keep=keep, wanted=True) for way in (True, False)
    )
    assert all(close(found, expected) for found, expected in zip(ours, theirs, strict=True))


@settings(max_examples=60, deadline=None)
@given(
    widths, st.integers(2, 13), st.integers(1, 3), st.integers(1, 3), st.integers(1, 41), kinds, st.booleans(),
    st.booleans(), st.booleans(),
)  # fmt: skip
def test_whole_steps_are_what_their_parts_are(
    sizes: list[int],
    outputs: int,
    replicas: int,
    steps: int,
    examples: int,
    dtype: torch.dtype,
    moves: bool,
    decays: bool,
    reconstructs: bool,
) -> None:
    network = net(sizes, outputs)
    weights, inputs = drawn(network, replicas, dtype), inputs_of(network, replicas, steps * examples, dtype)
    loss: Loss = Reconstruction() if reconstructs else CrossEntropy()
    labels, values = torch.randint(outputs, inputs.shape[:2]), torch.randn(*inputs.shape[:2], outputs, dtype=dtype)
    targets = values if reconstructs else labels
    rate = RATE * torch.arange(1, replicas * steps + 1, dtype=torch.float32).view(replicas, steps) / steps
    decay = DECAY * torch.ones(replicas, 1) if decays else None
    keep = MOMENTUM if moves else 0.0
    velocity = torch.full_like(weights.flat, 0.5 if moves else torch.nan)

    def step_by_step(*, together: bool) -> list[Tensor]:
        own, into, found = weights.clone(), velocity.clone(), []
        chain = bound(network, own, into, together=together)
        for step in range(steps):
            part = slice(step * examples, (step + 1) * examples)
            each, of_outputs = loss.value_and_gradient(chain.forward(inputs[:, part]), targets[:, part])
            found.append(each.mean(dim=1, keepdim=True))
            if chain.perceptron:
                chain.perceptron.follow(of_outputs / examples, rate[:, step : step + 1], decay, keep=keep)
            else:
                chain.backward(of_outputs / examples, keep=keep)
                SGD(momentum=keep).follow(
                    own, into, rate[:, step : step + 1].to(dtype), None if decay is None else decay.to(dtype)
                )
        return [own.flat, into, torch.cat(found, dim=1)]

    own, into = weights.clone(), velocity.clone()
    perceptron_step = bound(network, own, into, together=True).perceptron
    assert perceptron_step is not None
    found = perceptron_step.descend(inputs, targets, rate, decay, keep=keep)
    expected = step_by_step(together=False)
    for several in ([own.flat, into, found], step_by_step(together=True)):
        assert all(close(ours, theirs) for ours, theirs in zip(several, expected, strict=True))


def evaluated(network: Network, weights: Weights, inputs: Tensor, *, together: bool) -> Tensor:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(architectures_network, "PAYS", together)
        return network.evaluate(weights, inputs)


@settings(max_examples=40, deadline=None)
@given(
    widths, st.integers(1, 19), st.integers(1, 3), st.sampled_from([1, 7, 120, 250]), st.booleans(), st.booleans(),
    kinds,
)  # fmt: skip
def test_evaluations_by_the_loops_are_the_same(
    sizes: list[int], outputs: int, replicas: int, examples: int, bias: bool, shared: bool, dtype: torch.dtype
) -> None:
    network = net(sizes, outputs, bias=bias)
    weights, inputs = drawn(network, replicas, dtype), inputs_of(network, replicas, examples, dtype)
    inputs = inputs[0] if shared else inputs
    assert whole(network.layers, weights)
    ours, theirs = (evaluated(network, weights, inputs, together=way) for way in (True, False))
    assert close(ours, theirs)
    last = weights.take(slice(replicas - 1, replicas))
    alone = evaluated(network, last, inputs if shared else inputs[-1:], together=True)
    assert torch.equal(alone[0], ours[-1])


def test_evaluations_of_inputs_that_lie_apart_or_are_no_numbers() -> None:
    network = net([8, 16], 3)
    weights, inputs = drawn(network, 2, torch.float32), inputs_of(network, 1, 40, torch.float32)[0]
    inputs[5] = torch.nan
    turned = inputs.t().contiguous().t()
    found = evaluated(network, weights, turned, together=True)
    assert torch.equal(found.isnan().all(dim=(0, 2)), inputs.isnan().all(dim=1))
    assert close(found.nan_to_num(), evaluated(network, weights, inputs, together=False).nan_to_num())
    assert evaluated(network, weights, inputs[:0], together=True).shape == (2, 0, 3)
    with pytest.raises(RuntimeError, match="dtype"):
        evaluated(network, weights, inputs.double(), together=True)  # torch's own words, as without the loops


@pytest.mark.parametrize(("takes", "shape"), [((5, 8), (7, 5, 8)), ((5, 8), (2, 7, 5, 8)), ((8,), (3, 7, 8))], ids=str)
def test_evaluations_of_other_inputs_are_refused(takes: tuple[int, ...], shape: tuple[int, ...]) -> None:
    network = Network("no flatten", (Dense("a", 8, 16), Activation("relu"), Dense("b", 16, 2)), takes, 2)
    weights = drawn(network, 2, torch.float32)
    with pytest.raises(ShapeError, match="8 numbers an example"):
        evaluated(network, weights, torch.zeros(shape), together=True)


def test_which_nets_are_evaluated_by_the_loops() -> None:
    relu, a, b = Activation("relu"), Dense("a", 8, 16), Dense("b", 16, 8)
    for layers, taken in (([Flatten(), a, relu, b], True), ([a, relu, b, relu], False), ([a], False)):
        network = Network("net", tuple(layers), (8,), 1)
        assert (whole(network.layers, drawn(network, 2, torch.float32)) is not None) is taken


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_packing_changes_no_bit(dtype: torch.dtype) -> None:
    network = net([24, 40, 16], 10)
    weights, inputs = drawn(network, 5, dtype), inputs_of(network, 5, 37, dtype)
    labels, rate = torch.randint(10, (5, 37)), torch.full((5, 1), RATE)

    def trained(replicas: slice, steps: int = 1) -> tuple[Tensor, Tensor]:
        own = weights.take(replicas).clone()
        step = bound(network, own, torch.zeros_like(own.flat), together=True).perceptron
        assert step is not None
        seen, wanted, rates = inputs[replicas].repeat(1, steps, 1), labels[replicas].repeat(1, steps), rate[replicas]
        for _ in range(0, 4, steps):
            losses = step.descend(seen, wanted, rates.repeat(1, steps), None, keep=MOMENTUM)
        return own.flat, losses[:, -1]

    for several in (2, 4):
        assert all(torch.equal(*pair) for pair in zip(trained(slice(0, 5)), trained(slice(0, 5), several), strict=True))
    together, losses = trained(slice(0, 5))
    for r in range(5):
        alone, loss = trained(slice(r, r + 1))
        assert torch.equal(alone[0], together[r])
        assert torch.equal(loss[0], losses[r])


def test_what_is_not_a_number_stays_so() -> None:
    network = net([8, 16], 3)
    weights, inputs = drawn(network, 2, torch.float32), inputs_of(network, 2, 5, torch.float32)
    inputs[0, 2] = torch.nan
    step = bound(network, weights, torch.zeros_like(weights.flat), together=True).perceptron
    assert step is not None
    losses = step.descend(inputs, torch.zeros(2, 5, dtype=torch.int64), torch.ones(2, 1), None, keep=0)
    assert losses.isfinite().flatten().tolist() == [False, True]
    assert weights.finite().tolist() == [False, True]


@pytest.mark.parametrize(
    "inputs", [torch.zeros(2, 5, 9), torch.zeros(3, 5, 8), torch.zeros(2, 5, 8, dtype=torch.float64)]
)
def test_inputs_of_another_kind_are_refused(inputs: Tensor) -> None:
    network = net([8, 16], 3)
    weights = drawn(network, 2, torch.float32)
    step = bound(network, weights, torch.zeros_like(weights.flat), together=True).perceptron
    assert step is not None
    with pytest.raises(ShapeError, match=r"for \(2, example, 8\) torch.float32"):
        step.forward(inputs)
    with pytest.raises(ShapeError, match=r"for \(2, example, 8\) torch.float32"):
        step.descend(inputs, torch.zeros(2, 5, dtype=torch.int64), torch.ones(2, 1), None, keep=0)
    with pytest.raises(ShapeError, match=r"for \(2, example, 3\) torch.float32"):
        step.descend(torch.zeros(2, 5, 8), inputs, torch.ones(2, 1), None, keep=0)


def kinds_of(layers: list[Layer], *, dtype: torch.dtype = torch.float32) -> list[str]:
    network = Network("net", tuple(layers), (8,), 1)
    weights = drawn(network, 2, dtype)
    return [type(layer).__name__ for layer in perceptrons(layers, weights)]


def test_which_layers_are_taken_together() -> None:
    relu, tanh = Activation("relu"), Activation("tanh")
    a, b, c = Dense("a", 8, 16), Dense("b", 16, 8), Dense("c", 8, 3)
    assert kinds_of([a, relu, b, relu, c]) == ["Perceptron"]
    assert kinds_of([Flatten(), a, relu, b, tanh, c]) == ["Flatten", "Perceptron", "Activation", "Dense"]
    assert kinds_of([a, tanh, b]) == ["Dense", "Activation", "Dense"]
    assert kinds_of([a, relu]) == ["Dense", "Activation"]
    assert kinds_of([a, b]) == ["Dense", "Dense"]
    assert kinds_of([Dense("a", 8, 12), relu, Dense("b", 12, 8)]) == [
        "Dense",
        "Activation",
        "Dense",
    ]  # no multiple of 8
    assert kinds_of([Dense("a", 7, 8), relu, b]) == ["Dense", "Activation", "Dense"]
    renamed = Renamed(b, (("b.weight", "other.w"), ("b.bias", "other.b")))
    assert kinds_of([a, relu, renamed]) == ["Perceptron"]
    large = perceptron.LARGE // 8
    assert kinds_of([Dense("a", 8, large), relu, Dense("b", large, 3)]) == ["Perceptron"]
    assert kinds_of([Dense("a", 8, large + 8), relu, Dense("b", large + 8, 3)]) == ["Dense", "Activation", "Dense"]
    assert kinds_of([a, relu, b], dtype=torch.bfloat16) == ["Dense", "Activation", "Dense"]


def test_tensors_that_lie_apart_are_not_taken_together() -> None:
    tensors = {"a.weight": torch.zeros(1, 8, 8), "b.weight": torch.zeros(1, 2, 8)}
    layers = [Dense("a", 8, 8, bias=False), Activation("relu"), Dense("b", 8, 2, bias=False)]
    assert len(perceptrons(layers, tensors)) == 3


OTHER_PROCESSOR = """
import torch
import test_perceptron as tests
network = tests.net([24, 40, 16], 10)
for examples in (5, 32):
    given = tests.drawn(network, 2, torch.float32), tests.inputs_of(network, 2, examples, torch.float32)
    of_outputs = torch.randn(2, examples, 10)
    ours, theirs = (tests.both_ways(network, *given, of_outputs, together=way) for way in (True, False))
    assert all(tests.close(found, wanted) for found, wanted in zip(ours, theirs, strict=True))
    ours, theirs = (tests.evaluated(network, *given, together=way) for way in (True, False))
    assert tests.close(ours, theirs)
"""


@x86_with_shorter_vectors
def test_processors_with_shorter_vectors(tmp_path: Path, name: str, features: list[str], width: int) -> None:
    assert shorter_vectors(OTHER_PROCESSOR, Path(__file__).parent, tmp_path, name, features) == width
