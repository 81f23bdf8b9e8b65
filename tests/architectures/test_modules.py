"""Any module as a layer: which way it is run and why, noise, buffers."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from refute import datasets
from refute.architectures import Network, Weights, folded, noise
from refute.architectures.folded import Folded
from refute.architectures.looped import Looped, MakeModule
from refute.architectures.modules import as_layer, draw
from refute.errors import UsageError
from refute.training import train


class Mixing(nn.Module):
    """Subtracts the mean over the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        found = self.dense(x)
        return found - found.mean(0)


class Product(nn.Module):
    """A layer of unknown kind, with a matrix of its own."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.eye(width))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.matrix


class Scaled(nn.Module):
    """A module that owns a vector and a scalar, for activations of any number of axes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.scale, self.shift = nn.Parameter(torch.ones(width)), nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(x) * self.scale + self.shift


class Positioned(nn.Module):
    """Adds learned positions of shape (1, time, width) and a first token, as vision transformers do."""

    def __init__(self) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.zeros(1, 4, 6))
        self.first = nn.Parameter(torch.zeros(1, 1, 6))
        self.body = nn.TransformerEncoderLayer(6, 2, 8, 0.0, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.first.expand(len(x), -1, -1), x], dim=1)
        found: Tensor = self.body(x + self.positions)[:, 0]
        return found


class Placed(nn.Module):
    """Adds learned positions of shape (time, width)."""

    def __init__(self) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.randn(3, 6))
        self.body = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.body(torch.tanh(x + self.positions)).mean(1)
        return found


