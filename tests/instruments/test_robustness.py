"""Attacks against a plain one and torchattacks, the closed form of linear nets, and between their own variants."""

import copy
import warnings
from dataclasses import replace

import pytest
import torch
from small_nets import case
from torch import nn

from refute import architectures, attacks
from refute.architectures import Network, Weights
from refute.errors import ShapeError, UsageError
from refute.instruments import robustness
from refute.instruments.hessian import cast
from refute.instruments.interface import trusted
from refute.instruments.robustness import Attacker, Descent, robust_accuracy, target


def pictures(examples: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    inputs = torch.rand(examples, 1, 5, 5, generator=generator, dtype=torch.float64)
    return inputs, torch.randint(0, 3, (examples,), generator=generator)


def as_network(module: nn.Module, inputs: torch.Tensor, outputs: int) -> tuple[Network, Weights]:
    """The module in float64 as a cohort of one."""
    network = Network.from_module(
        lambda: copy.deepcopy(module), input_shape=tuple(inputs.shape[1:]), outputs=outputs, input_dtype=torch.float64
    )
    return network, network.initialize([0])


def linear(replicas: int = 3) -> tuple[Network, Weights, torch.Tensor, torch.Tensor]:
    """Two-class linear nets and examples that are mostly right; an input falls at its distance from the plane."""
    network = architectures.build("mlp", (6,), 2, depth=0)
    weights = cast(network.initialize(list(range(replicas))), torch.float64)
    inputs = torch.randn(replicas, 200, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = network.evaluate(weights, inputs).argmax(dim=2)
    labels[:, :10] = 1 - labels[:, :10]
    return network, weights, inputs, labels


def distances(network: Network, weights: Weights, inputs: torch.Tensor, norm: str) -> torch.Tensor:
    outputs = network.evaluate(weights, inputs)
    slope = weights["output.weight"][:, 1] - weights["output.weight"][:, 0]
    size = slope.norm(dim=1) if norm == "l2" else slope.abs().sum(dim=1)
    return (outputs[..., 1] - outputs[..., 0]).abs() / size.unsqueeze(1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("loss", ["cross-entropy", "margin"])
def test_linear_nets_fall_at_the_distance_from_the_plane(norm: str, loss: str) -> None:
    network, weights, inputs, labels = linear()
    radii = [0.0, 0.05, 0.2, 0.5]
    found = robust_accuracy(
        network, weights, inputs, labels, radii=radii, seeds=[0, 1, 2], norm=norm, loss=loss  # type: ignore[arg-type]
    )  # fmt: skip
    right = network.evaluate(weights, inputs).argmax(dim=2) == labels
    away = distances(network, weights, inputs, norm)
    expected = torch.stack([(right & (away > radius)).double().mean(dim=1) for radius in radii], dim=1)
    assert torch.equal(found.accuracy, expected)
    assert torch.equal(found.clean, right.double().mean(dim=1))
    assert bool(trusted(found).all())
    assert torch.allclose(found.standard_error, (expected * (1 - expected) / 200).sqrt())


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_end_points_are_those_of_torchattacks(norm: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torchattacks = pytest.importorskip("torchattacks")
    torch.manual_seed(3)
    module = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(75, 3)).double().eval()
    inputs, labels = pictures()
    network, weights = as_network(module, inputs, 3)
    radius = 0.1 if norm == "linf" else 0.5
    kind = torchattacks.PGD if norm == "linf" else torchattacks.PGDL2
    theirs = kind(module, eps=radius, alpha=radius / 8, steps=20, random_start=False)(inputs, labels)
    goal = target(network, weights, inputs, labels, seeds=[0], low=0.0, high=1.0)
    part = next(goal.parts())[2]
    attack = Attacker(norm, 20, 1 / 8, 0).attacks(goal, torch.tensor([radius]))[0]  # type: ignore[arg-type]
    ours = attack.perturb(part.inputs, part.gradient, part.losses, part.generators())
    assert (ours[0] - theirs).abs().max() < 1e-7  # they divide by the norm + 1e-10 of a mean gradient
    found = robust_accuracy(
        network, weights, inputs, labels, radii=[radius], seeds=[0], norm=norm, step_size=1 / 8,  # type: ignore[arg-type]
        random_starts=0, low=0.0, high=1.0,
    )  # fmt: skip
    at_the_end = (module(theirs).argmax(dim=1) == labels) & (module(inputs).argmax(dim=1) == labels)
    assert bool((found.correct[0, 0] <= at_the_end).all())


def plain_attack(
    module: nn.Module, x: torch.Tensor, label: torch.Tensor, norm: str, radius: float, size: float, steps: int
) -> bool:
    """Whether one example in [0, 1] stays right at every point that projected gradient ascent visits."""
    point, stays = x.clone(), True
    for step in range(steps + 1):
        point = point.detach().requires_grad_()
        outputs = module(point.unsqueeze(0))
        stays = stays and outputs.argmax().item() == label.item()
        if step == steps:
            return stays
        (slope,) = torch.autograd.grad(nn.functional.cross_entropy(outputs, label.view(1)), point)
        if norm == "linf":
            away = (point.detach() + size * slope.sign() - x).clamp(-radius, radius)
        else:
            away = point.detach() + size * slope / slope.norm() - x
            away = away * min(1.0, radius / away.norm().item())
        point = (x + away).clamp(0, 1)
    raise AssertionError


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("steps", [1, 12])
def test_it_is_a_plain_attack_of_one_example_at_a_time(norm: str, steps: int) -> None:
    torch.manual_seed(4)
    module = nn.Sequential(nn.Flatten(), nn.Linear(25, 16), nn.Tanh(), nn.Linear(16, 3)).double().eval()
    inputs, _ = pictures(60)
    labels = module(inputs).argmax(dim=1)
    labels[:5] = (labels[:5] + 1) % 3
    network, weights = as_network(module, inputs, 3)
    radii = [0.02, 0.08] if norm == "linf" else [0.1, 0.4]
    share = 1.0 if steps == 1 else 0.2
    found = robust_accuracy(
        network, weights, inputs, labels, radii=radii, seeds=[0], norm=norm, steps=steps, step_size=share,  # type: ignore[arg-type]
        random_starts=0, low=0.0, high=1.0,
    )  # fmt: skip
    for number, radius in enumerate(radii):
        expected = [
            plain_attack(module, x, label, norm, radius, share * radius, steps)
            for x, label in zip(inputs, labels, strict=True)
        ]
        assert found.correct[0, number].tolist() == expected
    assert 0 < found.accuracy[0, 1] < found.accuracy[0, 0] < 1


def test_fgsm_is_that_of_torchattacks() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torchattacks = pytest.importorskip("torchattacks")
    made = case("vgg", replicas=1)
    inputs, labels = pictures()
    module = nn.Module()
    module.forward = lambda x: made.network(made.weights, x[None])[0]  # type: ignore[method-assign]
    moved = torchattacks.FGSM(module, eps=0.1)(inputs, labels)
    right = (module.forward(moved).argmax(dim=1) == labels) & (module.forward(inputs).argmax(dim=1) == labels)
    found = robust_accuracy(
        made.network, made.weights, inputs, labels, radii=[0.1], seeds=[0], steps=1, random_starts=0, low=0.0, high=1.0
    )
    assert torch.equal(found.correct[0, 0], right)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", ["mlp", "vgg"])
def test_steps_one_at_a_time_are_those_of_the_training_attack(norm: str, name: str) -> None:
    made = case(name)
    inputs = made.inputs.sigmoid()
    goal = target(made.network, made.weights, inputs, made.labels, seeds=made.seeds, low=0.0, high=1.0)
    radius = torch.tensor([0.05, 0.1, 0.4], dtype=torch.float64)
    for rows, _, part in goal.parts():
        attack = attacks.PGD(radius[rows], norm, radius[rows] / 4, 7, 1, False, 0.0, 1.0)  # type: ignore[arg-type]
        expected = attack.perturb(part.inputs, part.gradient, part.losses, part.generators())
        descent = Descent(part, part.inputs, radius[rows], radius[rows] / 4, norm)  # type: ignore[arg-type]
        for _ in range(7):
            descent.step()
        assert torch.allclose(descent.moved, expected, atol=1e-12)


@pytest.mark.parametrize("name", ["mlp", "vgg"])
def test_examples_left_out_on_the_way_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = case(name, examples=60)
    arguments = (made.network, made.weights, made.inputs, made.labels)
    options = {"radii": [0.05, 0.2, 0.5], "seeds": made.seeds, "batch": 32}
    thinned = robust_accuracy(*arguments, **options)  # type: ignore[arg-type]
    monkeypatch.setattr(robustness, "THINNED", -1.0)
    whole = robust_accuracy(*arguments, **options)  # type: ignore[arg-type]
    assert torch.equal(thinned.correct, whole.correct)
    assert 0 < thinned.accuracy.mean() < thinned.clean.mean()


def test_packing_replicas_and_examples_of_ones_own_change_nothing() -> None:
    made = case(examples=30)
    whole = robust_accuracy(made.network, made.weights, made.inputs, made.labels, radii=[0.1, 0.3], seeds=made.seeds)
    for replica in range(3):
        rows = slice(replica, replica + 1)
        alone = robust_accuracy(
            made.network, made.weights.take(rows), made.inputs[None], made.labels[None], radii=[[0.1, 0.3]],
            seeds=made.seeds[rows],
        )  # fmt: skip
        assert torch.equal(alone.correct[0], whole.correct[replica])


def test_radii_may_differ_between_replicas_and_come_in_any_order() -> None:
    network, weights, inputs, labels = linear()
    radii = torch.tensor([[0.3, 0.1], [0.05, 0.2], [0.5, 0.0]], dtype=torch.float64)
    for check in (True, False):
        found = robust_accuracy(network, weights, inputs, labels, radii=radii, seeds=[0, 1, 2], check=check)
        away = distances(network, weights, inputs, "linf")
        right = network.evaluate(weights, inputs).argmax(dim=2) == labels
        expected = (right.unsqueeze(1) & (away.unsqueeze(1) > radii.unsqueeze(2))).double().mean(dim=2)
        assert torch.equal(found.accuracy, expected)


def test_a_saturated_net_is_flagged_and_the_margin_sees_through_it() -> None:
    network, weights, inputs, labels = linear()
    steep = Weights(weights.slots, 2000 * weights.flat, weights.buffers)
    options = {"radii": [0.3], "seeds": [0, 1, 2], "random_starts": 0}
    hidden = robust_accuracy(network, steep, inputs, labels, **options)  # type: ignore[arg-type]
    seen = robust_accuracy(network, steep, inputs, labels, loss="margin", **options)  # type: ignore[arg-type]
    plain = robust_accuracy(network, weights, inputs, labels, **options)  # type: ignore[arg-type]
    assert bool(hidden.flags["saturated gradients"].all())
    assert bool(hidden.flags["zero gradients"].any())
    assert torch.equal(seen.accuracy, plain.accuracy)
    assert bool(trusted(seen).all())


def test_a_wasted_attack_is_flagged_as_weaker_than_one_step() -> None:
    network, weights, inputs, labels = linear()
    found = robust_accuracy(
        network, weights, inputs, labels, radii=[0.3], seeds=[0, 1, 2], steps=8, step_size=1e-3, audit_steps=800
    )
    assert bool(found.flags["weaker than a cheaper attack"].all())
    assert bool(found.flags["not converged"].all())
    assert not bool(trusted(found).any())


@pytest.mark.parametrize("statistics", ["batch", "batch-adaptive"])
def test_statistics_of_the_attacked_batch(statistics: str) -> None:
    made = case(normalization="batch", examples=48)
    arguments = (made.network, made.weights, made.inputs, made.labels)
    found = robust_accuracy(
        *arguments, radii=[0.0, 0.3], seeds=made.seeds, statistics=statistics, batch=24, random_starts=0  # type: ignore[arg-type]
    )  # fmt: skip
    halves = [made.network(made.weights.clone(), part.expand(3, -1, -1), training=True) for part in
              made.inputs.split(24)]  # fmt: skip
    right = torch.cat(halves, dim=1).argmax(dim=2) == made.labels
    assert torch.equal(found.clean, right.double().mean(dim=1))
    assert torch.equal(found.accuracy[:, 0], found.clean)
    assert bool((found.accuracy[:, 1] <= found.clean).all())


def test_an_attack_through_the_statistics_finds_no_less_than_one_that_knows_nothing_of_them() -> None:
    made = case(normalization="batch", examples=96, spread=0.6)
    arguments = (made.network, made.weights, made.inputs, made.labels)
    options = {"radii": [0.1, 0.3], "seeds": made.seeds, "batch": 48}
    blind = robust_accuracy(*arguments, statistics="batch", **options)  # type: ignore[arg-type]
    knowing = robust_accuracy(*arguments, statistics="batch-adaptive", **options)  # type: ignore[arg-type]
    assert bool((knowing.correct <= blind.correct).all())
    assert knowing.accuracy.sum() < blind.accuracy.sum()


def test_refusals_name_what_is_wrong() -> None:
    network, weights, inputs, labels = linear()
    good = {"radii": [0.1], "seeds": [0, 1, 2]}
    with pytest.raises(ShapeError, match="seeds must be 3"):
        robust_accuracy(network, weights, inputs, labels, **(good | {"seeds": [0]}))  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="radii must be"):
        robust_accuracy(network, weights, inputs, labels, **(good | {"radii": []}))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="radii must be finite and not negative"):
        robust_accuracy(network, weights, inputs, labels, **(good | {"radii": [-0.1]}))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="needs a start"):
        robust_accuracy(network, weights, inputs, labels, random_starts=0, clean_start=False, **good)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="labels must be classes"):
        robust_accuracy(network, weights, inputs, labels.double(), **good)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="statistics must be"):
        robust_accuracy(network, weights, inputs, labels, statistics="own", **good)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"inputs must lie in low..high, 0.0..1.0"):
        robust_accuracy(network, weights, inputs, labels, low=0.0, high=1.0, **good)  # type: ignore[arg-type]
    broken = replace(weights, flat=weights.flat * torch.nan)
    with pytest.raises(ShapeError, match="weights must be finite"):
        robust_accuracy(network, broken, inputs, labels, **good)  # type: ignore[arg-type]
