"""Covariate shift against numpy and scipy, gradients of hybrid weights by autograd, and quadratic losses."""

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance
from small_nets import Case, case, loss_of

from refute import architectures
from refute.architectures import Network, Weights
from refute.errors import ShapeError, UnknownNameError, UsageError
from refute.instruments.covariate_shift import gradient_shift, input_drift, layer_inputs, step_smoothness
from refute.instruments.interface import loss_function
from refute.randomness import stream


def stepped(made: Case, rate: float = 0.1, *, training: bool = True) -> Weights:
    """The weights after one step of gradient descent."""
    flat = made.weights.flat.clone().requires_grad_()
    total = loss_function(*made[:4], training=training)(flat).sum()
    (gradient,) = torch.autograd.grad(total, flat)
    return Weights(made.weights.slots, made.weights.flat - rate * gradient, made.weights.buffers)


def test_inputs_of_layers_are_what_their_maps_receive() -> None:
    made = case(normalization="batch")
    found = layer_inputs(*made[:3], training=True)
    assert list(found) == ["dense1", "dense2", "output"]
    w = {key: tensor[1] for key, tensor in made.weights.items()}
    hidden = made.inputs @ w["dense1.weight"].T + w["dense1.bias"]
    hidden = (hidden - hidden.mean(dim=0)) / (hidden.var(dim=0, correction=0) + 1e-5).sqrt()
    hidden = (hidden * w["dense1.gamma"] + w["dense1.beta"]).clamp(min=0)
    assert torch.allclose(found["dense2"][1], hidden, atol=1e-12)
    network = architectures.build("residual-mlp", (4,), 3, blocks=2, width=6)
    assert list(layer_inputs(network, network.initialize([0]), made.inputs.float())) == list(network.units)


@pytest.mark.parametrize("name", ["mlp", "vgg"])
def test_drifts_of_moments_and_distributions_layer_by_layer(name: str) -> None:
    made = case(name, normalization="batch")
    after = stepped(made)
    found = input_drift(made.network, made.weights, after, made.inputs, seeds=made.seeds, directions=8, training=True)
    one = layer_inputs(*made[:3], training=True)
    two = layer_inputs(made.network, after, made.inputs, training=True)
    for layer, unit in enumerate(found.layers):
        for replica in range(3):
            a, b = one[unit][replica], two[unit][replica]
            units = [part.movedim(1, -1).flatten(0, -2).numpy() for part in (a, b)]
            mean, later = (part.mean(axis=0) for part in units)
            var, later_var = (part.var(axis=0) for part in units)
            drift = np.sqrt(((later - mean) ** 2 / (var + 1e-8)).mean())
            drift += np.sqrt(((np.log(later_var + 1e-8) - np.log(var + 1e-8)) ** 2 / 4).mean())
            assert abs(found.moments[replica, layer].item() - drift) < 1e-10 * (1 + drift)
            a, b = a.flatten(1), b.flatten(1)
            size = a.shape[1]
            lines = torch.randn(
                size, 8, generator=stream(made.seeds[replica], f"directions-{size}"), dtype=torch.float64
            )
            lines = lines / lines.norm(dim=0)
            each = [wasserstein_distance((a @ line).numpy(), (b @ line).numpy()) for line in lines.T]
            sliced = np.mean(each) / np.sqrt(a.numpy().var(axis=0).sum())
            assert abs(found.distribution[replica, layer].item() - sliced) < 1e-12
    assert (found.moments[:, 0] == 0).all()
    assert (found.distribution[:, 0] == 0).all()
    assert (found.moments[:, 1:] > 0).all()


def test_a_shift_of_a_gaussian_cloud_in_closed_form() -> None:
    network = architectures.build("mlp", (3,), 2, depth=1, width=3, activation="identity")
    before = network.initialize([0])
    before["dense1.weight"].copy_(torch.eye(3))
    before["dense1.bias"].zero_()
    after = before.clone()
    after["dense1.bias"].fill_(0.5)
    inputs = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0))
    found = input_drift(network, before, after, inputs, seeds=[0], directions=4000)
    assert abs(found.moments[0, 1].item() - 0.5) < 0.02  # a shift by 0.5 standard deviations, no stretch
    # |<u, shift>| has the mean |shift| / 2 over directions in 3 dimensions; the cloud's total deviation is sqrt(3)
    assert abs(found.distribution[0, 1].item() - 0.5 / 2) < 0.02
    assert found.distribution_error[0, 1] < 0.01


