"""The mask that magnitude pruning finds works on the untrained weights, whose values matter only through their signs,
and zero is a special value for what is pruned."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from refute import architectures, datasets
from refute.algorithms import SGD, Adam, Algorithm, Masked, Supermask, mask_of
from refute.algorithms.supermask import drawn, masked
from refute.architectures import Network, Weights
from refute.architectures.initialization import fans
from refute.core import (
    Arm,
    Claim,
    Cohort,
    Condition,
    Contrast,
    Grid,
    Level,
    Lines,
    Phenomenon,
    Pick,
    Protocol,
    Quantity,
    Scatter,
    Source,
    Value,
    at_least,
    at_most,
    difference,
    looped,
)
from refute.datasets import Data
from refute.instruments import accuracy, training_accuracy
from refute.randomness import stream
from refute.schedules import Constant, Cosine
from refute.training import Run, train

KEPT = (0.8, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
"""Fractions of the weights among which an untrained supermask is chosen on validation images (specification)."""
OUTPUT_EXPONENT = 0.472
"""Output and convolution kernels keep p^0.472 where dense ones keep p: log 0.9 / log 0.8 of the published rounds."""
SAMPLES = 10
"""Masks over which a learned supermask is tested (published protocol)."""
MATCHING = 1.0
"""Points below the dense net that still count as matching it."""
WRONG_LABELS = 0.9
"""Share of labels moved to another class: of ten classes, all are then equally likely."""
ROUNDING = 1e-6


def trial(cohort: Cohort) -> dict[str, Any]:
    """Mask, retrain or learn to mask one cohort; scalars (replica,), undefined ones NaN."""
    subject = _subject(cohort)
    dense = _dense(subject)
    undefined = torch.full((len(cohort),), math.nan)
    empty = (undefined[:, None], ((0.0,),))
    found: dict[str, Any] = {n: empty if q.axes else undefined for n, q in PHENOMENON.quantities.items()}
    found |= {
        "dense_accuracy": _test(dense, dense.end),
        "dense_fit": 100 * training_accuracy(dense.network, dense.end, dense.data),
        "unmoved_share": _unmoved(dense),
        "diverged": dense.diverged,
    }
    if cohort["treatment"] != "untrained":
        return {**found, **_retraining(subject, cohort["treatment"], cohort["kept"])}
    if cohort["mask"].startswith("learned"):
        return {**found, **_learning(subject, cohort["mask"].split("-")[1:])}
    return {**found, **_masking(subject, cohort["mask"])}


# --- the dense net ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Subject:
    """All that a dense net of a cohort depends on; hashable, so that arms of one worker share it."""

    dataset: str
    architecture: str
    seeds: tuple[int, ...]
    settings: tuple[tuple[str, Level], ...]
    device: str

    def setting(self, name: str) -> Any:
        return dict(self.settings)[name]


class Dense(NamedTuple):
    """A dense net before and after training; `diverged` (replica,)."""

    network: Network
    data: Data
    start: Weights
    end: Weights
    diverged: Tensor


class Retrained(NamedTuple):
    """Accuracies in % after retraining, and whether it diverged, each (replica,)."""

    test: Tensor
    fit: Tensor
    diverged: Tensor


def _subject(cohort: Cohort) -> Subject:
    settings = tuple(sorted(cohort.settings.items()))
    return Subject(cohort["dataset"], cohort["architecture"], cohort.seeds, settings, cohort.device)


@lru_cache(maxsize=4)
def _dense(subject: Subject, *, random_labels: bool = False) -> Dense:
    """The dense net of every seed, the same for all arms; what is returned is never written to."""
    name, size = subject.dataset, int(subject.setting("size"))
    data = datasets.load(
        name,
        train=int(subject.setting("random_images" if random_labels else "examples")),
        seeds=subject.seeds,
        validation=int(subject.setting("validation")),
        size=None if name == "digits" or not size else size,
        label_noise=WRONG_LABELS if random_labels else 0.0,
        device=subject.device,
    )
    network = _network(subject, data)
    steps = int(subject.setting("random_steps" if random_labels else "steps"))
    run = _train(
        subject, network, data, _inner(subject), steps, network.initialize(subject.seeds, device=subject.device)
    )
    return Dense(network, data, run.start, run.end, run.diverged)


def _network(subject: Subject, data: Data) -> Network:
    family, _, variant = subject.architecture.partition("-")
    options = {"variant": variant, "law": "glorot-normal"}
    if family in ("vgg", "resnet"):
        options["normalization"] = "batch"
    return architectures.build(family, data.input_shape, data.classes, **options)


def _inner(subject: Subject) -> Algorithm:
    algorithms: dict[str, Algorithm] = {"adam": Adam(), "sgd": SGD(momentum=0.9)}
    return algorithms[subject.setting("algorithm")]


def _train(
    subject: Subject,
    network: Network,
    data: Data,
    algorithm: Algorithm,
    steps: int,
    start: Weights,
    learning_rate: float | None = None,
) -> Run:
    return train(
        network,
        data,
        algorithm,
        learning_rate=subject.setting("learning_rate") if learning_rate is None else learning_rate,
        seeds=subject.seeds,
        steps=steps,
        batch=int(subject.setting("batch")),
        weight_decay=subject.setting("decay") if learning_rate is None else 0.0,
        schedule=Cosine() if subject.setting("cosine") else Constant(),
        start=start,
    )


def _test(dense: Dense, weights: Weights) -> Tensor:
    """Test accuracy in %, (replica,)."""
    return 100 * accuracy(dense.network, weights, dense.data.test_inputs, dense.data.test_labels)


def _unmoved(dense: Dense) -> Tensor:
    """Share of the first kernel's weights that training left in place, (replica,)."""
    first = dense.network.kernels[0]
    return (dense.start[first] == dense.end[first]).flatten(1).double().mean(dim=1)


