"""Plain SGD that starts where random labels were fitted reaches all training labels and generalizes worse."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from refute import architectures, datasets
from refute.algorithms import SGD
from refute.architectures import Network, Weights
from refute.augmentation import RandomCrop, RandomFlip, RandomShift
from refute.core import (
    Claim,
    Cohort,
    Condition,
    Grid,
    Level,
    Lines,
    Phenomenon,
    Protocol,
    Quantity,
    RankCorrelation,
    Source,
    Value,
    at_least,
    at_most,
    looped,
    within,
)
from refute.datasets import Data
from refute.instruments import accuracy, training_accuracy
from refute.instruments.trace import trace
from refute.randomness import stream
from refute.schedules import Constant, Cosine, Schedule, Staircase
from refute.stopping import LossBelow
from refute.training import Run, train

TO_THE_FIT = -1
"""Phase 1 goes on until the confusion set is fitted."""
LABELS = ("random", "true", "permuted")
"""What the copies of phase 1 are labelled with."""
RECIPES = ("plain", "augment", "decay", "momentum", "full")
STARTS = ("fresh", "random", "true", "permuted", "shuffled")
"""A fresh initialization; the ends of phase 1 by its labels; the end on random labels with entries shuffled."""
FITTED_LOSS = 0.03
"""Mean loss over an epoch of phase 1 at which nearly every label of the confusion set is fitted."""
MATCHED_LOSS = 0.01
POINTS = 24
"""Moments of phase 2 that are looked at."""
TRACE_PRODUCTS, TRACE_EXAMPLES = 12, 400


class Phase(NamedTuple):
    """Where training begins, by name, and the share of the confusion set with random labels that was fitted."""

    starts: dict[str, Weights]
    fitted: Tensor


class Second(NamedTuple):
    """One start and recipe after phase 2: (replica,), curves (replica, moment)."""

    test: Tensor
    train: Tensor
    norm: Tensor
    finite: Tensor
    test_curve: Tensor
    matched: Tensor
    matched_weights: Weights


def trial(cohort: Cohort) -> dict[str, Any]:
    """Both phases for every start and recipe of one seed; every tensor leads with the axis replica."""
    data = _data(cohort)
    network = _network(cohort, data)
    phase = _first_phase(cohort, network, data)
    dose = int(cohort["epochs"]) != TO_THE_FIT or int(cohort["copies"]) != int(cohort.setting("copies_of_claims"))
    recipes = ("plain",) if dose else RECIPES if cohort.setting("controls") else ("plain", "full")
    found: dict[tuple[str, str], Second] = {}
    for recipe in recipes:
        wanted = list(phase.starts) if recipe == "plain" else ["fresh", "random"]
        found |= _second_phase(cohort, network, data, {name: phase.starts[name] for name in wanted}, recipe)
    epochs = [round(step / _per_epoch(cohort), 2) for step in _moments(cohort)]
    return _measured(cohort, network, data, phase, found, epochs)


def _measured(
    cohort: Cohort,
    network: Network,
    data: Data,
    phase: Phase,
    found: Mapping[tuple[str, str], Second],
    epochs: Sequence[float],
) -> dict[str, Any]:
    nothing = torch.full((len(cohort),), math.nan, dtype=torch.float64, device=cohort.device)

    def gap(start: str, recipe: str = "plain") -> Tensor:
        """Points of test accuracy that a start costs against a fresh one."""
        if (start, recipe) not in found:
            return nothing
        return 100 * (found["fresh", recipe].test - found[start, recipe].test)

    def fitted(*pairs: tuple[str, str]) -> Tensor:
        known = [found[pair].train for pair in pairs if pair in found]
        return torch.stack(known).amin(dim=0) if len(known) == len(pairs) else nothing

    def norm_ratio(recipe: str) -> Tensor:
        if ("random", recipe) not in found:
            return nothing
        return (found["random", recipe].norm / found["fresh", recipe].norm).log()

    plain, fresh = found["random", "plain"], found["fresh", "plain"]
    full = found.get(("fresh", "full"))
    curves = {
        f"test_{start}_{recipe}": (
            (100 * found[start, recipe].test_curve).round(decimals=2)
            if (start, recipe) in found
            else torch.full((len(cohort), len(epochs)), math.nan),
            (list(epochs),),
        )
        for start in ("fresh", "random")
        for recipe in ("plain", "full")
    }
    return {
        "confusion_accuracy": phase.fitted,
        "accuracy_fresh": 100 * fresh.test,
        "accuracy_adversarial": 100 * plain.test,
        "gap": gap("random"),
        "gap_matched": 100 * (fresh.matched - plain.matched),
        "gap_full": gap("random", "full"),
        "gap_augment": gap("random", "augment"),
        "gap_decay": gap("random", "decay"),
        "gap_momentum": gap("random", "momentum"),
        "rescue": gap("random") - gap("random", "full"),
        "fair": nothing if full is None else 100 * (full.test - fresh.test),
        "gap_true": gap("true"),
        "permuted_excess": gap("permuted") - gap("random") / 3,
        "shuffled_excess": gap("shuffled") - gap("random") / 2,
        "fitted": fitted(("fresh", "plain"), ("random", "plain")),
        "fitted_full": fitted(("fresh", "full"), ("random", "full")),
        "fitted_controls": fitted(*((start, "plain") for start in STARTS)),
        "norm_ratio": norm_ratio("plain"),
        "norm_ratio_full": norm_ratio("full"),
        "trace_ratio": nothing if full is None else _trace_ratio(cohort, network, data, plain, fresh),
        **curves,
        "diverged": ~torch.stack([one.finite for one in found.values()]).all(dim=0),
    }


# --- phase 1 ------------------------------------------------------------------------------------------------------


def _data(cohort: Cohort) -> Data:
    name, size = cohort["dataset"], int(cohort.setting("size"))
    return datasets.load(
        name,
        train=int(cohort.setting("examples")),
        test=int(cohort.setting("test")),
        seeds=cohort.seeds,
        size=size if size and name != "digits" else None,
        grayscale=name == "cifar10" and bool(cohort.setting("grayscale")),
        standardize=True,
        device=cohort.device,
    )


def _network(cohort: Cohort, data: Data) -> Network:
    match cohort["architecture"]:
        case "mlp":
            return architectures.build(
                "mlp", data.input_shape, data.classes, depth=2, width=int(cohort.setting("width"))
            )
        case "conv":
            return architectures.build("convnet", data.input_shape, data.classes, variant="strided-wide")
        case "resnet-18":
            return architectures.build("resnet", data.input_shape, data.classes)
        case other:
            return architectures.build("vgg", data.input_shape, data.classes, variant=str(other).removeprefix("vgg-"))


def confusion_set(data: Data, copies: int, share: float, seeds: Sequence[int]) -> dict[str, Data]:
    """Copies of every replica's training images with a share of their entries made black, under three kinds of labels.

    Args:
        data: of the cohort.
        copies: of every image.
        share: of the entries (pixel x channel) of each copy, drawn without replacement, that become black: the
            smallest number among the inputs, since inputs are standardized and black is 0 before.
        seeds: one per replica.

    Returns:
        "random" (uniform over all classes, an own draw for every copy), "true", "permuted" (the true classes under
        other names, one permutation per replica): the same images in each.
    """
    replicas, count = data.index.shape
    entries = math.prod(data.input_shape)
    zeros, black = round(share * entries), data.inputs.min().item()
    images, random_labels, renamed = [], [], []
    for replica, seed in enumerate(seeds):
        generator = stream(seed, "confusion set")
        own = data.inputs[data.index[replica]].repeat(copies, *(1 for _ in data.input_shape)).flatten(1).clone()
        order = torch.rand(len(own), entries, generator=generator).argsort(dim=1)[:, :zeros]
        images.append(own.scatter_(1, order.to(own.device), black))
        random_labels.append(torch.randint(data.classes, (len(own),), generator=generator))
        names = torch.randperm(data.classes, generator=generator).to(data.labels.device)
        renamed.append(names[data.labels[replica]].repeat(copies))
    index = torch.arange(replicas * copies * count, device=data.inputs.device).view(replicas, copies * count)
    true = data.labels.repeat(1, copies)
    kinds = {
        "random": torch.stack(random_labels).to(data.labels.device),
        "true": true,
        "permuted": torch.stack(renamed),
    }
    inputs = torch.cat(images).view(-1, *data.input_shape)
    return {
        kind: replace(data, inputs=inputs, index=index, labels=labels, clean_labels=labels)
        for kind, labels in kinds.items()
    }


def _first_phase(cohort: Cohort, network: Network, data: Data) -> Phase:
    copies, epochs = int(cohort["copies"]), int(cohort["epochs"])
    sets = confusion_set(data, copies, float(cohort.setting("zeroed")), cohort.seeds)
    kinds = LABELS if cohort.setting("controls") and epochs == TO_THE_FIT else ("random",)
    fresh = network.initialize(cohort.seeds, device=cohort.device)
    starts, fitted = {"fresh": fresh}, torch.zeros(len(cohort), dtype=torch.float64)
    batch = int(cohort.setting("batch"))
    per_epoch = math.ceil(sets["random"].index.shape[1] / batch)
    for kind in kinds:
        most = int(cohort.setting("budget")) if epochs == TO_THE_FIT else epochs
        run = train(
            network,
            sets[kind],
            SGD(momentum=float(cohort.setting("first_momentum"))),
            learning_rate=float(cohort.setting("first_rate")),
            seeds=cohort.seeds,
            steps=most * per_epoch,
            batch=batch,
            stop=LossBelow(FITTED_LOSS, window=per_epoch, every=per_epoch) if epochs == TO_THE_FIT else None,
            start=fresh,
        )
        starts[kind] = run.end
        if kind == "random":
            fitted = training_accuracy(network, run.end, sets[kind])
    if cohort.setting("controls") and epochs == TO_THE_FIT:
        starts["shuffled"] = shuffled(starts["random"], cohort.seeds)
    return Phase(starts, fitted)


def shuffled(weights: Weights, seeds: Sequence[int]) -> Weights:
    """The same numbers in every tensor in another order: norms stay, structure goes."""
    mixed = weights.clone()
    for replica, seed in enumerate(seeds):
        generator = stream(seed, "shuffled weights")
        for slot in mixed.slots:
            if not slot.buffer:
                one = mixed[slot.name][replica]
                order = torch.randperm(one.numel(), generator=generator).to(one.device)
                one.copy_(one.flatten()[order].view_as(one))
    return mixed


# --- phase 2 ------------------------------------------------------------------------------------------------------


def _per_epoch(cohort: Cohort) -> int:
    return math.ceil(int(cohort.setting("examples")) / int(cohort.setting("batch")))


def _moments(cohort: Cohort) -> list[int]:
    """Steps at which phase 2 is looked at, the same share of it for every recipe; the last is its end."""
    steps = int(cohort.setting("second_epochs")) * _per_epoch(cohort)
    return sorted({round(steps * (k / POINTS) ** 2) for k in range(1, POINTS + 1)} - {0})


def _second_phase(
    cohort: Cohort, network: Network, data: Data, starts: Mapping[str, Weights], recipe: str
) -> dict[tuple[str, str], Second]:
    """Train on the true labels from several starts, all replicas together: the same order of the data for each."""
    replicas, count = len(cohort), len(starts)
    together = replace(
        data,
        index=data.index.repeat(count, 1),
        labels=data.labels.repeat(count, 1),
        clean_labels=data.clean_labels.repeat(count, 1),
    )
    all_weights = list(starts.values())
    buffers = {name: torch.cat([one.buffers[name] for one in all_weights]) for name in all_weights[0].buffers}
    start = Weights(all_weights[0].slots, torch.cat([one.flat for one in all_weights]), buffers)
    has = {part: recipe in (part, "full") for part in ("augment", "decay", "momentum")}
    stretch = int(cohort.setting("stretch")) if recipe == "full" else 1
    moments = [stretch * step for step in _moments(cohort)]
    run = train(
        network,
        together,
        SGD(momentum=0.9 if has["momentum"] else 0.0),
        learning_rate=float(cohort.setting("second_rate")),
        weight_decay=float(cohort.setting("decay")) if has["decay"] else 0.0,
        schedule=_schedule(cohort, recipe),
        augmentations=_augmentations(cohort) if has["augment"] else (),
        seeds=[*cohort.seeds] * count,
        steps=moments[-1],
        batch=int(cohort.setting("batch")),
        snapshots=moments,
        start=start,
    )
    looks = [run.snapshots[step] for step in moments]
    test = torch.stack([accuracy(network, one, data.test_inputs, data.test_labels) for one in looks], dim=1)
    reached = torch.stack([_loss(network, one, together) for one in looks], dim=1) <= MATCHED_LOSS
    first = torch.where(reached.any(dim=1), reached.int().argmax(dim=1), len(looks) - 1)
    matched = Weights(
        run.end.slots, torch.stack([looks[k].flat[r] for r, k in enumerate(first.tolist())]), run.end.buffers
    )
    fits = training_accuracy(network, run.end, together)
    found = {}
    for place, name in enumerate(starts):
        own = slice(place * replicas, (place + 1) * replicas)
        found[name, recipe] = Second(
            test=test[own, -1],
            train=fits[own],
            norm=run.end.flat[own].double().norm(dim=1),
            finite=~_diverged(run)[own],
            test_curve=test[own],
            matched=test[own].gather(1, first[own].unsqueeze(1)).squeeze(1),
            matched_weights=matched.take(own),
        )
    return found


def _diverged(run: Run) -> Tensor:
    return run.diverged


def _schedule(cohort: Cohort, recipe: str) -> Schedule:
    if cohort.setting("schedule") == "steps":
        return Staircase((150 / 350, 250 / 350), 0.1)
    return Cosine() if recipe == "full" else Constant()


def _augmentations(cohort: Cohort) -> tuple[RandomShift | RandomCrop | RandomFlip, ...]:
    if cohort.setting("crop"):
        return (RandomCrop(4), RandomFlip())
    return (RandomShift(1),)


def _loss(network: Network, weights: Weights, data: Data) -> Tensor:
    """Mean cross-entropy on each replica's training subset, (replica,)."""
    inputs, labels = data.first(data.index.shape[1])
    logarithms = network.evaluate(weights, inputs).double().log_softmax(dim=-1)
    return -logarithms.gather(-1, labels.unsqueeze(-1)).squeeze(-1).mean(dim=1)


