"""The training loop against a plain nn.Module trained alone, and what packing must not change."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from refute import architectures, datasets, training
from refute.algorithms import SAM, SGD, Adam, Clipped, Masked
from refute.architectures import Network, Readout
from refute.architectures.layers import Activation, Dense, PerceptronStep, combination
from refute.attacks import FGSM, PGD
from refute.augmentation import RandomCrop, RandomFlip, RandomRotation, RandomShift
from refute.errors import ShapeError, UsageError
from refute.instruments import accuracy, training_accuracy
from refute.randomness import stream
from refute.schedules import Staircase
from refute.stopping import LossBelow, Patience
from refute.training import Run, train

SEEDS = (3, 1, 4, 15)


def digits(seeds: Sequence[int], *, flatten: bool = True, noise: float = 0.0) -> datasets.Data:
    return datasets.load("digits", train=100, seeds=seeds, flatten=flatten, label_noise=noise)


def small(name: str, data: datasets.Data, **options: object) -> Network:
    return architectures.build(name, data.input_shape, data.classes, **options)


def run(network: Network, data: datasets.Data, seeds: Sequence[int], **options: object) -> Run:
    settings: dict[str, object] = {"learning_rate": 0.05, "steps": 12, "batch": 20}
    return train(network, data, seeds=seeds, **{**settings, **options})  # type: ignore[arg-type]


def plain_dense(weights: architectures.Weights, replica: int) -> nn.Sequential:
    """The same initial weights in an ordinary nn.Sequential, in float64."""
    layers: list[nn.Module] = []
    names = [name.removesuffix(".weight") for name in weights if name.endswith(".weight")]
    for name in names:
        kernel = weights[f"{name}.weight"][replica]
        linear = nn.Linear(kernel.shape[1], kernel.shape[0]).double()
        linear.weight.data.copy_(kernel)
        linear.bias.data.copy_(weights[f"{name}.bias"][replica])
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


@pytest.mark.parametrize(
    ("algorithm", "optimizer"),
    [
        (SGD(), lambda p: torch.optim.SGD(p, lr=0.05, weight_decay=0.01)),
        (SGD(momentum=0.9), lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01)),
        (
            SGD(momentum=0.9, nesterov=True),
            lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
        ),
        (Adam(), lambda p: torch.optim.Adam(p, lr=0.05, weight_decay=0.01)),
        (Adam(decoupled=True), lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=0.01)),
    ],
    ids=["sgd", "momentum", "nesterov", "adam", "adamw"],
)
def test_each_replica_is_a_plain_module_trained_alone(algorithm: object, optimizer: object) -> None:
    data = digits(SEEDS)
    network = small("mlp", data, depth=2, width=16)
    start = network.initialize(SEEDS)
    trained = run(network, data, SEEDS, algorithm=algorithm, weight_decay=0.01, start=start, schedule=Staircase((0.5,)))
    for replica, seed in enumerate(SEEDS):
        module = plain_dense(start, replica)
        steps = optimizer(module.parameters())  # type: ignore[operator]
        base = steps.param_groups[0]["lr"]
        for step in range(12):
            epoch, batch = divmod(step, 5)
            order = torch.randperm(100, generator=stream(seed, f"order-{epoch}"))[batch * 20 : batch * 20 + 20]
            chosen = data.index[replica][order]
            steps.param_groups[0]["lr"] = base * (0.1 if step >= 6 else 1.0)
            loss = nn.functional.cross_entropy(module(data.inputs[chosen].double()), data.labels[replica][order])
            steps.zero_grad()
            loss.backward()
            steps.step()
        expected = torch.cat([p.detach().flatten() for p in module.parameters()])
        # float32 against float64: rounding grows with the steps, by Adam's division most
        assert torch.allclose(trained.end.flat[replica].double(), expected, atol=2e-4)


def test_batch_norm_statistics_are_those_of_a_plain_module() -> None:
    seeds = SEEDS[:2]
    data = digits(seeds)
    ours = small("mlp", data, depth=1, width=8, normalization="batch")
    trained = run(ours, data, seeds)

    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 10))

    theirs = Network.from_module(make, input_shape=(64,), outputs=10)
    start = theirs.initialize(seeds)
    own = run(ours, data, seeds).start
    for name, source in {
        "0.weight": "dense1.weight", "0.bias": "dense1.bias", "1.weight": "dense1.gamma", "1.bias": "dense1.beta",
        "3.weight": "output.weight", "3.bias": "output.bias",
    }.items():  # fmt: skip
        start[name].copy_(own[source])
    other = run(theirs, data, seeds, start=start)
    assert torch.allclose(other.end["1.running_mean"], trained.end["dense1.running_mean"], atol=1e-4)
    assert torch.allclose(other.end["1.running_var"], trained.end["dense1.running_variance"], atol=1e-4)
    assert torch.allclose(
        theirs.evaluate(other.end, data.test_inputs), ours.evaluate(trained.end, data.test_inputs), atol=1e-3
    )


@pytest.mark.parametrize("name", ["mlp", "residual-mlp", "vgg", "resnet"])
@pytest.mark.parametrize("normalization", ["none", "batch"])
def test_a_replica_alone_equals_itself_in_a_cohort(name: str, normalization: str) -> None:
    flatten = name.endswith("mlp")
    together = digits(SEEDS, flatten=flatten, noise=0.2)
    network = small(name, together, normalization=normalization)
    cohort = run(network, together, SEEDS, learning_rate=0.01)
    for replica, seed in enumerate(SEEDS[:2]):
        alone_data = digits([seed], flatten=flatten, noise=0.2)
        alone = run(network, alone_data, [seed], learning_rate=0.01)
        assert torch.equal(alone.start.flat[0], cohort.start.flat[replica])
        assert torch.equal(alone_data.labels[0], together.labels[replica])
        assert torch.equal(alone_data.index[0], together.index[replica])
        assert torch.allclose(alone.end.flat[0], cohort.end.flat[replica], atol=1e-4)


@pytest.mark.parametrize("name", ["vgg", "resnet"])
@pytest.mark.parametrize("normalization", ["none", "batch"])
@pytest.mark.parametrize("extras", [{}, {"attack": PGD(0.05, steps=2)}], ids=["plain", "attacked"])
def test_no_bit_depends_on_the_group_that_small_images_go_in(
    name: str, normalization: str, extras: dict[str, object]
) -> None:
    seeds = (3, 1, 4, 15, 9)
    data = digits(seeds, flatten=False)
    network = small(name, data, normalization=normalization)
    assert network.together(20) > 1
    cohort = run(network, data, seeds, algorithm=SGD(0.9), steps=6, **extras)
    outputs = network.evaluate(cohort.end, data.test_inputs)
    for part in (slice(0, 1), slice(1, 3), slice(4, 5)):
        own = run(network, data.take_replicas(part), seeds[part], algorithm=SGD(0.9), steps=6, **extras)
        assert torch.equal(own.end.flat, cohort.end.flat[part])
        assert torch.equal(own.losses, cohort.losses[part])
        for buffer, expected in cohort.end.buffers.items():
            assert torch.equal(own.end.buffers[buffer], expected[part])
        assert torch.equal(network.evaluate(own.end, data.test_inputs), outputs[part])


def test_early_stops_leave_the_others_of_a_group_as_they_were() -> None:
    data = digits(SEEDS, flatten=False)
    network = small("vgg", data)
    options: dict[str, object] = {"algorithm": SGD(0.9), "steps": 30, "learning_rate": 0.02}
    thresholds = torch.tensor([0.0, 2.1, 0.0, 2.0])
    stopped = run(network, data, SEEDS, stop=LossBelow(thresholds), **options)
    whole = run(network, data, SEEDS, **options)
    assert (stopped.taken[[1, 3]] < 30).all()
    assert torch.equal(stopped.end.flat[[0, 2]], whole.end.flat[[0, 2]])


def test_same_seed_same_answer_other_seed_other_answer() -> None:
    data = digits(SEEDS)
    network = small("mlp", data, depth=1, width=8)
    first, again = run(network, data, SEEDS), run(network, data, SEEDS)
    assert torch.equal(first.end.flat, again.end.flat)
    other = run(network, digits((7, 8, 9, 10)), (7, 8, 9, 10))
    assert not torch.allclose(first.end.flat, other.end.flat)


def test_rates_are_vectors_over_replicas() -> None:
    data = digits(SEEDS)
    network = small("mlp", data, depth=1, width=8)
    mixed = run(network, data, SEEDS, learning_rate=[0.0, 0.05, 0.1, 0.05], weight_decay=[0.0, 0.0, 0.0, 0.1])
    assert torch.equal(mixed.start.flat[0], mixed.end.flat[0])
    plain = run(network, data, SEEDS)
    assert torch.allclose(mixed.end.flat[1], plain.end.flat[1], atol=1e-6)
    assert not torch.allclose(mixed.end.flat[3], plain.end.flat[3], atol=1e-4)


def test_a_diverged_replica_is_marked_and_leaves_the_others_alone() -> None:
    data = digits(SEEDS)
    network = small("mlp", data, depth=2, width=16)
    mixed = run(network, data, SEEDS, learning_rate=[1e6, 0.05, 0.05, 0.05], steps=40)
    assert mixed.diverged.tolist() == [True, False, False, False]
    assert torch.isfinite(mixed.end.flat[1:]).all()


def test_full_batch_gradient_descent_uses_every_example() -> None:
    data = digits(SEEDS[:1])
    network = small("linear", data, depth=1)
    trained = run(network, data, SEEDS[:1], batch=None, steps=1, loss="squared")
    x, y = data.inputs[data.index[0]].double(), nn.functional.one_hot(data.labels[0], 10).double()
    kernel = trained.start["dense1.weight"][0].double()
    gradient = (x @ kernel.T - y).T @ x / len(x)
    assert torch.allclose(trained.end["dense1.weight"][0].double(), kernel - 0.05 * gradient, atol=1e-6)


def test_snapshots_are_the_weights_on_the_way() -> None:
    data = digits(SEEDS)
    network = small("mlp", data, depth=1, width=8)
    trained = run(network, data, SEEDS, snapshots=(0, 5, 12))
    assert torch.equal(trained.snapshots[0].flat, trained.start.flat)
    assert torch.equal(trained.snapshots[12].flat, trained.end.flat)
    assert torch.equal(trained.snapshots[5].flat, run(network, data, SEEDS, steps=5).end.flat)
    assert trained.losses.shape == (4, 12)


@pytest.mark.parametrize("loss", ["cross-entropy", "reconstruction"])
def test_steps_that_a_loop_takes_at_a_time_are_those_one_by_one(loss: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In epochs of 5 steps with a snapshot after the second of one and one before the first of another."""
    data = digits(SEEDS)
    outputs = 64 if loss == "reconstruction" else data.classes
    layers = Dense("a", 64, 16), Activation("relu"), Dense("b", 16, outputs)
    network = Network("autoencoder or classifier", layers, data.input_shape, outputs)
    monkeypatch.setattr(combination, "PAYS", True)
    taken, descend = [], PerceptronStep.descend

    def counted(self: PerceptronStep, *given: Any, **options: Any) -> Tensor:
        found = descend(self, *given, **options)
        taken.append(found.shape[1])
        return found

    monkeypatch.setattr(PerceptronStep, "descend", counted)

    def trained(**options: object) -> Run:
        how = {"algorithm": SGD(momentum=0.9), "weight_decay": 0.01, "schedule": Staircase((0.5,)), "loss": loss}
        return run(network, data, SEEDS, snapshots=(7, 10), **{**how, **options})

    several = trained()
    assert taken == [5, 2, 3, 2]
    taken.clear()
    trained(stop=LossBelow(0.0))
    monkeypatch.setattr(training, "BATCHES_BYTES", 0)
    alone = trained()
    assert taken == 24 * [1]
    assert torch.equal(several.losses, alone.losses)
    for step in (7, 10):
        assert torch.equal(several.snapshots[step].flat, alone.snapshots[step].flat)
    assert torch.equal(several.end.flat, alone.end.flat)
    assert several.losses[:, -1].lt(several.losses[:, 0]).all()