class Averaging(nn.Module):
    """Replaces a buffer, rather than changing it in place."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(4, 2)
        self.register_buffer("average", torch.zeros(2))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.dense(x)
        if self.training:
            self.average = 0.9 * self.average + 0.1 * found.detach().mean(0)
        return found - self.average


class Calling(nn.Module):
    """Calls a function on the outputs of a dense layer."""

    def __init__(self, function: Callable[[Tensor, bool], Tensor]) -> None:
        super().__init__()
        self.dense, self.function = nn.Linear(4, 4), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.dense(x), self.training)


def dropout(x: Tensor, training: bool) -> Tensor:
    return nn.functional.dropout(x, 0.4, training)


def whole_layers(x: Tensor, training: bool) -> Tensor:
    """All examples share one random number, as in layer dropout."""
    return x * torch.rand(()) if training else x


def weights_of(make: MakeModule, layer: Folded | Looped, seeds: tuple[int, ...]) -> dict[str, Tensor]:
    drawn = [draw(make, seed) for seed in seeds]
    return {slot.name: torch.stack([each[slot.name] for each in drawn]) for slot in layer.slots()}


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (Mixing, "examples of a batch act on one another"),
        (lambda: nn.Sequential(Product(4)), "0 (Product) owns weights"),
        (lambda: Product(4), "the module itself (Product) owns weights"),
        (lambda: Calling(whole_layers), "random numbers for all replicas together"),
        (lambda: Calling(lambda x, _: x / x.abs().max()), "examples of a batch act on one another"),
    ],
)
def test_what_cannot_be_folded_is_looped_and_says_why(make: MakeModule, why: str) -> None:
    layer = as_layer(make, (4,))
    assert isinstance(layer, Looped)
    assert layer.loops
    assert why in layer.why


def test_small_layers_of_unknown_kind_are_run_replica_by_replica_in_their_place() -> None:
    layer = as_layer(lambda: nn.Sequential(nn.Linear(4, 4), Product(4), nn.Linear(4, 2)), (4,))
    assert isinstance(layer, Folded)
    assert layer.inside == ("1 (Product)",)
    assert not layer.loops


def test_weights_that_lead_with_one_are_spread_over_examples() -> None:
    layer = as_layer(Positioned, (3, 6))
    assert isinstance(layer, Folded)
    assert not layer.inside


@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 4)])
def test_scalars_and_vectors_are_spread_over_examples(shape: tuple[int, ...]) -> None:
    layer = as_layer(lambda: Scaled(4), shape)
    assert isinstance(layer, Folded)
    assert not layer.inside


def test_a_module_met_twice_is_folded_once() -> None:
    def make() -> nn.Module:
        dense = nn.Linear(4, 4)
        return nn.Sequential(nn.Sequential(dense, nn.Tanh()), nn.Sequential(dense, nn.Tanh()))

    layer = as_layer(make, (4,))
    assert isinstance(layer, Folded)
    assert [slot.name for slot in layer.slots()] == ["0.0.weight", "0.0.bias"]


def test_small_matrices_are_repeated_for_every_example() -> None:
    layer, looped = (as_layer(Placed, (3, 6), fold=fold) for fold in (True, False))
    assert isinstance(layer, Folded)
    assert not layer.loops
    weights, inputs = weights_of(Placed, layer, (1, 2)), torch.randn(2, 5, 3, 6)
    assert torch.allclose(layer.apply(inputs, weights, True), looped.apply(inputs, weights, True), atol=1e-6)


def test_large_matrices_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folded, "SPREAD", 17)
    assert as_layer(Placed, (3, 6)).why == "the module itself (Placed) owns weights"


def test_convolutions_want_one_replica_at_a_time() -> None:
    layer = as_layer(lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 2)), (1, 8, 8))
    assert isinstance(layer, Folded)
    assert layer.loops


@pytest.mark.parametrize("function", [dropout, lambda x, t: nn.functional.alpha_dropout(x, 0.4, t)])
def test_functions_that_draw_random_numbers_are_folded(function: Callable[[Tensor, bool], Tensor]) -> None:
    layer = as_layer(lambda: Calling(function), (4,))
    assert isinstance(layer, Folded)
    assert layer.noisy


@pytest.mark.parametrize("fold", [True, False])
def test_packing_changes_no_mask_and_every_pass_draws_anew(fold: bool) -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 8), nn.Dropout(0.5))

    layer = as_layer(make, (4,), fold=fold)
    inputs = torch.randn(3, 5, 4)
    together = weights_of(make, layer, (1, 2, 3))
    before = torch.get_rng_state()
    first, second = (layer.apply(inputs, together, True) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.equal(first == 0, second == 0)
    assert not torch.equal(first[0] == 0, first[1] == 0)
    for replica, seed in enumerate((1, 2, 3)):
        alone = weights_of(make, layer, (seed,))
        own = inputs[replica : replica + 1]
        for found in (first, second):
            assert torch.allclose(layer.apply(own, alone, True)[0], found[replica], atol=1e-6)
    assert together[noise.STATE][:, 1].tolist() == [2, 2, 2]
    evaluated = layer.apply(inputs, together, False)
    assert torch.equal(evaluated, layer.apply(inputs, together, False))
    assert together[noise.STATE][:, 1].tolist() == [2, 2, 2]


def test_replaced_buffers_are_kept_for_every_replica() -> None:
    layer = as_layer(Averaging, (4,))
    assert isinstance(layer, Looped)
    assert layer.mixes
    weights = weights_of(Averaging, layer, (1, 2))
    inputs = torch.randn(2, 6, 4)
    with torch.no_grad():
        layer.apply(inputs, weights, True)
    for replica, seed in enumerate((1, 2)):
        tensors = draw(Averaging, seed)
        outputs = inputs[replica] @ tensors["dense.weight"].T + tensors["dense.bias"]
        assert torch.allclose(weights["average"][replica], 0.1 * outputs.mean(0), atol=1e-6)


def test_frozen_parameters_are_not_trained() -> None:
    def make() -> nn.Module:
        module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
        module[0].weight.requires_grad_(False)
        return module

    layer = as_layer(make, (4,))
    assert {slot.name for slot in layer.slots() if slot.buffer} == {"0.weight"}


def test_names_are_the_modules_own_and_tied_weights_come_once() -> None:
    def make() -> nn.Module:
        module = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4))
        module[2].weight = module[0].weight
        return module

    layer = as_layer(make, (4,))
    module = make()
    assert [s.name for s in layer.slots() if not s.buffer] == [name for name, _ in module.named_parameters()]
    assert [s.name for s in layer.slots() if s.buffer] == [name for name, _ in module.named_buffers()]
    units = [slot.name.split(".")[0] for slot in layer.slots()]
    assert units == sorted(units), "tensors of a module stand side by side"
    assert layer.momenta == {"1.running_mean": 0.1, "1.running_var": 0.1}


def test_whether_examples_mix_is_measured() -> None:
    assert not as_layer(lambda: nn.Linear(4, 2), (4,)).mixes
    assert as_layer(lambda: nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2)), (4,)).mixes
    assert as_layer(Mixing, (4,)).mixes


def test_inputs_that_the_module_does_not_take_are_refused() -> None:
    with pytest.raises(UsageError, match="takes no inputs"):
        as_layer(lambda: nn.Linear(4, 2), (5,))
    with pytest.raises(UsageError, match="lazy"):
        as_layer(lambda: nn.LazyLinear(2), (5,))
    with pytest.raises(UsageError, match="must return a tensor"):
        as_layer(lambda: Calling(lambda x, _: {"found": x}), (4,))  # type: ignore[arg-type,return-value]


def test_whole_numbers_are_found_out_or_named() -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 2))

    assert isinstance(as_layer(make, (3,)), Folded)
    assert isinstance(as_layer(make, (3,), input_dtype=torch.int64), Folded)
    assert isinstance(as_layer(make, (3,), examples=torch.randint(0, 9, (30, 3))), Folded)


def test_second_derivatives_are_those_of_the_looped_module() -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Tanh(), nn.Linear(4, 2))

    found = []
    for fold in (True, False):
        layer = as_layer(make, (3,), fold=fold)
        weights = {name: t.double().requires_grad_() for name, t in weights_of(make, layer, (1, 2)).items()}
        inputs = torch.linspace(-1, 1, 30, dtype=torch.float64).view(2, 5, 3)
        loss = layer.apply(inputs, weights, True).square().sum()
        gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
        along = sum((g * g.detach()).sum() for g in gradients)
        assert isinstance(along, Tensor)
        found.append(torch.autograd.grad(along, list(weights.values())))
    for ours, theirs in zip(*found, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-9)


@pytest.mark.parametrize("fold", [True, False])
def test_a_replica_alone_is_trained_as_in_a_cohort(fold: bool) -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(64, 16), nn.BatchNorm1d(16), nn.GELU(), nn.Dropout(0.2), nn.Linear(16, 10))

    layer = as_layer(make, (64,), fold=fold)
    network = Network("own", (layer,), (64,), 10, lambda seed: draw(make, seed))

    def run(seeds: tuple[int, ...]) -> Weights:
        data = datasets.load("digits", train=100, seeds=seeds, flatten=True)
        return train(network, data, learning_rate=0.1, seeds=seeds, steps=8, batch=20).end

    cohort = run((1, 2, 3))
    for replica, seed in enumerate((1, 2, 3)):
        alone = run((seed,))
        for name in cohort:
            assert torch.allclose(alone[name][0].double(), cohort[name][replica].double(), atol=1e-5), name


@pytest.mark.parametrize("normalizes_data", [True, False])
def test_channels_lie_together_unless_groups_of_the_data_are_normalized(normalizes_data: bool) -> None:
    """torch's backward pass of such a GroupNorm ends the process."""

    def make() -> nn.Module:
        first = [nn.GroupNorm(1, 2)] if normalizes_data else []
        return nn.Sequential(*first, nn.Conv2d(2, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(100, 3))

    layer = as_layer(make, (2, 5, 5))
    assert isinstance(layer, Folded)
    assert layer.channels_last is not normalizes_data
    assert as_layer(make, (2, 5, 5), fold=False).channels_last is not normalizes_data


def test_modules_of_all_replicas_at_once_are_evaluated_on_smaller_batches() -> None:
    """What they hand from layer to layer is more than for dense nets: times, heads."""

    class Read(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(3, 4, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.lstm(x)[0][:, -1]

    together = Network.from_module(Read, input_shape=(5, 3), outputs=4)
    alone = Network.from_module(Read, input_shape=(5, 3), outputs=4, fold=False)
    dense = Network.from_module(lambda: nn.Linear(3, 4), input_shape=(3,), outputs=4)
    assert (together.evaluation_batch, alone.evaluation_batch, dense.evaluation_batch) == (250, 256, 1000)
