"""Networks: shapes, initialization laws, agreement with plain modules, and packing that changes nothing."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from refute import architectures
from refute.architectures import Network, Weights, estimate_statistics
from refute.architectures.initialization import LAWS, draw, fans
from refute.architectures.layers import Activation, BatchNorm, Convolution, Dense, Flatten, GlobalAveragePool, MaxPool
from refute.architectures.network import shares
from refute.errors import ShapeError, UnknownNameError, UsageError
from refute.randomness import stream

IMAGES = (1, 8, 8)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mlp", {}),
        ("mlp", {"normalization": "batch-affine-free", "bias": False, "activation": "tanh"}),
        ("linear", {"depth": 3}),
        ("residual-mlp", {"normalization": "batch"}),
        ("vgg", {"normalization": "batch", "dense": 16}),
        ("resnet", {}),
        ("resnet", {"normalization": "none"}),
    ],
)
def test_every_family_maps_images_to_outputs(name: str, options: dict[str, object]) -> None:
    network = architectures.build(name, IMAGES, 10, **options)
    weights = network.initialize([1, 2, 3])
    outputs = network.evaluate(weights, torch.rand(5, *IMAGES))
    assert outputs.shape == (3, 5, 10)
    assert torch.isfinite(outputs).all()
    assert weights.flat.shape == (3, network.parameters())
    assert set(weights) == {slot.name for slot in network.slots}
    assert [name for names in network.units.values() for name in names] == [slot.name for slot in network.slots]


@pytest.mark.parametrize(("family", "variant"), [("vgg", "11"), ("vgg", "16"), ("resnet", "18")])
def test_standard_nets_have_their_published_size(family: str, variant: str) -> None:
    """Parameters for 32x32x3 images and 10 classes, as in the usual implementations (dense output only)."""
    published = {("vgg", "11"): 9_231_114, ("vgg", "16"): 14_728_266, ("resnet", "18"): 11_173_962}
    network = architectures.build(family, (3, 32, 32), 10, variant=variant, normalization="batch")
    assert network.parameters() == published[family, variant]


def test_unknown_names_and_options_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'vgg'"):
        architectures.build("vg", IMAGES, 10)
    with pytest.raises(UsageError, match="depht"):
        architectures.build("mlp", IMAGES, 10, depht=3)
    with pytest.raises(UsageError, match="don't flatten"):
        architectures.build("vgg", (64,), 10)
    with pytest.raises(UnknownNameError, match="did you mean 'he-normal'"):
        architectures.build("mlp", IMAGES, 10, law="he_normal").initialize([1])
    network = architectures.build("mlp", IMAGES, 10)
    weights = network.initialize([1])
    with pytest.raises(ShapeError, match=r"\(example, 1, 8, 8\)"):
        network.evaluate(weights, torch.rand(5, 64))


@pytest.mark.parametrize("law", sorted(LAWS))
def test_laws_have_their_variance(law: str) -> None:
    shape = (300, 200)
    fan_in, fan_out = fans(shape)
    expected = {
        "he": 2 / fan_in, "glorot": 2 / (fan_in + fan_out), "lecun": 1 / fan_in, "orthogonal": 1 / max(shape),
        "torch": 1 / (3 * fan_in),
    }[law.split("-")[0]]  # fmt: skip
    drawn = draw(law, shape, stream(0, law))
    assert drawn.var().item() == pytest.approx(expected, rel=0.03)
    if law == "orthogonal":
        assert torch.allclose(drawn.T @ drawn, torch.eye(200), atol=1e-5)


def test_each_replica_has_its_own_stream() -> None:
    network = architectures.build("mlp", IMAGES, 10, width=8)
    together, alone = network.initialize([5, 6, 7]), network.initialize([6])
    assert torch.equal(together.flat[1], alone.flat[0])
    assert not torch.equal(together.flat[0], together.flat[1])
    assert not torch.equal(alone.flat, network.initialize([6], purpose="fresh-0").flat)


def test_no_seeds_are_refused() -> None:
    with pytest.raises(UsageError, match="no seeds came"):
        architectures.build("mlp", (8,), 2, depth=1, width=8).initialize([])


def test_weights_share_memory_and_copies_do_not() -> None:
    network = architectures.build("mlp", IMAGES, 10, depth=1, width=4)
    weights = network.initialize([1, 2])
    copy = weights.clone()
    weights["dense1.weight"][1] = 0
    assert (weights.flat[1] == 0).sum() >= 64 * 4
    assert not torch.equal(copy.flat, weights.flat)
    mixed = copy.replaced(network.units["dense1"], weights)
    assert torch.equal(mixed["dense1.weight"], weights["dense1.weight"])
    assert torch.equal(mixed["output.weight"], copy["output.weight"])


dense_widths = st.lists(st.integers(1, 9), min_size=0, max_size=3)


@settings(max_examples=25, deadline=None)
@given(
    widths=dense_widths,
    channels=st.lists(st.integers(1, 4), min_size=0, max_size=2),
    normalized=st.booleans(),
    activation=st.sampled_from(["relu", "tanh"]),
    pool=st.sampled_from(["flatten", "average"]),
    replicas=st.integers(1, 3),
    seed=st.integers(0, 2**32),
)
def test_random_chains_equal_plain_modules(
    widths: list[int], channels: list[int], normalized: bool, activation: str, pool: str, replicas: int, seed: int
) -> None:
    """A drawn chain of layers, in float64: all replicas at once equal each plain nn.Sequential to 1e-9."""
    ours: list[object] = []
    theirs: list[list[nn.Module]] = [[] for _ in range(replicas)]
    act = {"relu": nn.ReLU, "tanh": nn.Tanh}[activation]
    size, depth = 1, 8
    for index, out in enumerate(channels):
        ours += [Convolution(f"c{index}", size, out), *([BatchNorm(f"c{index}", out)] if normalized else [])]
        ours += [Activation(activation), MaxPool(2)]
        for modules in theirs:
            modules += [nn.Conv2d(size, out, 3, padding=1), *([nn.BatchNorm2d(out)] if normalized else []), act()]
            modules += [nn.MaxPool2d(2, ceil_mode=True)]
        size, depth = out, math.ceil(depth / 2)
    features = size * depth * depth if pool == "flatten" else size
    ours.append(Flatten() if pool == "flatten" else GlobalAveragePool())
    for modules in theirs:
        modules += [nn.Flatten()] if pool == "flatten" else [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    for index, out in enumerate([*widths, 3]):
        ours += [Dense(f"d{index}", features, out), *([BatchNorm(f"d{index}", out)] if normalized else [])]
        ours += [Activation(activation)]
        for modules in theirs:
            modules += [nn.Linear(features, out), *([nn.BatchNorm1d(out)] if normalized else []), act()]
        features = out
    network = Network("drawn", tuple(ours), IMAGES, 3)  # type: ignore[arg-type]
    start = network.initialize([seed + r for r in range(replicas)])
    weights = Weights(start.slots, start.flat.double(), {name: b.double() for name, b in start.buffers.items()})
    inputs = torch.rand(replicas, 6, *IMAGES, generator=stream(seed, "inputs")).double()
    trained = network(weights, inputs, training=True)
    evaluated = network(weights, inputs)
    for replica, modules in enumerate(theirs):
        module = nn.Sequential(*modules).double()
        ordered = [p for m in module if list(m.parameters(recurse=False)) for p in m.parameters()]
        names = [slot.name for slot in network.slots if not slot.buffer]
        for parameter, name in zip(ordered, names, strict=True):
            parameter.data.copy_(weights[name][replica])
        assert torch.allclose(module(inputs[replica]), trained[replica], atol=1e-9)
        assert torch.allclose(module.eval()(inputs[replica]), evaluated[replica], atol=1e-9)


def test_estimated_statistics_are_those_of_one_large_batch() -> None:
    network = architectures.build("mlp", (4,), 3, depth=1, width=5, normalization="batch")
    weights = network.initialize([1, 2])
    inputs = torch.rand(2, 50, 4)
    settled = estimate_statistics(network, weights, inputs)
    hidden = torch.baddbmm(weights["dense1.bias"].unsqueeze(1), inputs, weights["dense1.weight"].transpose(1, 2))
    assert torch.allclose(settled["dense1.running_mean"], hidden.mean(dim=1), atol=1e-5)
    assert torch.allclose(settled["dense1.running_variance"], hidden.var(dim=1), atol=1e-5)
    assert torch.equal(weights["dense1.running_mean"], torch.zeros(2, 5))


def test_any_module_becomes_a_network() -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 4))

    before = torch.random.get_rng_state()
    network = Network.from_module(make, input_shape=IMAGES, outputs=4)
    weights = network.initialize([1, 2])
    assert network.mode == "looped"
    assert network.evaluate(weights, torch.rand(3, *IMAGES)).shape == (2, 3, 4)
    assert not torch.equal(weights.flat[0], weights.flat[1])
    assert torch.equal(weights.flat[1], network.initialize([2]).flat[0])
    assert before.shape == torch.random.get_rng_state().shape


@given(st.integers(1, 50), st.integers(1, 12))
def test_shares_are_equal_and_no_larger_than_asked(replicas: int, size: int) -> None:
    groups = shares(replicas, size)
    assert [r for group in groups for r in range(replicas)[group]] == list(range(replicas))
    sizes = [group.stop - group.start for group in groups]
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= size
    assert min(sizes) >= 1


def test_small_images_go_in_groups_and_large_ones_alone() -> None:
    small, large = (architectures.build("vgg", (1, side, side), 10) for side in (8, 64))
    assert small.together(128) > 1
    assert large.together(512) == 1
    assert small.together(10**9) == 1
    assert architectures.build("mlp", (64,), 10).together(1) == 1