def test_lazy_readout_starts_at_zero_and_learns() -> None:
    data = digits(SEEDS)
    network = small("mlp", data, depth=2, width=64)
    start = network.initialize(SEEDS)
    readout = Readout(torch.full((4,), 100.0), start)
    trained = run(network, data, SEEDS, readout=readout, start=start, learning_rate=0.05 / 1e4, steps=100)
    assert torch.allclose(trained.losses[:, 0], torch.full((4,), 2.302585), atol=1e-4)
    assert (training_accuracy(network, trained.end, data, readout=readout) > 0.8).all()
    moved = (trained.end.flat - trained.start.flat).norm() / trained.start.flat.norm()
    assert moved < 0.05
    assert (accuracy(network, trained.end, data.test_inputs, data.test_labels, readout=readout) > 0.6).all()


@pytest.mark.parametrize("algorithm", [SGD(), SGD(momentum=0.5)], ids=["plain", "momentum"])
def test_early_stop_ends_a_replica_and_leaves_the_others_as_they_were(algorithm: SGD) -> None:
    data = digits(SEEDS)
    network = small("mlp", data, depth=1, width=32)
    thresholds = torch.tensor([0.0, 1.8, 0.0, 1.5])
    options: dict[str, object] = {"algorithm": algorithm, "learning_rate": 0.1}
    stopped = run(network, data, SEEDS, steps=60, snapshots=(3, 50, 60), stop=LossBelow(thresholds), **options)
    whole = run(network, data, SEEDS, steps=60, snapshots=(3,), **options)
    assert torch.equal(stopped.end.flat[[0, 2]], whole.end.flat[[0, 2]])
    assert torch.equal(stopped.snapshots[3].flat[[0, 2]], whole.snapshots[3].flat[[0, 2]])
    assert stopped.taken[[0, 2]].tolist() == [60, 60]
    assert not stopped.diverged.any()
    for replica in (1, 3):
        taken = int(stopped.taken[replica])
        below = whole.losses[replica] < thresholds[replica]
        assert taken == int(below.int().argmax()) + 1 < 50
        assert torch.isnan(stopped.losses[replica, taken:]).all()
        shorter = run(network, data, SEEDS, steps=taken, **options)
        assert torch.equal(stopped.end.flat[replica], shorter.end.flat[replica])
        assert torch.equal(stopped.snapshots[50].flat[replica], stopped.end.flat[replica])
        assert torch.equal(stopped.snapshots[60].flat[replica], stopped.end.flat[replica])