@pytest.mark.parametrize("name", ["mlp", "vgg"])
@pytest.mark.parametrize("training", [False, True])
def test_gradient_shift_by_autograd_at_hybrid_weights(name: str, training: bool) -> None:
    made = case(name, normalization="batch")
    after = stepped(made, training=training)
    found = gradient_shift(made.network, made.weights, after, *made[2:4], training=training)
    units = list(made.network.units)
    assert found.layers == tuple(units)
    for replica in range(3):

        def gradient(weights: Weights, replica: int = replica) -> Weights:
            flat = weights.flat[replica].clone().requires_grad_()
            (own,) = torch.autograd.grad(loss_of(made, replica, training=training)(flat), flat)
            return Weights(weights.slots, own.unsqueeze(0))

        here = gradient(made.weights)
        for layer, unit in enumerate(units):
            hybrid = made.weights.clone()
            for lower in units[:layer]:
                for key in made.network.units[lower]:
                    hybrid[key].copy_(after[key])
            there = gradient(hybrid)
            keys = [key for key in made.network.units[unit] if "running" not in key]
            one, two = (torch.cat([part[key].flatten() for key in keys]) for part in (here, there))
            assert abs(found.distance[replica, layer].item() - (one - two).norm().item()) < 1e-11
            assert abs(found.relative[replica, layer].item() - ((one - two).norm() / one.norm()).item()) < 1e-10
            cosine = torch.nn.functional.cosine_similarity(one, two, dim=0).item()
            assert abs(found.cosine[replica, layer].item() - cosine) < 1e-10
    assert (found.distance[:, 0] == 0).all()


def test_interference_by_losses_and_to_first_order() -> None:
    made = case()
    after = stepped(made, 0.5)
    found = gradient_shift(made.network, made.weights, after, *made[2:4])
    mean_loss = loss_function(*made[:4])
    level = mean_loss(made.weights.flat)
    flat = made.weights.flat.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(mean_loss(flat).sum(), flat)
    change = mean_loss(after.flat) - level
    predicted = (gradient * (after.flat - made.weights.flat)).sum(dim=1)
    alone = sum(mean_loss(made.weights.replaced(names, after).flat) - level for names in made.network.units.values())
    assert torch.allclose(found.change, change, atol=1e-12)
    assert torch.allclose(found.predicted, predicted, atol=1e-12)
    assert torch.allclose(found.interference, (change - predicted) / predicted.abs(), rtol=1e-9)
    assert torch.allclose(found.joint_interference, (change - alone) / alone.abs(), rtol=1e-9)


def test_some_layers_are_the_same_as_among_all() -> None:
    made = case(depth=3)
    after = stepped(made)
    every = gradient_shift(made.network, made.weights, after, *made[2:4])
    some = gradient_shift(made.network, made.weights, after, *made[2:4], layers=["dense3"])
    assert torch.equal(some.distance[:, 0], every.distance[:, 2])
    assert torch.isnan(some.joint_interference).all()
    assert torch.equal(some.interference, every.interference)


def test_all_shifts_fall_linearly_with_the_learning_rate() -> None:
    made = case(activation="tanh")
    small, large = (stepped(made, rate) for rate in (1e-4, 1e-3))
    shifts = [gradient_shift(made.network, made.weights, after, *made[2:4]).distance[:, 1:] for after in (small, large)]
    assert torch.allclose((shifts[1] / shifts[0]).log10(), torch.ones(3, 2, dtype=torch.float64), atol=0.02)
    drifts = [input_drift(made.network, made.weights, after, made.inputs, seeds=made.seeds) for after in (small, large)]
    for name in ("moments", "distribution"):
        ratio = (getattr(drifts[1], name)[:, 1:] / getattr(drifts[0], name)[:, 1:]).log10()
        assert torch.allclose(ratio, torch.ones(3, 2, dtype=torch.float64), atol=0.05), name


