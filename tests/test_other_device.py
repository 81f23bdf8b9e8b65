"""Everything that trains and measures, on a device that is not the CPU, against the same on the CPU.

The device is simulated (see `other_device`): it computes, and it refuses what CUDA refuses.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from other_device import Elsewhere, assert_close, cpu_only, fetched, other_device, sent
from torch import Tensor, nn

from refute import architectures, datasets, losses, training
from refute.algorithms import SAM, SGD, Adam, Clipped, Layca, Masked, Supermask, mask_of
from refute.architectures import Network, Readout, Weights, estimate_statistics, noise
from refute.attacks import FGSM, PGD
from refute.augmentation import RandomCrop, RandomFlip, RandomRotation, RandomShift
from refute.engine import default_workers, memory
from refute.instruments import accuracy, training_accuracy
from refute.randomness import stream
from refute.schedules import Cosine, Staircase, WarmUp
from refute.stopping import LossBelow, Patience
from refute.training import train

SEEDS = (3, 1, 4)


def both(work: Callable[..., Any], *given: Any) -> tuple[Any, Any]:
    """What `work` gives on the CPU, and on the other device."""
    here = work(*given)
    with other_device():
        there = fetched(work(*[sent(each) for each in given]))
    return here, there


# --- the device itself --------------------------------------------------------------------------------------------


def test_the_device_computes() -> None:
    drawn = torch.randn(4, 5)
    with other_device():
        there = drawn.to("meta")
        assert str(there.device) == "meta"
        assert torch.equal((there @ there.mT).cpu(), drawn @ drawn.mT)
        assert torch.tensor([1.0, 2.0], device="meta").tolist() == [1, 2]
        assert there.new_tensor([3]).item() == 3
        assert torch.as_tensor(np.ones(2), device="meta").sum().item() == 2
        assert torch.arange(3, device=there.device).sum() == 3
        assert isinstance(there.cpu(), Tensor)
        assert not isinstance(there.cpu(), Elsewhere)
        assert not isinstance(drawn + 1, Elsewhere)


def test_views_share_memory_there_and_keep_strides() -> None:
    with other_device():
        whole = torch.zeros(3, 4, device="meta")
        row, columns = whole[1], whole.mT
        row.add_(1)
        columns[0].mul_(5)
        torch.add(whole, 1, out=whole)
        whole[:, 3] = 9
        assert whole.tolist() == [[1, 1, 1, 9], [6, 2, 2, 9], [1, 1, 1, 9]]
        assert row.tolist() == [6, 2, 2, 9]
        assert not columns.is_contiguous()
        assert columns.contiguous().stride() == (3, 1)
        assert whole.add_(1) is whole


def test_the_device_differentiates_twice() -> None:
    def work(given: Tensor) -> Tensor:
        with torch.enable_grad():
            given = given.detach().requires_grad_()
            (first,) = torch.autograd.grad((given @ given).tanh().sum(), given, create_graph=True)
            (second,) = torch.autograd.grad(first.square().sum(), given)
        return second

    here, there = both(work, torch.randn(4, 4, dtype=torch.float64))
    torch.testing.assert_close(there, here, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "mixture",
    [
        lambda there: there + torch.zeros(3),
        lambda there: torch.zeros(3).add_(there),
        lambda there: there @ torch.eye(3),
        lambda there: torch.cat([there, torch.zeros(3)]),
        lambda there: torch.stack([there[0], torch.tensor(1.0)]),
        lambda there: torch.addcmul(there, there, torch.tensor(1.0)),
        lambda there: there.index_select(0, torch.tensor([1])),
        lambda there: there.gather(0, torch.tensor([1])),
        lambda there: torch.zeros(3)[there.long()],
        lambda there: there.index_put_((torch.tensor([0, 1]),), torch.zeros(2)),
        lambda there: torch.equal(there, torch.zeros(3)),
        lambda there: torch.where(there > 0, there, torch.zeros(3)),
        lambda there: torch.zeros(3).mul_(torch.ones(3, device=there.device)),
        lambda there: torch.add(there, 1, out=torch.zeros(3)),
    ],
)
def test_both_devices_in_one_operation_are_refused(mixture: Callable[[Tensor], Tensor]) -> None:
    with other_device(), pytest.raises(RuntimeError, match="same device"):
        mixture(torch.zeros(3, device="meta"))


def test_what_cuda_allows_of_both_devices_works() -> None:
    with other_device():
        there = torch.arange(3.0, device="meta")
        assert (there + torch.tensor(1.0)).tolist() == [1, 2, 3]
        assert there[torch.tensor([2, 0])].tolist() == [2, 0]
        assert there[torch.tensor([True, False, True])].tolist() == [0, 2]
        there[torch.tensor([0])] = 7.0
        there[1:].copy_(torch.zeros(2))
        assert torch.zeros(3).copy_(there).tolist() == [7, 0, 0]


@pytest.mark.parametrize(
    ("forbidden", "says"),
    [
        (lambda there: there.numpy(), "numpy"),
        (lambda there: np.asarray(there), "numpy"),
        (lambda there: there.data_ptr(), "out of reach"),
        (lambda there: there.untyped_storage(), "out of reach"),
        (lambda there: torch.rand(3, device=there.device, generator=stream(0, "x")), "generator"),
        (lambda there: torch.randperm(3, device=there.device, generator=stream(0, "x")), "generator"),
        (lambda there: there.normal_(generator=stream(0, "x")), "generator"),
        (lambda there: torch.histogram(there, 3), "Could not run"),
        (lambda there: torch.linalg.lstsq(torch.diag(there), there, driver="gelsd"), "driver"),
    ],
)
def test_what_cuda_refuses_is_refused(forbidden: Callable[[Tensor], Any], says: str) -> None:
    with other_device(), pytest.raises((TypeError, RuntimeError, NotImplementedError), match=says):
        forbidden(torch.ones(3, device="meta"))


def test_the_table_of_kernels_is_read() -> None:
    assert {"histogram.bin_ct", "mkldnn_rnn_layer"} <= cpu_only()
    assert not {"add.out", "mm", "native_batch_norm", "convolution_backward", "index.Tensor"} & cpu_only()


def test_a_tensor_left_on_the_cpu_is_seen() -> None:
    class Forgetful(SGD):
        """Makes its velocity without a device."""

        def start(self, weights: Weights) -> dict[str, Tensor]:
            return {"velocity": torch.zeros(weights.flat.shape)}

        def take(self, replicas: slice) -> SGD:
            return self

    data = digits()
    network = architectures.build("mlp", data.input_shape, 10, depth=1, width=4)
    with other_device(), pytest.raises(RuntimeError, match="same device"):
        train(network, sent(data), Forgetful(0.9), learning_rate=0.1, seeds=SEEDS, steps=2, batch=10)
    with pytest.raises(AssertionError, match="is on the CPU"):
        fetched({"left": torch.zeros(2)})


# --- what asks for a GPU by name ----------------------------------------------------------------------------------


class Card:
    """A GPU's generator and accounts, as torch.cuda tells of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.state, self.current, self.seeds = torch.tensor([7]), "cuda:0", []
        properties = SimpleNamespace(total_memory=1000)
        for name, function in {
            "get_rng_state": lambda device: self.state if str(device) == "cuda:1" else None,
            "set_rng_state": lambda state, device: setattr(self, "state", state),
            "manual_seed": self.manual_seed,
            "device": self.device,
            "get_device_properties": lambda device: properties,
            "mem_get_info": lambda device: (900, 1000),
            "reset_peak_memory_stats": lambda device: None,
            "max_memory_allocated": lambda device: 300,
        }.items():
            monkeypatch.setattr(torch.cuda, name, function)

    def manual_seed(self, seed: int) -> None:
        assert self.current == "cuda:1", "seeds go to the current GPU only"
        self.state = torch.tensor([seed])
        self.seeds.append(seed)

    @contextmanager
    def device(self, device: torch.device) -> Iterator[None]:
        self.current = str(device)
        yield
        self.current = "cuda:0"