# --- masks --------------------------------------------------------------------------------------------------------


def scores(criterion: str, before: Tensor, after: Tensor) -> Tensor:
    """What a criterion ranks weights by, like the weights; the largest are kept, minus infinity never.

    large_final |w_f|; small_final -|w_f|; large_init |w_i|; small_init -|w_i|; magnitude_increase |w_f| - |w_i|;
    movement |w_f - w_i|; large_init_large_final min(|w_i|, |w_f|); small_init_small_final -max(|w_i|, |w_f|). With
    "_same_sign" weights whose sign changed are dropped first (Zhou et al. 2019, section 3, and their code).
    """
    name = criterion.removesuffix("_same_sign")
    small, large = before.abs(), after.abs()
    ranked = {
        "large_final": large,
        "small_final": -large,
        "large_init": small,
        "small_init": -small,
        "magnitude_increase": large - small,
        "movement": (after - before).abs(),
        "large_init_large_final": torch.minimum(small, large),
        "small_init_small_final": -torch.maximum(small, large),
    }[name]
    if name == criterion:
        return ranked
    return torch.where(before.sign() == after.sign(), ranked, -math.inf)


def keep_largest(ranked: Tensor, share: float, seeds: Sequence[int], purpose: str) -> Tensor:
    """The `share` of each replica's weights with the largest scores, bool like the scores; ties are broken at random.

    `ranked`: (replica, *shape). Weights with a score of minus infinity are left out even if too few are kept.
    """
    flat = ranked.flatten(1)
    shuffled = torch.stack([torch.randperm(flat.shape[1], generator=stream(seed, purpose)) for seed in seeds])
    shuffled = shuffled.to(flat.device)
    order = flat.gather(1, shuffled).argsort(dim=1, descending=True, stable=True)
    places = shuffled.gather(1, order)[:, : round(share * flat.shape[1])]
    kept = torch.zeros_like(flat, dtype=torch.bool).scatter_(1, places, True)
    return (kept & (flat > -math.inf)).view(ranked.shape)


def layer_share(network: Network, kernel: str, kept: float) -> float:
    """The fraction that a kernel keeps when dense hidden ones keep `kept`."""
    milder = kernel == network.kernels[-1] or next(s for s in network.slots if s.name == kernel).shape[2:]
    return kept**OUTPUT_EXPONENT if milder else kept


def find_mask(
    network: Network, criterion: str, before: Weights, after: Weights, kept: float, seeds: Sequence[int]
) -> Tensor:
    """The mask of a criterion, ranked within each kernel, bool (replica, parameter); true for all that is no kernel."""
    masks: dict[str, Tensor] = {}
    for name in network.kernels:
        if criterion == "random":
            drawn_at = [torch.rand(before[name].shape[1:], generator=stream(seed, f"mask-{name}")) for seed in seeds]
            ranked = torch.stack(drawn_at).to(before[name])
        else:
            ranked = scores(criterion, before[name], after[name])
        masks[name] = keep_largest(ranked, layer_share(network, name, kept), seeds, f"ties-{name}")
    return mask_of(before, masks)