def test_patience_watches_the_weights_of_each_replica() -> None:
    data = digits(SEEDS)
    network = small("mlp", data, depth=1, width=8)
    scores = iter([torch.tensor([1.0, 1.0, 1.0, 1.0]), torch.tensor([0.5, 2.0, 2.0, 0.5]), torch.tensor([3.0, 1.0])])
    asked = []

    def score(weights: architectures.Weights, replicas: torch.Tensor) -> torch.Tensor:
        asked.append((weights.replicas, replicas.tolist()))
        return next(scores)

    stopped = run(network, data, SEEDS, steps=9, stop=Patience(score, every=3, patience=1))
    assert asked == [(4, [0, 1, 2, 3]), (4, [0, 1, 2, 3]), (2, [1, 2])]
    assert stopped.taken.tolist() == [6, 9, 9, 6]


@pytest.mark.parametrize(
    "extras",
    [
        {"augmentations": (RandomCrop(1), RandomFlip(), RandomRotation(20.0))},
        {"attack": PGD(0.1, steps=2, low=0.0, high=1.0)},
        {"augmentations": (RandomShift(1),), "attack": PGD(0.5, norm="l2", steps=2)},
        {"algorithm": SAM(SGD(momentum=0.9), rho=0.1)},
        {"algorithm": Clipped(Adam(), 0.1)},
        {"stop": LossBelow(2.0)},
    ],
    ids=["augmented", "adversarial", "both", "sam", "clipped", "stopped"],
)
@pytest.mark.parametrize("name", ["mlp", "vgg"])
def test_every_way_to_train_is_independent_of_packing_and_learns(name: str, extras: dict[str, object]) -> None:
    data = datasets.load("digits", train=100, seeds=SEEDS)
    network = small(name, data)
    options: dict[str, object] = {"steps": 40, "learning_rate": 0.03, **extras}
    cohort = run(network, data, SEEDS, **options)
    for replica, seed in enumerate(SEEDS[:2]):
        alone = run(network, datasets.load("digits", train=100, seeds=[seed]), [seed], **options)
        assert alone.taken[0] == cohort.taken[replica]
        assert torch.allclose(alone.end.flat[0], cohort.end.flat[replica], atol=1e-4)
    plain = run(
        network, data, SEEDS, **{**options, "augmentations": (), "attack": None, "algorithm": None, "stop": None}
    )
    assert not torch.equal(plain.end.flat, cohort.end.flat)
    assert (cohort.losses.nan_to_num(0.0)[:, -5:].mean(dim=1) < cohort.losses[:, :5].mean(dim=1)).all()