def test_noise_on_a_gpu_is_of_each_replica_and_its_generator_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    card = Card(monkeypatch)
    drawn = []
    for replicas in ((0, 1), (1,)):
        streams = noise.Streams([stream(replica, "noise") for replica in replicas], torch.device("cuda:1"))
        for place in (*range(len(replicas)), 0):
            before = torch.get_rng_state()
            with streams.of(place):
                assert card.state.item() == card.seeds[-1]
                drawn.append((replicas[place], torch.rand(1).item(), card.seeds[-1]))
            assert card.state.item() == 7
            assert torch.equal(torch.get_rng_state(), before)
    first, second, again, alone, last = drawn
    assert second == alone, "a replica's noise does not depend on the others"
    assert len({one[1:] for one in (first, again, second, last)}) == 4


def test_noise_starts_with_the_device_of_its_states() -> None:
    with other_device() as device:
        states = torch.tensor([[1, 0], [2, 0]]).to(device)
        streams = noise.Streams.next(states)
        assert streams.device.type == device
        assert states.tolist() == [[1, 1], [2, 1]]


def test_the_memory_of_a_gpu_has_accounts_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    Card(monkeypatch)
    meter = memory.Meter("cuda:1")
    meter.start()
    assert meter.peak() == 300
    assert memory.share("cuda:1", 2) == int(memory.SAFE_SHARE * 900) // 2, "what is free, not what there is"
    assert memory.share("cuda:1", 2, 600) == 300
    assert default_workers("cuda:1") == 1