def _trace_ratio(cohort: Cohort, network: Network, data: Data, plain: Second, fresh: Second) -> Tensor:
    """Logarithm of the ratio of Hessian traces where each first reaches the matched training loss."""
    inputs, labels = data.first(TRACE_EXAMPLES)
    traces = [
        trace(network, one.matched_weights, inputs, labels, seeds=cohort.seeds, products=TRACE_PRODUCTS).value
        for one in (plain, fresh)
    ]
    return (traces[0].clamp(min=1e-12) / traces[1].clamp(min=1e-12)).log().double()


# --- the entry ----------------------------------------------------------------------------------------------------

CELLS = ("dataset", "architecture")
MAIN: Mapping[str, tuple[Level, ...]] = {"epochs": (TO_THE_FIT,), "copies": (5,)}
CONTROLLED: Mapping[str, tuple[Level, ...]] = {**MAIN, "architecture": ("mlp", "resnet-18")}
BOTH_FIT = (Condition("confusion_accuracy", at_least=0.99), Condition("fitted", at_least=0.999))
NOISE = "2 points, several times the seed-to-seed spread of a test accuracy (0.3 to 0.5 points)"

SETTINGS: Mapping[str, Level] = {
    "examples": 500,
    "test": 5000,
    "size": 14,
    "grayscale": True,
    "width": 256,
    "zeroed": 0.1,
    "copies_of_claims": 5,
    "budget": 100,
    "first_rate": 0.05,
    "first_momentum": 0.9,
    "batch": 50,
    "second_rate": 0.05,
    "second_epochs": 60,
    "stretch": 4,
    "decay": 1e-3,
    "schedule": "constant",
    "crop": False,
    "controls": True,
}