def test_adversarial_training_makes_nets_robust() -> None:
    data = digits(SEEDS)
    network = small("mlp", data, depth=1, width=64)
    attack = FGSM(0.2, low=0.0, high=1.0)
    options: dict[str, object] = {"steps": 150, "learning_rate": 0.2}
    plain, hardened = run(network, data, SEEDS, **options), run(network, data, SEEDS, attack=attack, **options)

    def robust(trained: Run) -> torch.Tensor:
        labels = data.test_labels.expand(4, -1)

        def gradient(x: torch.Tensor) -> torch.Tensor:
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                outputs = network(trained.end, x)
                loss = nn.functional.cross_entropy(outputs.flatten(0, 1), labels.flatten(), reduction="sum")
                return torch.autograd.grad(loss, x)[0]

        moved = attack.perturb(data.test_inputs.expand(4, *data.test_inputs.shape), gradient, lambda x: x, ())
        return accuracy(network, trained.end, moved, labels)

    assert (robust(hardened) > robust(plain) + 0.2).all()


def test_sharpness_aware_steps_are_those_of_a_plain_module() -> None:
    data = digits(SEEDS[:1])
    network = small("mlp", data, depth=1, width=16, normalization="batch")
    start = network.initialize(SEEDS[:1])
    trained = run(network, data, SEEDS[:1], start=start, steps=3, batch=None, algorithm=SAM(rho=0.3))
    module = nn.Sequential(nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10)).double()
    names = ["dense1.weight", "dense1.bias", "dense1.gamma", "dense1.beta", "output.weight", "output.bias"]
    parameters = [module[0].weight, module[0].bias, module[1].weight, module[1].bias, module[3].weight, module[3].bias]
    for name, parameter in zip(names, parameters, strict=True):
        parameter.data.copy_(start[name][0])
    x, y = data.inputs[data.index[0]].double(), data.labels[0]
    for _ in range(3):
        gradients = torch.autograd.grad(nn.functional.cross_entropy(module(x), y), parameters)
        length = torch.stack([g.norm() for g in gradients]).norm()
        here = [p.detach().clone() for p in parameters]
        statistics = module[1].running_mean.clone(), module[1].running_var.clone()
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.data.add_(gradient, alpha=0.3 / float(length))
        gradients = torch.autograd.grad(nn.functional.cross_entropy(module(x), y), parameters)
        module[1].running_mean.copy_(statistics[0])
        module[1].running_var.copy_(statistics[1])
        for parameter, gradient, before in zip(parameters, gradients, here, strict=True):
            parameter.data.copy_(before - 0.05 * gradient)
    for name, parameter in zip(names, parameters, strict=True):
        assert torch.allclose(trained.end[name][0].double(), parameter.detach(), atol=1e-5), name
    assert torch.allclose(trained.end["dense1.running_mean"][0].double(), module[1].running_mean, atol=1e-5)


