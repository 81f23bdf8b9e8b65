"""Corruptions against scipy and closed forms of linear nets."""

import math
from dataclasses import replace

import pytest
import torch
from scipy import ndimage, stats
from small_nets import case
from torch import nn

from refute import architectures
from refute.architectures import Network, Weights
from refute.errors import ShapeError, UsageError
from refute.instruments.corruptions import corrupt, corruption_accuracy
from refute.instruments.hessian import cast
from refute.instruments.interface import trusted
from refute.randomness import stream


def plane(inputs: int = 6) -> tuple[Network, Weights, float]:
    """A two-class linear net and the length of the normal of its plane."""
    network = architectures.build("mlp", (inputs,), 2, depth=0)
    weights = cast(network.initialize([0]), torch.float64)
    slope = weights["output.weight"][0, 1] - weights["output.weight"][0, 0]
    return network, weights, slope.norm().item()


def test_gaussian_noise_turns_a_linear_net_as_often_as_the_normal_law_says() -> None:
    network, weights, length = plane()
    inputs = torch.randn(40, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    outputs = network.evaluate(weights, inputs)[0]
    away = (outputs[:, 1] - outputs[:, 0]).abs().numpy() / length
    labels = outputs.argmax(dim=1)
    levels = [0.0, 0.3, 1.0, 3.0]
    found = corruption_accuracy(network, weights, inputs, labels, kind="gaussian", levels=levels, seeds=[3], draws=2000)
    for at, level in enumerate(levels):
        chances = stats.norm.cdf(away / level) if level else away * 0 + 1
        error = math.sqrt(float((chances * (1 - chances)).sum())) / 40 / math.sqrt(2000)
        assert abs(found.accuracy[0, at].item() - chances.mean()) < 5 * error + 1e-12
    assert found.effective_l2[0].tolist() == pytest.approx([level * math.sqrt(6) for level in levels], rel=0.02)
    assert bool(trusted(found).all())


@pytest.mark.parametrize("deviation", [0.4, 1.0, 2.0])
def test_blur_is_that_of_scipy(deviation: float) -> None:
    images = torch.rand(3, 2, 9, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = ndimage.gaussian_filter(images.numpy(), (0, 0, deviation, deviation), mode="nearest", truncate=4.0)
    assert (corrupt(images, "blur", deviation) - torch.from_numpy(expected)).abs().max() < 1e-12


def test_every_kind_does_what_it_says() -> None:
    images = torch.rand(50, 1, 8, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    kinds = ("gaussian", "uniform", "salt-and-pepper", "blur", "contrast", "brightness")
    for kind in kinds:
        same = corrupt(images, kind, 0.0, generator=stream(0, kind), low=0.0, high=1.0)  # type: ignore[arg-type]
        assert torch.equal(same, images), kind
    noisy = corrupt(images, "salt-and-pepper", 0.3, generator=stream(0, "a"), low=0.0, high=1.0)
    changed = noisy != images
    assert set(noisy[changed].unique().tolist()) == {0.0, 1.0}
    assert changed.double().mean().item() == pytest.approx(0.3, abs=0.03)
    assert noisy[changed].mean().item() == pytest.approx(0.5, abs=0.06)
    flat = corrupt(images, "contrast", 1.0)
    assert torch.allclose(flat, images.mean(dim=(1, 2, 3), keepdim=True).expand_as(images))
    uniform = corrupt(images, "uniform", 0.2, generator=stream(0, "b")) - images
    assert uniform.abs().max() <= 0.2
    assert uniform.square().mean().item() == pytest.approx(0.2**2 / 3, rel=0.05)
    assert torch.allclose(corrupt(images, "brightness", -0.2, low=0.0), (images - 0.2).clamp(min=0))


def test_draws_do_not_depend_on_level_and_packing() -> None:
    made = case(examples=30)
    options = {"kind": "gaussian", "levels": [0.1, 0.5], "draws": 2}
    whole = corruption_accuracy(made.network, made.weights, made.inputs, made.labels, seeds=made.seeds, **options)  # type: ignore[arg-type]
    for replica in range(3):
        rows = slice(replica, replica + 1)
        own = (made.network, made.weights.take(rows), made.inputs[None], made.labels[None])
        alone = corruption_accuracy(*own, seeds=made.seeds[rows], **options)  # type: ignore[arg-type]
        assert torch.equal(alone.draws[0], whole.draws[replica])
    one = corrupt(made.inputs, "gaussian", 0.1, generator=stream(4, "x"))
    two = corrupt(made.inputs, "gaussian", 0.2, generator=stream(4, "x"))
    assert torch.allclose(two - made.inputs, 2 * (one - made.inputs))


def test_the_same_seed_gives_all_replicas_the_same_noise() -> None:
    made = case("vgg", examples=10)
    shared = corruption_accuracy(
        made.network, made.weights, made.inputs, made.labels, kind="gaussian", levels=[0.5], seeds=[7, 7, 7]
    )
    own = corruption_accuracy(
        made.network, made.weights, made.inputs.expand(3, -1, -1, -1, -1).clone(), made.labels.expand(3, -1),
        kind="gaussian", levels=[0.5], seeds=[7, 7, 7],
    )  # fmt: skip
    assert torch.allclose(shared.accuracy, own.accuracy)
    assert torch.allclose(shared.effective_l2, own.effective_l2)


def test_a_net_that_gains_by_noise_is_flagged() -> None:
    module = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[-1.0], [1.0]]))
    inputs, labels = torch.full((400, 1), -0.2), torch.ones(400).long()
    labels[0], inputs[0] = 0, -5.0
    found = corruption_accuracy(module, None, inputs, labels, kind="gaussian", levels=[0, 0.1, 1.0], seeds=[0])
    assert bool(found.flags["rises with the level"])


def test_refusals() -> None:
    made = case()
    good = {"kind": "gaussian", "levels": [0.1], "seeds": made.seeds}

    def measure(**changes: object) -> object:
        return corruption_accuracy(made.network, made.weights, made.inputs, made.labels, **(good | changes))  # type: ignore[arg-type]

    with pytest.raises(UsageError, match="no corruption 'gausian'"):
        measure(kind="gausian")
    with pytest.raises(UsageError, match="out of range"):
        measure(levels=[-0.1])
    with pytest.raises(UsageError, match="levels must hold"):
        measure(levels=[])
    with pytest.raises(UsageError, match="draws must be"):
        measure(draws=0)
    with pytest.raises(ShapeError, match="seeds must be 3"):
        measure(seeds=[1])
    with pytest.raises(UsageError, match="needs low and high"):
        measure(kind="salt-and-pepper")
    with pytest.raises(ShapeError, match="blur is for images"):
        measure(kind="blur", levels=[1.0])
    with pytest.raises(UsageError, match="needs a generator"):
        corrupt(made.inputs, "gaussian", 0.1)
    broken = replace(made.weights, flat=made.weights.flat * torch.nan)
    with pytest.raises(ShapeError, match="weights must be finite"):
        corruption_accuracy(made.network, broken, made.inputs, made.labels, **good)  # type: ignore[arg-type]