def _masking(subject: Subject, mask: str) -> dict[str, Any]:
    """A0* of a mask: its best kept fraction is chosen on validation images."""
    dense = _dense(subject)
    source = _dense(subject, random_labels=True) if mask == "random-labels" else dense
    values = dense.start
    if mask == "other-initialization":
        values = dense.network.initialize(subject.seeds, purpose="other-initialization", device=subject.device)
    criterion = "large_final_same_sign" if mask in ("random-labels", "other-initialization") else mask
    found = [find_mask(dense.network, criterion, source.start, source.end, kept, subject.seeds) for kept in KEPT]
    on_validation = torch.stack([_validate(dense, masked(values, each.to(values.flat))) for each in found], dim=1)
    best = on_validation.argmax(dim=1)
    chosen = torch.stack(found)[best, torch.arange(len(best), device=best.device)]
    fit = torch.full((len(best),), 100.0)
    if mask != "random":
        fit = 100 * training_accuracy(source.network, source.end, source.data)
    return {
        "supermask_accuracy": _test(dense, masked(values, chosen.to(values.flat))),
        "best_kept": torch.tensor(KEPT, device=best.device)[best],
        "source_fit": fit,
        "supermask_curve": (on_validation.round(decimals=2), (KEPT,)),
        "diverged": dense.diverged | source.diverged,
    }


def _validate(dense: Dense, weights: Weights) -> Tensor:
    """Validation accuracy in %, (replica,)."""
    index, labels = dense.data.validation_index, dense.data.validation_labels
    if index is None or labels is None:
        return torch.full((weights.replicas,), math.nan)
    return 100 * accuracy(dense.network, weights, dense.data.inputs[index], labels)


# --- learned masks ------------------------------------------------------------------------------------------------


def constants(network: Network, weights: Weights) -> Weights:
    """The weights with every kernel replaced by its signs times the standard deviation of Glorot's law."""
    found = weights.clone()
    for name in network.kernels:
        found[name].copy_(weights[name].sign() * glorot_deviation(tuple(weights[name].shape[1:])))
    return found


def glorot_deviation(shape: tuple[int, ...]) -> float:
    """Standard deviation of the initialization law, sqrt(2 / (fan in + fan out))."""
    return math.sqrt(2 / sum(fans(shape)))


def _learning(subject: Subject, options: Sequence[str]) -> dict[str, Any]:
    dense, rescaled = _dense(subject), "rescaled" in options
    network = dense.network
    values = constants(network, dense.start) if "constant" in options else dense.start
    logits = torch.zeros_like(values.flat)
    algorithm = Supermask(Adam(), values, logits, subject.seeds, rescaled)
    steps, rate = int(subject.setting("mask_steps")), float(subject.setting("mask_rate"))
    run = _train(subject, network, dense.data, algorithm, steps, algorithm.draw(0), rate)

    def sampled(number: int) -> Tensor:
        return _test(dense, masked(values, drawn(logits, subject.seeds, f"test-{number}"), rescaled=rescaled))

    accurate = torch.stack([sampled(number) for number in range(SAMPLES)]).mean(dim=0)
    return {
        "supermask_accuracy": accurate,
        "thresholded_accuracy": _test(dense, masked(values, (logits > 0).to(values.flat), rescaled=rescaled)),
        "shortfall": _test(dense, dense.end) - accurate,
        "diverged": dense.diverged | run.diverged,
    }


# --- retraining ---------------------------------------------------------------------------------------------------


def _retraining(subject: Subject, treatment: str, kept: float) -> dict[str, Any]:
    dense, own = _dense(subject), _retrained(subject, treatment, kept)
    found: dict[str, Any] = {
        "retrained_accuracy": own.test,
        "retrained_fit": own.fit,
        "diverged": dense.diverged | own.diverged,
    }
    if treatment == "frozen":
        zero = _retrained(subject, "rewind", kept)
        matching = zero.test >= _test(dense, dense.end) - MATCHING - ROUNDING
        found["freezing_loss"] = zero.test - own.test
        found["matching_sparsity"] = torch.where(matching, 1 - kept, -kept)
    return found