# --- training -----------------------------------------------------------------------------------------------------


class Case(NamedTuple):
    """A network, from the shape of its inputs, and how it is trained; `options` gets (network, data)."""

    network: Callable[[tuple[int, ...]], Network]
    options: Callable[[Network, datasets.Data], dict[str, Any]] = lambda network, data: {}
    load: Mapping[str, Any] = MappingProxyType({})


def digits(**options: Any) -> datasets.Data:
    return datasets.load("digits", **{"train": 40, "test": 30, "seeds": SEEDS, **options})


def built(name: str, **options: Any) -> Callable[[tuple[int, ...]], Network]:
    return lambda shape: architectures.build(name, shape, 10, **options)


def of_module(make: Callable[[], nn.Module], **options: Any) -> Callable[[tuple[int, ...]], Network]:
    return lambda shape: Network.from_module(make, input_shape=shape, outputs=10, **options)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.drop, self.head = nn.LSTM(8, 6, batch_first=True), nn.Dropout(0.3), nn.Linear(6, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.drop(self.body(images.squeeze(1))[0][:, -1]))


class Attentive(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.TransformerEncoderLayer(8, 2, 12, 0.2, batch_first=True)
        self.head = nn.Linear(8, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.body(images.squeeze(1)).mean(1))


class Branches(nn.Module):
    """No chain: it has a shortcut, normalization and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 4, 3, 2, 1), nn.BatchNorm2d(4)
        self.body, self.drop, self.head = nn.Conv2d(4, 4, 3, 1, 1), nn.Dropout(0.2), nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        stem = torch.relu(self.norm(self.stem(images)))
        return self.head(self.drop((stem + torch.tanh(self.body(stem))).flatten(1)))


def plain_chain() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 10))


MLP = built("mlp", depth=2, width=12)
NORMALIZED = built("mlp", depth=2, width=12, normalization="batch")
IMAGES = built("vgg", multiplier=0.25)
PER_REPLICA = {"learning_rate": [0.1, 0.02, 0.05], "weight_decay": [0.0, 0.01, 0.1]}


def algorithm(make: Callable[[Network, datasets.Data], Any], **options: Any) -> Any:
    return lambda network, data: {"algorithm": make(network, data), **options}


def one_column(data: datasets.Data, *values: float) -> Tensor:
    return torch.tensor(values).view(-1, 1).to(data.inputs.device)


def layca(network: Network, data: datasets.Data) -> Layca:
    idle = torch.zeros(3, 1, device=data.inputs.device)
    return Layca(SGD(0.9), {"dense1.weight": one_column(data, 1.0, 0.5, 0.0)}, idle)


def masked(network: Network, data: datasets.Data) -> Masked:
    weights = network.initialize(SEEDS, device=str(data.inputs.device))
    kept = torch.rand(weights["dense1.weight"].shape[1:], generator=stream(0, "mask")) < 0.5
    return Masked(Clipped(SAM(SGD(0.9)), 0.5), mask_of(weights, {"dense1.weight": kept}))


def supermask(network: Network, data: datasets.Data) -> dict[str, Any]:
    initial = network.initialize(SEEDS, device=str(data.inputs.device))
    chosen = Supermask(SGD(0.9), initial, torch.zeros_like(initial.flat), SEEDS, rescaled=True)
    return {"algorithm": chosen, "start": chosen.draw(0)}


def lazy(network: Network, data: datasets.Data) -> dict[str, Any]:
    start = network.initialize(SEEDS, device=str(data.inputs.device))
    return {"start": start, "readout": Readout(torch.full((3,), 5.0, device=data.inputs.device), start)}


def patience(network: Network, data: datasets.Data) -> dict[str, Any]:
    def score(weights: Weights, replicas: Tensor) -> Tensor:
        chosen = data.labels[replicas]
        return accuracy(network, weights, data.inputs[data.index[replicas]], chosen)

    return {"stop": Patience(score, every=1, patience=1), "steps": 6}


FLAT = {"flatten": True}
CASES = {
    "mlp": Case(MLP, load=FLAT),
    "mlp, not flattened": Case(MLP),
    "normalized mlp": Case(NORMALIZED, load=FLAT),
    "chain of convolutions": Case(built("vgg", multiplier=0.25, normalization="none")),
    "normalized chain of convolutions": Case(IMAGES),
    "convnet": Case(built("convnet")),
    "lenet": Case(built("lenet"), load=FLAT),
    "resnet": Case(built("resnet", multiplier=0.5)),
    "residual mlp": Case(built("residual-mlp", blocks=2, width=8), load=FLAT),
    "constant width": Case(built("constant-width", kind="conv", blocks=2, width=6, normalization="batch")),
    "layer norm": Case(built("normalized", depth=2, width=8, normalization="layer", mean=(0.3,), deviation=(0.4,))),
    "strides": Case(built("normalized", body="conv", normalization="batch")),
    "module, chain": Case(of_module(plain_chain)),
    "module, folded": Case(of_module(Branches)),
    "module, looped": Case(of_module(Branches, fold=False)),
    "lstm": Case(of_module(Recurrent)),
    "lstm, looped": Case(of_module(Recurrent, fold=False)),
    "transformer": Case(of_module(Attentive)),
    "transformer, looped": Case(of_module(Attentive, fold=False)),
    "momentum": Case(MLP, algorithm(lambda n, d: SGD(0.9), **PER_REPLICA), FLAT),
    "nesterov": Case(MLP, algorithm(lambda n, d: SGD(0.9, nesterov=True), **PER_REPLICA), FLAT),
    "momentum by replica": Case(MLP, algorithm(lambda n, d: SGD(one_column(d, 0.0, 0.5, 0.9))), FLAT),
    "adam": Case(MLP, algorithm(lambda n, d: Adam(), learning_rate=0.01, weight_decay=0.1), FLAT),
    "adam, wide": Case(
        built("mlp", depth=1, width=150), algorithm(lambda n, d: Adam(), learning_rate=0.01, weight_decay=0.1), FLAT
    ),
    "adamw": Case(MLP, algorithm(lambda n, d: Adam(decoupled=True), learning_rate=0.01, weight_decay=0.1), FLAT),
    "sam": Case(NORMALIZED, algorithm(lambda n, d: SAM(SGD(0.9), one_column(d, 0.0, 0.05, 0.2))), FLAT),
    "adaptive sam": Case(IMAGES, algorithm(lambda n, d: SAM(SGD(0.9), adaptive=True))),
    "layca": Case(MLP, algorithm(layca, learning_rate=0.1), FLAT),
    "masked, clipped, sam": Case(MLP, algorithm(masked, **PER_REPLICA), FLAT),
    "clipped by replica": Case(MLP, algorithm(lambda n, d: Clipped(Adam(), one_column(d, 0.1, 1, 9))), FLAT),
    "supermask": Case(MLP, supermask, FLAT),
    "full batch": Case(MLP, lambda n, d: {"batch": None}, FLAT),
    "staircase": Case(MLP, lambda n, d: {"schedule": Staircase((0.4, 0.8))}, FLAT),
    "warm-up and cosine": Case(MLP, lambda n, d: {"schedule": WarmUp(2, Cosine())}, FLAT),
    "label noise": Case(MLP, load={**FLAT, "label_noise": [0.0, 0.2, 0.5], "standardize": True}),
    "augmentation": Case(
        IMAGES,
        lambda n, d: {"augmentations": (RandomCrop(2), RandomFlip(), RandomRotation(), RandomShift(1))},
    ),
    "pgd": Case(MLP, lambda n, d: {"attack": PGD(0.1, steps=2, restarts=2, low=0.0, high=1.0)}, FLAT),
    "pgd, l2": Case(IMAGES, lambda n, d: {"attack": PGD(one_column(d, 0.1, 0.2, 0.0).flatten(), "l2", steps=2)}),
    "fgsm": Case(MLP, lambda n, d: {"attack": FGSM(0.1)}, FLAT),
    "early stop": Case(MLP, lambda n, d: {"stop": LossBelow(2.2), "steps": 6, "snapshots": (0, 3, 6)}, FLAT),
    "early stop by replica": Case(
        NORMALIZED, lambda n, d: {"stop": LossBelow(one_column(d, 9, 1, 0).flatten()), "algorithm": SGD(0.9)}, FLAT
    ),
    "patience": Case(MLP, patience, FLAT),
    "snapshots": Case(NORMALIZED, lambda n, d: {"snapshots": (0, 2, 4)}, FLAT),
    "lazy": Case(MLP, lazy, FLAT),
    "reconstruction": Case(
        lambda shape: architectures.build("mlp", shape, 64, depth=1, width=8),
        lambda n, d: {"loss": "reconstruction"},
        FLAT,
    ),
    "convolutional autoencoder": Case(
        lambda shape: architectures.build("autoencoder", shape, 64, kind="conv", depth=2, width=8),
        lambda n, d: {"loss": "reconstruction"},
    ),
    "image to image": Case(
        lambda shape: architectures.build("image-to-image", shape, 64, kind="residual", depth=2, width=4),
        lambda n, d: {"loss": "reconstruction"},
    ),
    **{
        f"loss, {name}": Case(MLP, lambda n, d, name=name: {"loss": name, "learning_rate": 0.01}, FLAT)
        for name in losses.LOSSES
        if name not in ("reconstruction", "logistic")
    },
    **{
        f"loss of one output, {name}": Case(
            lambda shape: architectures.build("mlp", shape, 1, depth=1, width=8),
            lambda n, d, name=name: {"loss": name, "learning_rate": 0.01},
            {**FLAT, "classes": (3, 8)},
        )
        for name in ("squared", "mean-squared", "hinge", "exponential", "logistic")
    },
}


@pytest.mark.parametrize("name", CASES)
def test_training_is_that_of_the_cpu(name: str) -> None:
    case = CASES[name]
    data = digits(**case.load)
    network = case.network(data.input_shape)

    def work(data: datasets.Data) -> Any:
        settings = {"learning_rate": 0.05, "steps": 4, "batch": 15, **case.options(network, data)}
        run = train(network, data, seeds=SEEDS, **settings)
        measured = run.readout.of(network, network.evaluate(run.end, data.test_inputs), data.test_inputs)
        found = {"start": run.start, "end": run.end, "snapshots": dict(run.snapshots), "outputs": measured}
        found |= {"losses": run.losses, "taken": run.taken, "diverged": run.diverged}
        if settings.get("loss") != "reconstruction":
            found["train accuracy"] = training_accuracy(network, run.end, data, readout=run.readout)
            found["accuracy"] = accuracy(network, run.end, data.test_inputs, data.test_labels, readout=run.readout)
        if network.mixes:
            found["settled"] = estimate_statistics(network, run.end, data.first(20).inputs)
        if isinstance(settings.get("algorithm"), Layca):
            found["idle"] = settings["algorithm"].idle
        return found

    here, there = both(work, data)
    assert here["losses"].isfinite().any()
    assert_close(there, here, rtol=2e-4, atol=2e-5)  # float32: all replicas at once there, a few at a time on the CPU


def test_a_batch_that_needs_more_memory_than_a_pass_may_take_goes_through_in_chunks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(training, "SMALLEST_CHUNK", 7)
    data = digits()
    network = IMAGES(data.input_shape)
    options: dict[str, Any] = {"learning_rate": 0.05, "steps": 2, "batch": None, "attack": FGSM(0.1)}
    whole = train(network, data, seeds=SEEDS, **options)
    seen: list[int] = []
    value_and_gradient = losses.CrossEntropy.value_and_gradient

    def watched(self: losses.CrossEntropy, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(outputs.shape[1])
        return value_and_gradient(self, outputs, targets)

    monkeypatch.setattr(losses.CrossEntropy, "value_and_gradient", watched)

    def work(data: datasets.Data) -> Any:
        run = train(network, data, seeds=SEEDS, **options)
        return {"losses": run.losses, "end": run.end}

    monkeypatch.setattr(training, "DEVICE_PASS_BYTES", 1)
    here, there = both(work, data)
    assert min(seen) <= 7, "on the other device, in chunks"
    assert max(seen) == data.index.shape[1], "here all at once"
    for found in (here, there):
        assert_close(found, {"losses": whole.losses, "end": whole.end}, rtol=2e-4, atol=2e-5)


def test_a_factory_may_make_modules_there_and_examples_may_be_there() -> None:
    data = digits()
    own = Network.from_module(Branches, input_shape=data.input_shape, outputs=10)
    with other_device() as device:
        there = sent(data)
        network = Network.from_module(
            lambda: Branches().to(device),
            input_shape=data.input_shape,
            outputs=10,
            examples=there.inputs[:20],
        )
        assert type(network.layers[0]) is type(own.layers[0])
        run = fetched(train(network, there, learning_rate=0.05, seeds=SEEDS, steps=3, batch=15))
    assert_close(run, train(own, data, learning_rate=0.05, seeds=SEEDS, steps=3, batch=15), rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("options", [{}, {"flatten": True, "label_noise": 0.2, "validation": 10, "size": 4}])
def test_data_are_loaded_to_the_device(options: dict[str, Any]) -> None:
    with other_device() as device:
        there = fetched(digits(device=device, **options))
    assert_close(there, digits(**options), rtol=0, atol=0)
