"""Universal evasion against counting one input at a time, and the exact best perturbation of linear nets."""

import pytest
import torch
from small_nets import case

from refute import architectures
from refute.errors import ShapeError, UsageError
from refute.instruments.evasion import universal_evasion, universal_perturbation
from refute.instruments.hessian import cast
from refute.instruments.interface import trusted
from refute.instruments.procedural_noise import white_patterns


@pytest.mark.parametrize("name", ["mlp", "vgg"])
def test_rates_and_drops_are_counts(name: str) -> None:
    made = case(name, examples=25)
    inputs = made.inputs.sigmoid()
    generator = torch.Generator().manual_seed(0)
    patterns = torch.randn(4, *made.network.input_shape, generator=generator, dtype=torch.float64).sign()
    found = universal_evasion(
        made.network, made.weights, inputs, patterns, radius=0.4, labels=made.labels, low=0.0, high=1.0
    )
    for replica in range(3):
        for number in range(4):
            changed = rightly = before = energy = 0.0
            for x, y in zip(inputs, made.labels, strict=True):
                moved = (x + 0.4 * patterns[number]).clamp(0, 1)
                old = made.network.evaluate(made.weights, x[None])[replica, 0].argmax().item()
                new = made.network.evaluate(made.weights, moved[None])[replica, 0].argmax().item()
                changed, rightly, before = changed + (old != new), rightly + (new == y), before + (old == y)
                energy += (moved - x).square().sum().item()
            assert found.rate[replica, number].item() == pytest.approx(changed / 25)
            assert found.accuracy_drop[replica, number].item() == pytest.approx((before - rightly) / 25)
            assert found.effective_l2[replica, number].item() == pytest.approx((energy / 25) ** 0.5)


def test_images_take_patterns_on_all_channels_and_flat_nets_take_images() -> None:
    images = torch.rand(6, 2, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    patterns = white_patterns(4, 3, seed=0).double()
    network = architectures.build("mlp", (2, 4, 4), 3, depth=1, width=6)
    weights = cast(network.initialize([0, 1]), torch.float64)
    on_images = universal_evasion(network, weights, images, patterns, radius=0.5)
    flat_network = architectures.build("mlp", (32,), 3, depth=1, width=6)
    flat_weights = cast(flat_network.initialize([0, 1]), torch.float64)
    on_flat = universal_evasion(flat_network, flat_weights, images.flatten(1), patterns, radius=0.5)
    assert torch.equal(on_images.rate, on_flat.rate)
    assert torch.allclose(on_images.effective_l2, torch.full((2, 3), 0.5 * 32**0.5, dtype=torch.float64))


def test_what_is_clipped_or_shifts_brightness_is_flagged() -> None:
    made = case(examples=10)
    black = torch.zeros_like(made.inputs)
    down = -torch.ones(1, 4, dtype=torch.float64)
    found = universal_evasion(made.network, made.weights, black, down, radius=0.1, low=0.0, high=1.0)
    assert bool(found.flags["clipped"].all())
    assert bool(found.flags["brightness shift"].all())
    assert found.rate.abs().max() == 0
    even = torch.tensor([[1.0, -1.0, 1.0, -1.0]], dtype=torch.float64)
    assert bool(trusted(universal_evasion(made.network, made.weights, black, even, radius=0.1)).all())


@pytest.mark.parametrize("name", ["mlp", "vgg"])
def test_the_universal_perturbation_of_a_cohort_is_that_of_each_alone(name: str) -> None:
    made = case(name, examples=30)
    options = {"radius": 0.2, "epochs": 3, "batch": 10}
    whole = universal_perturbation(made.network, made.weights, made.inputs, made.labels, **options)  # type: ignore[arg-type]
    assert whole.shape == (3, 1, *made.network.input_shape)
    assert whole.abs().max() <= 1
    for replica in range(3):
        rows = slice(replica, replica + 1)
        alone = universal_perturbation(made.network, made.weights.take(rows), made.inputs, made.labels, **options)  # type: ignore[arg-type]
        assert torch.allclose(alone[0], whole[replica], atol=1e-12)


def test_of_a_linear_net_with_one_class_it_is_the_sign_of_the_slope() -> None:
    network = architectures.build("mlp", (6,), 2, depth=0)
    weights = cast(network.initialize([0, 1]), torch.float64)
    inputs = torch.randn(50, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.ones(50).long()
    found = universal_perturbation(network, weights, inputs, labels, radius=0.3, epochs=10, batch=50)
    slope = weights["output.weight"][:, 1] - weights["output.weight"][:, 0]
    assert torch.allclose(found[:, 0], -slope.sign())
    margin = network.evaluate(weights, inputs).diff(dim=2)[..., 0]
    turned = (margin > 0) & (margin < 0.3 * slope.abs().sum(dim=1, keepdim=True))
    assert torch.equal(
        universal_evasion(network, weights, inputs, found, radius=0.3).rate[:, 0], turned.double().mean(dim=1)
    )


def test_refusals() -> None:
    made = case()
    with pytest.raises(UsageError, match=r"within -1\.\.1"):
        universal_evasion(made.network, made.weights, made.inputs, 2 * torch.ones(1, 4), radius=0.1)
    with pytest.raises(ShapeError, match="patterns must be"):
        universal_evasion(made.network, made.weights, made.inputs, torch.ones(1, 3), radius=0.1)
    with pytest.raises(UsageError, match="radius must not be negative"):
        universal_evasion(made.network, made.weights, made.inputs, torch.ones(1, 4), radius=-0.1)
    with pytest.raises(UsageError, match="radius and step_size"):
        universal_perturbation(made.network, made.weights, made.inputs, made.labels, radius=0.0)