def test_smoothness_of_a_quadratic_loss_in_closed_form() -> None:
    made = case(depth=0)
    found = step_smoothness(
        *made[:4], learning_rate=torch.tensor([0.01, 0.1, 0.3], dtype=torch.float64), loss="squared"
    )
    for replica, rate in enumerate((0.01, 0.1, 0.3)):
        flat = made.weights.flat[replica]
        mean_loss = loss_of(made, replica, "squared")
        hessian = torch.autograd.functional.hessian(mean_loss, flat)
        (gradient,) = torch.autograd.grad(mean_loss(leaf := flat.clone().requires_grad_()), leaf)
        bent = (hessian @ gradient).norm()
        assert abs(found.effective[replica].item() - (bent / gradient.norm()).item()) < 1e-9
        assert abs(found.gradient_range[replica].item() - (3.75 * rate * bent).item()) < 1e-9
        losses = torch.stack([mean_loss(flat - c * rate * gradient) for c in (0.25, 0.5, 1, 2, 4)])
        assert torch.allclose(found.losses[replica], losses, atol=1e-10)
        assert abs(found.loss_range[replica].item() - (losses.max() - losses.min()).item()) < 1e-10


def test_packing_changes_nothing() -> None:
    made = case(normalization="batch")
    after = stepped(made)
    one, two = made.weights.take(slice(1, 2)), after.take(slice(1, 2))
    every = input_drift(made.network, made.weights, after, made.inputs, seeds=made.seeds)
    alone = input_drift(made.network, one, two, made.inputs, seeds=made.seeds[1:2])
    assert torch.allclose(every.distribution[1:2], alone.distribution, atol=1e-13)
    shifts = gradient_shift(made.network, made.weights, after, *made[2:4])
    own = gradient_shift(made.network, one, two, *made[2:4])
    assert torch.allclose(shifts.distance[1:2], own.distance, atol=1e-12)


def test_what_cannot_be_trusted_is_flagged() -> None:
    made = case()
    same = gradient_shift(made.network, made.weights, made.weights, *made[2:4])
    assert same.flags["nothing predicted"].all()
    assert (same.distance == 0).all()
    dead = made.weights.clone()
    dead["dense1.weight"][1] = 0
    dead["dense1.bias"][1] = -1
    drift = input_drift(made.network, dead, dead, made.inputs, seeds=made.seeds)
    assert drift.flags["a layer's inputs are constant"].tolist() == [False, True, False]
    assert gradient_shift(made.network, dead, made.weights, *made[2:4]).flags["gradient vanishes"][1]


def test_refusals_name_what_is_wrong() -> None:
    made = case()
    with pytest.raises(ShapeError, match="before and after must be of one network"):
        input_drift(made.network, made.weights, made.weights.take(slice(0, 1)), made.inputs, seeds=made.seeds)
    with pytest.raises(ShapeError, match="seeds must be 3"):
        input_drift(made.network, made.weights, made.weights, made.inputs, seeds=[0])
    with pytest.raises(UsageError, match="directions must be at least 2"):
        input_drift(made.network, made.weights, made.weights, made.inputs, seeds=made.seeds, directions=1)
    with pytest.raises(UnknownNameError, match="did you mean 'dense1'"):
        gradient_shift(made.network, made.weights, made.weights, *made[2:4], layers=["dens1"])
    with pytest.raises(UsageError, match="learning_rate and factors must be above 0"):
        step_smoothness(*made[:4], learning_rate=0)
    broken = made.weights.clone()
    broken.flat[1, 0] = torch.nan
    with pytest.raises(ShapeError, match="weights after the update must be finite"):
        gradient_shift(made.network, made.weights, broken, *made[2:4])

    class Skipping(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.two(self.one(x))

    module = Network.from_module(Skipping, input_shape=(4,), outputs=4)
    with pytest.raises(UsageError, match="no chain of layers"):
        layer_inputs(module, module.initialize([0]), made.inputs.float())