@pytest.mark.parametrize("name", ["mlp", "vgg"])
@pytest.mark.parametrize("algorithm", [SGD(), SGD(momentum=0.9)], ids=["plain", "momentum"])
def test_a_batch_in_chunks_gives_the_gradient_of_the_whole(
    name: str, algorithm: SGD, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = digits(SEEDS, flatten=name == "mlp")
    network = small(name, data)
    whole = run(network, data, SEEDS, algorithm=algorithm, batch=None, steps=5)
    monkeypatch.setattr(training, "PASS_BYTES", 1)
    monkeypatch.setattr(training, "SMALLEST_CHUNK", 7)
    chunked = run(network, data, SEEDS, algorithm=algorithm, batch=None, steps=5)
    assert torch.allclose(whole.losses, chunked.losses, atol=1e-5)
    assert torch.allclose(whole.end.flat, chunked.end.flat, atol=1e-5)
    assert not torch.equal(whole.end.flat, chunked.end.flat)


@pytest.mark.parametrize(
    "attack", [PGD(0.1, steps=2, low=0.0, high=1.0), PGD(0.1, "l2", steps=2, restarts=2)], ids=["linf", "l2"]
)
@pytest.mark.parametrize("name", ["mlp", "vgg"])
def test_adversarial_examples_of_a_batch_in_chunks_are_those_of_the_whole(
    name: str, attack: PGD, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = digits(SEEDS, flatten=name == "mlp")
    network = small(name, data)
    whole = run(network, data, SEEDS, attack=attack, batch=None, steps=3)
    monkeypatch.setattr(training, "PASS_BYTES", 1)
    monkeypatch.setattr(training, "SMALLEST_CHUNK", 7)
    seen: list[int] = []
    evaluate = Network.__call__

    def watched(self: Network, weights: architectures.Weights, inputs: torch.Tensor, **options: bool) -> torch.Tensor:
        seen.append(inputs.shape[1])
        return evaluate(self, weights, inputs, **options)

    monkeypatch.setattr(Network, "__call__", watched)
    chunked = run(network, data, SEEDS, attack=attack, batch=None, steps=3)
    assert max(seen) <= training.PROBE_EXAMPLES < data.index.shape[1]
    assert torch.allclose(whole.losses, chunked.losses, atol=1e-4)
    assert torch.allclose(whole.end.flat, chunked.end.flat, atol=1e-4)


def test_an_autoencoder_reconstructs_its_inputs() -> None:
    data = digits(SEEDS)
    layers = (Dense("encode", 64, 32), Activation("relu"), Dense("decode", 32, 64))
    network = Network("autoencoder", layers, data.input_shape, 64)
    trained = run(network, data, SEEDS, loss="reconstruction", algorithm=Adam(), learning_rate=0.01, steps=300)
    x = data.first(100).inputs
    error = (network.evaluate(trained.end, x) - x).square().mean(dim=(1, 2))
    assert (error < 0.4 * x.var(dim=1).mean()).all()
    assert torch.allclose(trained.losses[:, -1], error, rtol=0.5)


@pytest.mark.parametrize("loss", ["mean-squared", "hinge", "exponential", "squared"])
def test_every_loss_trains(loss: str) -> None:
    data = digits(SEEDS)
    network = small("mlp", data, depth=1, width=32)
    trained = run(network, data, SEEDS, loss=loss, steps=200, learning_rate=0.01, algorithm=Adam())
    assert (training_accuracy(network, trained.end, data) > 0.8).all()


def test_a_mask_keeps_its_weights_at_zero() -> None:
    data = digits(SEEDS)
    network = small("mlp", data, depth=1, width=32)
    start = network.initialize(SEEDS)
    mask = (torch.rand(start.flat.shape, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    start.flat.mul_(mask)
    trained = run(network, data, SEEDS, start=start, algorithm=Masked(SGD(momentum=0.9), mask), weight_decay=0.01)
    assert (trained.end.flat[mask == 0] == 0).all()
    assert (trained.end.flat[mask == 1] != start.flat[mask == 1]).float().mean() > 0.5


def test_wrong_vectors_and_snapshots_are_refused() -> None:
    data = digits(SEEDS)
    network = small("mlp", data, depth=1, width=8)
    with pytest.raises(ShapeError, match=r"learning_rate must be a number or 4 numbers.*\(3,\) came"):
        run(network, data, SEEDS, learning_rate=[0.1, 0.1, 0.1])
    with pytest.raises(ShapeError, match="data are for 4 replicas, 2 seeds came"):
        run(network, data, SEEDS[:2])
    with pytest.raises(UsageError, match=r"between 0 and 12 steps, \[13\] came"):
        run(network, data, SEEDS, snapshots=(13,))


def test_dropout_follows_the_seeds_whatever_the_packing() -> None:
    data = digits(SEEDS)

    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Dropout(0.5), nn.LayerNorm(16), nn.Linear(16, 10))

    network = Network.from_module(make, input_shape=(64,), outputs=10)
    assert network.mode == "stacked"
    looped = Network.from_module(make, input_shape=(64,), outputs=10, fold=False)
    assert looped.mode == "looped"
    cohort, one_by_one = run(network, data, SEEDS), run(looped, data, SEEDS)
    assert torch.allclose(cohort.end.flat, one_by_one.end.flat, atol=1e-5)
    alone = run(network, digits(SEEDS[1:2]), SEEDS[1:2])
    assert torch.allclose(alone.end.flat[0], cohort.end.flat[1], atol=1e-5)
    elsewhere = run(network, data, SEEDS, start=network.initialize((7, 8, 9, 10)))
    again = run(network, data, SEEDS, start=network.initialize((7, 8, 9, 10)))
    assert torch.equal(elsewhere.end.flat, again.end.flat)


def test_running_statistics_of_a_module_are_estimated_by_its_own_momentum() -> None:
    data = digits(SEEDS)

    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(64, 8), nn.BatchNorm1d(8, momentum=0.3), nn.LayerNorm(8), nn.Linear(8, 10))

    network = Network.from_module(make, input_shape=(64,), outputs=10)
    weights = network.initialize(SEEDS)
    inputs = data.first(100).inputs
    settled = architectures.estimate_statistics(network, weights, inputs)
    hidden = torch.baddbmm(weights["0.bias"].unsqueeze(1), inputs, weights["0.weight"].transpose(1, 2))
    assert torch.allclose(settled["1.running_mean"], hidden.mean(dim=1), atol=1e-5)
    assert torch.allclose(settled["1.running_var"], hidden.var(dim=1), atol=1e-4)


class Gated(nn.Module):
    """No layer of refute's multiplies."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(64, 16), nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.one(x)
        return self.two(hidden * torch.sigmoid(hidden))


def test_replicas_of_a_module_that_torch_differentiates_share_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    data = digits(SEEDS)
    module, layers = Network.from_module(Gated, input_shape=(64,), outputs=10), small("mlp", data)
    assert module.by_autograd
    assert not layers.by_autograd
    monkeypatch.setattr(training, "CACHE_BYTES", 1)
    assert training._sizes(layers, layers.initialize(SEEDS), data, 20)[0] == 1
    assert training._sizes(module, module.initialize(SEEDS), data, 20)[0] > 1


@pytest.mark.parametrize(
    ("changed", "error", "text"),
    [
        ({"inputs": 5}, ShapeError, r"wrong takes inputs \(5,\) each, but digits has \(64,\)"),
        ({"outputs": 9}, UsageError, "wrong has 9 outputs, too few for the 10 classes of digits"),
        ({"batch": 0}, UsageError, "batch should be at least 1, or None for all examples, but is 0"),
    ],
)
def test_what_does_not_fit_is_refused(changed: dict[str, int], error: type[Exception], text: str) -> None:
    inputs, outputs, batch = ({"inputs": 64, "outputs": 10, "batch": 20} | changed).values()
    network = Network.from_module(
        lambda: nn.Linear(inputs, outputs), input_shape=(inputs,), outputs=outputs, name="wrong"
    )
    with pytest.raises(error, match=text):
        run(network, digits(SEEDS), SEEDS, batch=batch)