@lru_cache(maxsize=64)
def _retrained(subject: Subject, treatment: str, kept: float) -> Retrained:
    """The net under the large_final mask, trained again from treated values; the same for all arms that compare."""
    dense = _dense(subject)
    mask = find_mask(dense.network, "large_final", dense.start, dense.end, kept, subject.seeds)
    start = treated(dense.network, treatment, dense.start, dense.end, mask, subject.seeds)
    algorithm = Masked(_inner(subject), mask)
    run = _train(subject, dense.network, dense.data, algorithm, int(subject.setting("steps")), start)
    fit = 100 * training_accuracy(dense.network, run.end, dense.data)
    return Retrained(_test(dense, run.end), fit, run.diverged)


def treated(
    network: Network, treatment: str, before: Weights, after: Weights, mask: Tensor, seeds: Sequence[int]
) -> Weights:
    """Where retraining starts: kernels changed as `treatment` says, everything else as it was initially.

    Kept weights: "rewind" w_i; "reinit" |a fresh draw|; "reshuffle" |w_i| permuted within the kernel's kept weights;
    "constant" the law's standard deviation; each with the sign of w_i, or of a fresh coin with "-random-signs". Their
    pruned weights are 0; for "frozen" these are w_i, for "mixed" w_i where |w_f| > |w_i| and else 0.
    """
    found = before.clone()
    kept = Weights(before.slots, mask)
    base = treatment.removesuffix("-random-signs")
    fresh = network.initialize(seeds, purpose="reinitialization", device=str(before.flat.device))
    for name in network.kernels:
        initial, where = before[name], kept[name]
        if base == "frozen":
            continue
        if base == "mixed":
            found[name].mul_(where | (after[name].abs() > initial.abs()))
            continue
        magnitudes = {
            "rewind": initial.abs(),
            "reinit": fresh[name].abs(),
            "constant": torch.full_like(initial, glorot_deviation(tuple(initial.shape[1:]))),
        }.get(base)
        if magnitudes is None:
            magnitudes = reshuffled(initial.abs(), where, seeds, f"reshuffle-{name}")
        signs = initial.sign() if base == treatment else _coins(initial, seeds, f"signs-{name}")
        found[name].copy_(magnitudes * signs * where)
    return found


def reshuffled(values: Tensor, where: Tensor, seeds: Sequence[int], purpose: str) -> Tensor:
    """`values` (replica, *shape) permuted among the places `where` of each replica; the others stay."""
    found = values.clone()
    for replica, seed in enumerate(seeds):
        own = values[replica][where[replica]]
        order = torch.randperm(len(own), generator=stream(seed, purpose)).to(own.device)
        found[replica][where[replica]] = own[order]
    return found


def _coins(like: Tensor, seeds: Sequence[int], purpose: str) -> Tensor:
    drawn_at = [torch.randint(2, like.shape[1:], generator=stream(seed, purpose)) for seed in seeds]
    return 2 * torch.stack(drawn_at).to(like) - 1


# --- claims -------------------------------------------------------------------------------------------------------

Levels = dict[str, tuple[Level, ...]]

CELLS = ("dataset", "architecture")
NO_SETTINGS: Mapping[str, Level] = {}
UNTRAINED: Levels = {"treatment": ("untrained",)}
LEARNERS: Levels = {
    **UNTRAINED,
    "architecture": ("lenet-32-16", "lenet-128-64", "lenet-300-100", "convnet-2", "convnet-4", "convnet-6"),
}
SIGNS: Levels = {"kept": (0.1, 0.05)}
PRUNED: Levels = {"kept": (0.5, 0.3, 0.2, 0.1, 0.05, 0.02)}
HEURISTIC = (
    "random",
    "large_final",
    "large_final_same_sign",
    "magnitude_increase",
    "magnitude_increase_same_sign",
    "movement",
    "large_init",
    "small_final",
)
FEW_MASKS = ("random", "large_final", "large_final_same_sign", "small_final", "other-initialization")
SIGN_ARMS = (
    "reinit",
    "reshuffle",
    "constant",
    "rewind-random-signs",
    "reinit-random-signs",
    "reshuffle-random-signs",
    "constant-random-signs",
)
PLAIN_LEARNED, BEST_LEARNED = "learned", "learned-constant-rescaled"


def _above_random(mask: str) -> Contrast:
    return difference("supermask_accuracy", "mask", "random", mask)