def _grid(names: tuple[str, ...], architecture: str, *, seeds: int, **more: Any) -> Grid:
    levels: dict[str, tuple[Level, ...]] = {"dataset": names, "architecture": (architecture,)}
    levels |= {key: more[key] for key in ("epochs", "copies") if key in more}
    settings = {key: value for key, value in more.items() if key not in ("epochs", "copies")}
    return Grid(levels=levels, seeds=seeds, settings=settings)


HARD: Mapping[str, Level] = {
    "budget": 200,
    "first_rate": 0.01,
    "second_rate": 0.02,
    "second_epochs": 200,
    "stretch": 2,
}
CONV: Mapping[str, Level] = {**HARD, "examples": 250, "budget": 300}
"""Conv nets and nets on CIFAR-10 fit random labels more slowly, and some get stuck at the larger rates."""

PHENOMENON = Phenomenon(
    name="bad-global-minima",
    statement=(
        "Plain SGD that starts from weights fitted to random labels reaches all true training labels and a much worse "
        "test accuracy than from a random start; with augmentation, weight decay and momentum the deficit disappears."
    ),
    source=Source(
        authors="Shengchao Liu, Dimitris Papailiopoulos, Dimitris Achlioptas",
        title="Bad Global Minima Exist and SGD Can Reach Them",
        year=2019,
        venue="ICML workshop Identifying and Understanding Deep Learning Phenomena; NeurIPS 2020",
        openreview="SJxooJh5TE",
        arxiv="1906.02613",
        code="chao1224/BadGlobalMinima",
    ),
    factors={
        "dataset": looped("images"),
        "architecture": looped("mlp: two hidden layers of 256; conv: two strided convolutions and a hidden layer"),
        "epochs": looped("epochs of phase 1; -1: until the confusion set is fitted", default=TO_THE_FIT),
        "copies": looped("copies of every training image in the confusion set", default=5),
    },
    quantities={
        "confusion_accuracy": Quantity(
            definition="share of the confusion set with random labels that is right after phase 1", low=0, high=1
        ),
        "accuracy_fresh": Quantity(definition="test accuracy, random start, plain SGD", unit="%", low=0, high=100),
        "accuracy_adversarial": Quantity(
            definition="test accuracy, start from fitted random labels, plain SGD", unit="%", low=0, high=100
        ),
        "gap": Quantity(
            definition="test accuracy after phase 2 by plain SGD: fresh start minus start from fitted random labels",
            unit="points",
            low=-100,
            high=100,
            quantum=0.02,
        ),
        "gap_matched": Quantity(
            definition="the same where each run first has a training loss of 0.01 or less", unit="points", quantum=0.02
        ),
        "gap_full": Quantity(
            definition="the same with augmentation, weight decay and momentum", unit="points", quantum=0.02
        ),
        "gap_augment": Quantity(definition="the same with augmentation alone", unit="points", quantum=0.02),
        "gap_decay": Quantity(definition="the same with weight decay alone", unit="points", quantum=0.02),
        "gap_momentum": Quantity(definition="the same with momentum alone", unit="points", quantum=0.02),
        "rescue": Quantity(definition="gap - gap_full", unit="points", quantum=0.02),
        "fair": Quantity(definition="test accuracy from a fresh start, full minus plain recipe", unit="points"),
        "gap_true": Quantity(
            definition="gap of a start fitted to the true labels of the same copies", unit="points", quantum=0.02
        ),
        "permuted_excess": Quantity(
            definition="gap of a start fitted to permuted class names minus a third of the gap", unit="points"
        ),
        "shuffled_excess": Quantity(
            definition="gap of the adversarial start with shuffled entries minus half of the gap", unit="points"
        ),
        "fitted": Quantity(definition="smaller training accuracy of the two starts, plain SGD", low=0, high=1),
        "fitted_full": Quantity(definition="smaller training accuracy of the two starts, full recipe", low=0, high=1),
        "fitted_controls": Quantity(definition="smallest training accuracy of all five starts", low=0, high=1),
        "norm_ratio": Quantity(definition="log of the ratio of weight norms at the end, plain SGD"),
        "norm_ratio_full": Quantity(definition="the same for the full recipe"),
        "trace_ratio": Quantity(
            definition="log of the ratio of Hessian traces where the training loss first is 0.01 or less"
        ),
        **{
            f"test_{start}_{recipe}": Quantity(
                definition=f"test accuracy along phase 2, {start} start, {recipe} recipe",
                unit="%",
                low=0,
                high=100,
                axes=("epoch",),
            )
            for start in ("fresh", "random")
            for recipe in ("plain", "full")
        },
    },
    protocols={
        "smoke": Protocol(
            grids=(
                _grid(("digits",), "mlp", seeds=3),
                _grid(("digits",), "mlp", seeds=3, epochs=(0, 1, 2, 3), controls=False),
                _grid(("digits",), "mlp", seeds=3, copies=(1, 2, 4), controls=False),
            ),
            settings={**SETTINGS, "examples": 60, "width": 16, "budget": 3, "second_epochs": 5, "stretch": 1},
        ),
        "small": Protocol(
            grids=(
                _grid(("digits",), "mlp", seeds=20),
                _grid(("mnist",), "mlp", seeds=20),
                _grid(("fashion-mnist",), "mlp", seeds=20, second_epochs=100, stretch=3),
                _grid(("cifar10",), "mlp", seeds=20, size=16, **HARD),
                _grid(("digits", "mnist"), "conv", seeds=20, controls=False, **CONV),
                _grid(("digits",), "mlp", seeds=20, epochs=(0, 5, 20, 80), controls=False),
                _grid(("digits",), "mlp", seeds=20, copies=(1, 2, 4), controls=False),
            ),
            settings=SETTINGS,
            looks=(5, 10, 20),
            note="Digits 8x8, MNIST and Fashion-MNIST pooled to 14x14, CIFAR-10 grey 16x16; 5,000 test images "
            "(digits 500).",
        ),
        "full": Protocol(
            grids=(
                _grid(("cifar10",), "resnet-18", seeds=5),
                _grid(("cifar10",), "vgg-16", seeds=5, controls=False),
                _grid(("cifar10",), "resnet-18", seeds=5, epochs=(0, 5, 20, 80), controls=False),
                _grid(("cifar10",), "resnet-18", seeds=5, copies=(1, 2, 4), controls=False),
            ),
            settings={
                **SETTINGS,
                "examples": 50000,
                "test": 10000,
                "size": 32,
                "grayscale": False,
                "batch": 128,
                "budget": 100,
                "first_rate": 0.1,
                "first_momentum": 0.0,
                "second_rate": 0.1,
                "second_epochs": 100,
                "stretch": 1,
                "decay": 5e-4,
                "schedule": "steps",
                "crop": True,
            },
            cohort=1,
            note="Phase 1 up to 100 epochs, phase 2 100 epochs with rates cut at 3/7 and 5/7; needs a GPU.",
        ),
    },
    trial=trial,
    claims=(
        Claim(
            id="C1",
            statement="Plain SGD from fitted random labels ends 2 points worse than from a random start.",
            effect=Value("gap"),
            holds=at_least(2.0, reason=NOISE),
            within=CELLS,
            among=MAIN,
            where=BOTH_FIT,
            headline=True,
            paper="up to 40 points [verified]",
        ),
        Claim(
            id="C1-large",
            statement="It ends 5 points worse.",
            effect=Value("gap"),
            holds=at_least(5.0, reason="ten times the seed-to-seed spread; the size that the claim expects"),
            within=CELLS,
            among=MAIN,
            where=BOTH_FIT,
            paper="10 to 40 points, depending on the net [recalled]",
        ),
        Claim(
            id="C1-matched",
            statement="It is 2 points worse also where both first reach a training loss of 0.01.",
            effect=Value("gap_matched"),
            holds=at_least(2.0, reason=NOISE),
            within=CELLS,
            among=MAIN,
            where=BOTH_FIT,
        ),
        Claim(
            id="C2",
            statement="With augmentation, weight decay and momentum the start makes no difference of 1.5 points.",
            effect=Value("gap_full"),
            holds=within(1.5, reason="three times the seed-to-seed spread at this scale"),
            within=CELLS,
            among=MAIN,
            where=(
                *BOTH_FIT,
                Condition("fitted_full", at_least=0.999),
                Condition("fair", at_least=-0.5),
                Condition("gap", at_least=2.0),
            ),
            paper="no effect of the start [verified]",
        ),
        Claim(
            id="C2-rescue",
            statement="These take at least 2 points of the deficit away.",
            effect=Value("rescue"),
            holds=at_least(2.0, reason=NOISE),
            within=CELLS,
            among=MAIN,
            where=(*BOTH_FIT, Condition("fitted_full", at_least=0.999), Condition("fair", at_least=-0.5)),
        ),
        Claim(
            id="C3-epochs",
            statement="The deficit rises with the epochs of phase 1.",
            effect=RankCorrelation("epochs", "gap", ("epochs",)),
            holds=at_least(0.7, reason="nearly the same order in every seed"),
            within=CELLS,
            among={"epochs": (0, 1, 2, 3, 5, 20, 80), "copies": (5,)},
        ),
        Claim(
            id="C3-copies",
            statement="The deficit rises with the number of copies in the confusion set.",
            effect=RankCorrelation("copies", "gap", ("copies",), minimum=3),
            holds=at_least(0.7, reason="nearly the same order in every seed"),
            within=CELLS,
            among={"epochs": (TO_THE_FIT,), "copies": (1, 2, 4)},
        ),
        Claim(
            id="C4a",
            statement="A start fitted to the true labels of the same copies makes no difference of a point.",
            effect=Value("gap_true"),
            holds=within(1.0, reason="two to three times the seed-to-seed spread"),
            within=CELLS,
            among=CONTROLLED,
            where=(Condition("fitted_controls", at_least=0.999),),
            control=True,
        ),
        Claim(
            id="C4b",
            statement="A start fitted to permuted class names costs at most a third of what random labels cost.",
            effect=Value("permuted_excess"),
            holds=at_most(0.0, reason="a third: the structure of the classes is kept, only their names are wrong"),
            within=CELLS,
            among=CONTROLLED,
            where=(*BOTH_FIT, Condition("fitted_controls", at_least=0.999)),
            control=True,
        ),
        Claim(
            id="C4c",
            statement="The adversarial start with shuffled entries costs less than half: structure counts, not norm.",
            effect=Value("shuffled_excess"),
            holds=at_most(0.0, reason="half of the gap"),
            within=CELLS,
            among=CONTROLLED,
            where=(*BOTH_FIT, Condition("fitted_controls", at_least=0.999)),
            control=True,
        ),
        Claim(
            id="C5-norm",
            statement="The bad minimum has a 5 % larger weight norm.",
            effect=Value("norm_ratio"),
            holds=at_least(0.05, reason="5 %, far above the seed-to-seed spread of a norm"),
            within=CELLS,
            among=MAIN,
            where=BOTH_FIT,
        ),
        Claim(
            id="C5-trace",
            statement="The bad minimum is sharper: a larger Hessian trace at the same training loss.",
            effect=Value("trace_ratio"),
            holds=at_least(0.0, reason="the prediction is the direction"),
            within=CELLS,
            among=MAIN,
            where=BOTH_FIT,
        ),
        Claim(
            id="C5-full",
            statement="Under the full recipe both weight norms agree within 5 %.",
            effect=Value("norm_ratio_full"),
            holds=within(0.05, reason="5 %, as for the bad minimum"),
            within=CELLS,
            among=MAIN,
            where=(*BOTH_FIT, Condition("fitted_full", at_least=0.999)),
        ),
    ),
    figures=(
        Lines(
            title="Test accuracy along phase 2",
            x="epoch",
            y=("test_fresh_plain", "test_random_plain", "test_fresh_full", "test_random_full"),
            panels=("dataset", "architecture"),
            among={"epochs": (TO_THE_FIT,), "copies": (5,)},
            dashed=("test_fresh_full", "test_random_full"),
            caption="Dashed: with augmentation, weight decay and momentum, whose phase 2 is longer by the factor "
            "'stretch' of the settings, and so its axis. 'Random' starts from fitted random labels.",
        ),
        Lines(
            title="The deficit against the epochs of phase 1",
            x="epochs",
            y=("gap",),
            colour="dataset",
            among={"copies": (5,), "epochs": (0, 1, 2, 3, 5, 20, 80)},
            reference=2.0,
        ),
        Lines(
            title="The deficit against the copies in the confusion set",
            x="copies",
            y=("gap",),
            colour="dataset",
            among={"epochs": (TO_THE_FIT,), "architecture": ("mlp", "resnet-18")},
            reference=2.0,
        ),
    ),
    findings="Bad minima are easy to reach: in five of six cells plain SGD from fitted random labels ends 8 "
    "to 18 points worse than from a fresh start, at 100 % training accuracy in both, and by as much at the "
    "same training loss. The deficit rises with the epochs of phase 1 (rho 0.95) and with the number of copies "
    "(rho 1.00). It stops at CIFAR-10 with 500 grey images, where a fresh start itself reaches only 24 %: the "
    "deficit is 1.1 points [0.0, 1.9].\n\nIt is the labels: a start fitted to the true labels of the same "
    "copies costs nothing (on MNIST it helps, by 1.7 points), one fitted to permuted class names less than a "
    "third, and shuffling the entries of the adversarial start takes half or more of the deficit away on "
    "digits and MNIST.\n\nRegularization takes most of it away (7 to 16 points), but whether all is a matter "
    "of time: with the full recipe 0.4 to 1.9 points are left, on MNIST 1.8 [1.5, 2.0] in dense nets, which "
    "refutes a margin of 1.5 there. Several cells are untested because runs with the full recipe did not "
    "always fit every label.\n\nThe bad minimum has a larger weight norm in every cell (7 to 94 %); whether it "
    "is sharper depends on net and data.",
    deviations=(
        "500 training images (conv nets 250), nets of two hidden layers; phase 1 has momentum 0.9 and a rate of 0.05: "
        "without momentum 2,500 copies with random labels are not fitted in this time.",
        "Phase 2 has a fixed length: 60 to 240 epochs of plain SGD, 2 to 4 times as many of the full recipe with a "
        "cosine schedule. Runs that do not fit all training labels count as failed.",
        "The specification asks for a deficit of 5 points whose interval lies above 2: judged as two claims, with the "
        "bounds 2 (C1) and 5 (C1-large).",
        "Conv nets are tested for C1, C2 and C5, the dose on digits alone.",
    ),
)