def _sign_claim(treatment: str, paper: str) -> Claim:
    """loss - G/3 <= 0 with loss = A1(rewind) - A1(treatment), G = A1(rewind) - A1(reinit, random signs)."""
    effect = Contrast(
        "retrained_accuracy",
        (
            (2 / 3, Arm({"treatment": "rewind"})),
            (-1.0, Arm({"treatment": treatment})),
            (1 / 3, Arm({"treatment": "reinit-random-signs"})),
        ),
    )
    words = {"reinit": "redrawn", "reshuffle": "permuted", "constant": "made equal"}[treatment]
    return Claim(
        id=f"C2-{treatment}",
        statement=f"Kept weights whose sizes are {words} but whose signs are kept lose less than a third of what new "
        "sizes and signs lose.",
        effect=effect,
        holds=at_most(0.0, reason="0 is exactly a third of the gap (amended specification)"),
        within=(*CELLS, "kept"),
        among=SIGNS,
        paper=paper,
    )


def _masks(
    which: Levels, masks: tuple[str, ...], *, seeds: int, settings: Mapping[str, Level] = NO_SETTINGS
) -> tuple[Grid, ...]:
    return (Grid(levels={**which, **UNTRAINED, "mask": masks}, seeds=seeds, settings=settings),)


def _retrainings(
    which: Levels,
    *,
    seeds: int,
    arms: tuple[str, ...] = SIGN_ARMS,
    zeros: bool = True,
    settings: Mapping[str, Level] = NO_SETTINGS,
) -> tuple[Grid, ...]:
    """The arms of C2, and those of C3 at all kept fractions."""
    grids = [Grid(levels={**which, **SIGNS, "treatment": arms}, seeds=seeds, settings=settings)]
    levels = PRUNED if zeros else SIGNS
    treatments = ("rewind", "frozen", "mixed") if zeros else ("rewind",)
    grids.append(Grid(levels={**which, **levels, "treatment": treatments}, seeds=seeds, settings=settings))
    return tuple(grids)


def _net(dataset: str, architecture: str) -> Levels:
    return {"dataset": (dataset,), "architecture": (architecture,)}


SETTINGS: Mapping[str, Level] = {
    "examples": 5000,
    "validation": 1000,
    "size": 14,
    "batch": 100,
    "steps": 1000,
    "algorithm": "adam",
    "learning_rate": 1.2e-3,
    "decay": 0.0,
    "cosine": False,
    "random_images": 1000,
    "random_steps": 2000,
    "mask_steps": 3000,
    "mask_rate": 0.1,
}
SMOKE = {
    **SETTINGS,
    "examples": 600,
    "validation": 200,
    "batch": 50,
    "steps": 120,
    "random_images": 100,
    "random_steps": 200,
    "mask_steps": 60,
}
LARGE = {**SETTINGS, "examples": 55_000, "validation": 5000, "size": 0, "batch": 60, "steps": 50_000}
CIFAR: Mapping[str, Level] = {"examples": 45_000, "random_steps": 20_000, "mask_steps": 40_000}
LIMIT: Mapping[str, Level] = {
    **CIFAR,
    "algorithm": "sgd",
    "learning_rate": 0.1,
    "decay": 5e-4,
    "cosine": True,
    "batch": 128,
    "steps": 35_000,
}
ALL_LEARNED = (PLAIN_LEARNED, "learned-rescaled", "learned-constant", BEST_LEARNED)
EVERY_MASK = (*HEURISTIC, "other-initialization", "random-labels", *ALL_LEARNED)

PHENOMENON = Phenomenon(
    name="supermask-zeros-and-signs",
    statement="The mask that magnitude pruning finds, applied to the untrained weights, classifies far above chance; "
    "kept weights matter only through their signs when they are trained again, and zero is a special value for pruned "
    "ones.",
    source=Source(
        authors="Hattie Zhou, Janice Lan, Rosanne Liu, Jason Yosinski",
        title="Deconstructing Lottery Tickets: Zeros, Signs, and the Supermask",
        year=2019,
        venue="ICML 2019 workshop Identifying and Understanding Deep Learning Phenomena; NeurIPS 2019",
        openreview="rkeTDNS3hN",
        arxiv="1905.01067",
        code="https://github.com/uber-research/deconstructing-lottery-tickets",
    ),
    factors={
        "dataset": looped("images to classify"),
        "architecture": looped(
            "lenet-A-B: dense, two hidden layers of A and B units; convnet-V, vgg-V, resnet-V: conv nets"
        ),
        "treatment": looped(
            "untrained: a mask on initial weights; else what is trained again under the large_final mask: kept weights "
            "at their initial values (rewind), of new sizes (reinit, reshuffle, constant), with signs of their own or "
            "random ones, pruned ones at 0; frozen: pruned ones at their initial values; mixed: there if training made "
            "them larger, else 0",
            default="untrained",
        ),
        "mask": looped(
            "criterion by which the trained net's weights are kept; other-initialization: its mask on a net that it "
            "does not come from; random-labels: the mask of a net trained on these; learned: trained itself, constant: "
            "on signs times a constant, rescaled: times 1 / share kept",
            default="large_final",
        ),
        "kept": looped(
            "fraction of each hidden dense kernel that is kept; 0: the best of seven on validation images", default=0.0
        ),
    },
    quantities={
        "dense_accuracy": Quantity(definition="test accuracy of the trained dense net", unit="%", low=0, high=100),
        "dense_fit": Quantity(definition="its training accuracy", unit="%", low=0, high=100),
        "unmoved_share": Quantity(
            definition="share of the first kernel that training left exactly in place (inputs that are always 0)",
            low=0,
            high=1,
        ),
        "supermask_accuracy": Quantity(
            definition="test accuracy of the masked untrained net (learned masks: mean of 10 draws)",
            unit="%",
            low=0,
            high=100,
        ),
        "thresholded_accuracy": Quantity(
            definition="the same of the learned mask of all chances above one half", unit="%", low=0, high=100
        ),
        "shortfall": Quantity(
            definition="test accuracy of the dense net minus that of the learned supermask", unit="points"
        ),
        "best_kept": Quantity(definition="kept fraction that was chosen on validation images", low=0, high=1),
        "source_fit": Quantity(
            definition="training accuracy of the net that the mask comes from, on its own labels; 100 for random masks",
            unit="%",
            low=0,
            high=100,
        ),
        "retrained_accuracy": Quantity(
            definition="test accuracy of the masked net after training again", unit="%", low=0, high=100
        ),
        "retrained_fit": Quantity(definition="its training accuracy", unit="%", low=0, high=100),
        "freezing_loss": Quantity(
            definition="retrained accuracy with pruned weights at 0 minus that with them frozen at their initial "
            "values",
            unit="points",
        ),
        "matching_sparsity": Quantity(
            definition="share of weights pruned if pruned weights at 0 come within a point of the dense net, else "
            "minus the share kept: its mean over seeds is highest at the sparsest level that nearly all of them match",
            low=-1,
            high=1,
        ),
        "supermask_curve": Quantity(
            definition="validation accuracy of the masked untrained net",
            unit="%",
            low=0,
            high=100,
            axes=("kept fraction",),
        ),
    },
    protocols={
        "smoke": Protocol(
            grids=(
                *_masks(
                    _net("digits", "lenet-32-16"),
                    (*FEW_MASKS, "random-labels", PLAIN_LEARNED, BEST_LEARNED),
                    seeds=3,
                ),
                *_retrainings(
                    _net("digits", "lenet-32-16"),
                    seeds=3,
                    arms=("reinit", "reshuffle", "constant", "reinit-random-signs"),
                ),
            ),
            settings=SMOKE,
        ),
        "small": Protocol(
            grids=(
                *(
                    grid
                    for name in ("mnist", "fashion-mnist")
                    for grid in (
                        *_masks(
                            _net(name, "lenet-128-64"),
                            (*HEURISTIC, "other-initialization", "random-labels", PLAIN_LEARNED, BEST_LEARNED),
                            seeds=20,
                        ),
                        *_retrainings(_net(name, "lenet-128-64"), seeds=20),
                    )
                ),
                *_masks(_net("mnist", "convnet-small"), FEW_MASKS, seeds=20),
                *_masks(_net("cifar10", "convnet-small"), FEW_MASKS, seeds=20),
            ),
            settings=SETTINGS,
            looks=(5, 10, 20),
            note="Images pooled to 14x14, 5000 of them to train on; all 10,000 test images.",
        ),
        "full": Protocol(
            grids=(
                *_masks(_net("mnist", "lenet-300-100"), EVERY_MASK, seeds=5),
                *_retrainings(_net("mnist", "lenet-300-100"), seeds=5),
                *(
                    grid
                    for variant, rate, steps in (("2", 2e-4, 20_250), ("4", 3e-4, 25_500), ("6", 3e-4, 30_000))
                    for grid in (
                        *_masks(
                            _net("cifar10", f"convnet-{variant}"),
                            EVERY_MASK,
                            seeds=5,
                            settings={**CIFAR, "learning_rate": rate, "steps": steps},
                        ),
                        *_retrainings(
                            _net("cifar10", f"convnet-{variant}"),
                            seeds=5,
                            settings={**CIFAR, "learning_rate": rate, "steps": steps},
                        ),
                    )
                ),
                *_retrainings(_net("cifar10", "resnet-18"), seeds=5, zeros=False, settings=LIMIT),
                *_retrainings(_net("cifar10", "vgg-16"), seeds=5, zeros=False, settings=LIMIT),
            ),
            settings=LARGE,
            looks=(5,),
            cohort=5,
            note="The published nets, and ResNet-18 and VGG-16 with BatchNorm for C2; needs a GPU.",
        ),
    },
    trial=trial,
    claims=(
        Claim(
            id="C1",
            statement="Masked by its large weights of unchanged sign, the untrained net beats a random mask of equal "
            "layer densities by 20 points.",
            effect=_above_random("large_final_same_sign"),
            holds=at_least(20.0, reason="far outside of what random masks reach (within about 5 points of chance)"),
            within=CELLS,
            among=UNTRAINED,
            headline=True,
            paper="86 % on MNIST and 41 % on CIFAR-10 at best [verified: abstract]; with initial values 79 and 24 % "
            "[recalled]",
        ),
        Claim(
            id="C2-gap",
            statement="New sizes and signs cost half a point: there is a gap that signs can explain.",
            effect=difference("retrained_accuracy", "treatment", "reinit-random-signs", "rewind"),
            holds=at_least(0.5, reason="about two standard errors of a paired difference with 10,000 test images"),
            within=(*CELLS, "kept"),
            among=SIGNS,
        ),
        _sign_claim("reinit", "keeping signs is what matters for re-initialized tickets [verified in direction]"),
        _sign_claim("reshuffle", "as C2-reinit"),
        _sign_claim("constant", "as C2-reinit"),
        Claim(
            id="C3",
            statement="At the sparsest level that matches the dense net, freezing pruned weights at their initial "
            "values instead of 0 costs 0.2 points.",
            effect=Contrast(
                "freezing_loss",
                ((1.0, Arm({"treatment": "frozen"}, Pick("matching_sparsity", "highest", ("kept",), scope="mean"))),),
            ),
            holds=at_least(0.2, reason="a fifth of a point, one standard error of a test set (amended specification)"),
            within=CELLS,
            among={**PRUNED, "treatment": ("frozen",)},
            paper="freezing was worse than zero [recalled]",
        ),
        Claim(
            id="C3-mixed",
            statement="Freezing only those that training made larger is better than 0 for all.",
            effect=difference("retrained_accuracy", "treatment", "rewind", "mixed"),
            holds=at_least(0.0, reason="the prediction is the direction (amended specification)"),
            within=(*CELLS, "kept"),
            among={**PRUNED, "treatment": ("rewind", "mixed")},
            paper="as good or better [recalled]",
        ),
        Claim(
            id="C3-limit",
            statement="With 2 % of the weights left, freezing no longer costs anything.",
            effect=Value("freezing_loss"),
            holds=at_most(0.0, reason="the sign at the sparsest level of the grid is to be reported"),
            within=CELLS,
            among={"treatment": ("frozen",), "kept": (0.02,)},
            control=True,
        ),
        Claim(
            id="C4",
            statement="A learned supermask beats the heuristic one by 5 points.",
            effect=difference("supermask_accuracy", "mask", "large_final_same_sign", PLAIN_LEARNED),
            holds=at_least(5.0, reason="five standard deviations of seeds of learned masks"),
            within=CELLS,
            among=LEARNERS,
            paper="MNIST 95.3 against 79.3 %, CIFAR-10 about 65 against 24 % [recalled]",
        ),
        Claim(
            id="C4-dense",
            statement="On MNIST-like data, learned on signs times a constant and rescaled, it comes within 3 points of "
            "the trained net.",
            effect=Value("shortfall"),
            holds=at_most(3.0, reason="specification"),
            within=CELLS,
            among={**LEARNERS, "dataset": ("mnist", "digits"), "mask": (BEST_LEARNED,)},
            paper="MNIST 98.0 against 97.7 % [recalled]",
        ),
        Claim(
            id="C4-dense-harder",
            statement="On Fashion-MNIST within 5 points.",
            effect=Value("shortfall"),
            holds=at_most(5.0, reason="specification, amended for harder data"),
            within=CELLS,
            among={**LEARNERS, "dataset": ("fashion-mnist", "cifar10", "digits"), "mask": (BEST_LEARNED,)},
            paper="CIFAR-10, Conv-2 to Conv-6: 66.0, 72.5, 76.5 against 69.2, 75.4, 78.3 % [recalled]",
        ),
        Claim(
            id="C5-other",
            statement="On an initialization that it does not come from, the mask is as good as a random one.",
            effect=_above_random("other-initialization"),
            holds=at_most(5.0, reason="5 points above a random mask; 10 would mean that connectivity does it"),
            within=CELLS,
            among=UNTRAINED,
            control=True,
        ),
        Claim(
            id="C5-labels",
            statement="So is, on its own initialization, the mask of a net that fitted random labels.",
            effect=_above_random("random-labels"),
            holds=at_most(5.0, reason="as C5-other"),
            within=CELLS,
            among=LEARNERS,
            where=(Condition("source_fit", at_least=95.0),),
            control=True,
        ),
        Claim(
            id="C5-small",
            statement="So is the mask of the smallest final weights.",
            effect=_above_random("small_final"),
            holds=at_most(5.0, reason="as C5-other"),
            within=CELLS,
            among=UNTRAINED,
            control=True,
        ),
    ),
    figures=(
        Lines(
            title="Untrained nets under masks",
            x="kept fraction",
            y=("supermask_curve",),
            colour="mask",
            panels=CELLS,
            among={**UNTRAINED, "mask": (*HEURISTIC, "other-initialization", "random-labels")},
            log_x=True,
            reference=10.0,
            caption="Accuracy on validation images; the line is chance.",
        ),
        Lines(
            title="Trained again: signs",
            x="kept",
            y=("retrained_accuracy",),
            colour="treatment",
            panels=CELLS,
            among={**SIGNS, "treatment": ("rewind", *SIGN_ARMS)},
            log_x=True,
        ),
        Lines(
            title="Trained again: zeros",
            x="kept",
            y=("retrained_accuracy", "dense_accuracy"),
            colour="treatment",
            panels=CELLS,
            among={**PRUNED, "treatment": ("rewind", "frozen", "mixed")},
            dashed=("dense_accuracy",),
            log_x=True,
            caption="Dashed: the dense net.",
        ),
        Scatter(
            title="Untrained against trained",
            x="dense_accuracy",
            y="supermask_accuracy",
            colour="mask",
            panels=CELLS,
            among=UNTRAINED,
        ),
    ),
    findings="The untrained supermask is real on MNIST and Fashion-MNIST: large final weights of the same sign "
    "beat a random mask of the same densities by 46 to 54 points in dense and conv nets. On CIFAR-10 with a small "
    "conv net it is 6 points (the paper has 20 to 30 over chance with much larger nets): limited.\n\nSigns matter, "
    "but not alone. Permuting or equalizing the sizes of kept weights costs less than a third of what new sizes "
    "and signs cost (7 of 8 cells supported, one undecided); redrawing them from the initial law does not stay "
    "within a third on Fashion-MNIST (0.34 and 0.41 points too much) and is undecided on MNIST.\n\nZero is special "
    "where the paper looks (freezing costs 0.34 and 0.37 points at the sparsest level that matches the dense net), "
    "and stops being so further out: with 2 % of the weights left freezing at the initial values is 6 to 9 points "
    "better than zero. Freezing only weights that training made larger is better than zero for all from 30 % down, "
    "by up to 19 points, and slightly worse at 50 %.\n\nLearned masks reach the trained net within 0.5 points on "
    "MNIST and 1.6 on Fashion-MNIST; all three controls (another initialization, random labels, small weights) do "
    "no better than a random mask.",
    deviations=(
        "The curve over kept fractions is of validation images; the test set is used at the chosen fraction only.",
        "Masks of the same sign may keep less than their fraction where too many signs changed.",
        "A scatter plot of untrained against trained accuracy stands for the bars.",
        "C2's margin is a third of the gap of the very seeds, as a contrast of three arms; it says something only "
        "where C2-gap finds a gap.",
        "C3's level is the one at which nearly all seeds match the dense net: picked on the mean over seeds.",
        "Nets on random labels see 1000 images (the other nets 5000), so that 2000 steps fit them.",
        "Mask logits are trained by Adam at the rate 0.1 for 3000 steps (official: SGD at the rate 100, 2000 epochs); "
        "of 0.02, 0.05 and 0.1 that is the best on pilot seeds.",
        "Images are pooled to 14x14, CIFAR-10 too, which only the small conv net sees; digits stand in at scale smoke.",
        "Scale full: one-shot masks only, without the arm of ten rounds; no CIFAR-100; data without augmentation.",
    ),
)
