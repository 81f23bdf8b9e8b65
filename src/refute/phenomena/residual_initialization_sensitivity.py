"""Identity skips widen the range of initial weight scales from which a deep net can be trained."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from refute import architectures, datasets
from refute.algorithms import SGD
from refute.architectures import Network, Weights
from refute.core import (
    Arm,
    Claim,
    Cohort,
    Contrast,
    Grid,
    Level,
    Lines,
    Phenomenon,
    Protocol,
    Quantity,
    Source,
    Value,
    at_least,
    at_most,
    looped,
    within,
)
from refute.datasets import Data
from refute.instruments import training_accuracy
from refute.instruments.activations import layer_outputs
from refute.instruments.working_range import working_range
from refute.training import Run, train

ARMS = {"plain": "none", "residual": "identity", "scaled": "scaled"}
"""Arm -> skip of `refute.architectures.constant_width`."""
SCHEMES = ("he-normal", "glorot-uniform", "lecun-normal", "orthogonal", "torch-default", "normal:0.01")
OCTAVES = 4
"""Gains run from 2^-4 to 2^4."""
MARK = 0.9
"""Share of the best training accuracy that counts as working."""
LOWEST_LOSS = 1e-4
LEARNT = 0.5
"""Share of the best arm's accuracy above chance that an arm must reach to have a working range of its own."""
PROBE = 128
"""Examples on which the nets are looked at before training."""

RATES: Mapping[tuple[str, str, int, str], tuple[float, float, float]] = {
    ("digits", "dense", 3, "none"): (0.03, 0.1, 0.1),
    ("digits", "dense", 16, "none"): (0.01, 0.03, 0.1),
    ("digits", "dense", 32, "none"): (0.003, 0.01, 0.1),
    ("fashion-mnist", "dense", 3, "none"): (0.03, 0.03, 0.03),
    ("fashion-mnist", "dense", 16, "none"): (0.01, 0.01, 0.03),
    ("cifar10", "dense", 16, "none"): (0.01, 0.03, 0.03),
    ("digits", "dense", 16, "batch"): (0.01, 0.01, 0.03),
    ("fashion-mnist", "dense", 16, "batch"): (0.003, 0.003, 0.01),
    ("digits", "conv", 16, "none"): (0.003, 0.01, 0.1),
}
"""(data set, kind, depth, normalization) -> learning rates of plain, residual and scaled: each arm's own with the
highest training accuracy over whole octaves of gain and {1e-4, 3e-4, ... 0.1}, found on the seeds 1000 and 1001."""


@dataclass(frozen=True)
class Outcome:
    """What one arm reached: by gain (seed, gain), by scheme (seed, scheme), and the nets before training."""

    accuracy: Tensor
    log_loss: Tensor
    schemes: Tensor
    variance: Tensor
    gradient: Tensor


def trial(cohort: Cohort) -> dict[str, Any]:
    """Train plain, residual and scaled nets from every gain and scheme; every tensor leads with the axis replica."""
    per_octave = int(cohort.setting("gains_per_octave"))
    octaves = torch.linspace(-OCTAVES, OCTAVES, 2 * OCTAVES * per_octave + 1, dtype=torch.float64).to(cohort.device)
    data = _data(cohort, 1)
    chance = 100 / data.classes
    found = {arm: _outcome(cohort, arm, octaves) for arm in ARMS}
    best = torch.stack([one.accuracy.amax(dim=1) for one in found.values()]).amax(dim=0)
    joint = {arm: working_range(octaves, one.accuracy, MARK * best) for arm, one in found.items()}
    own, learnt = {}, {}
    for arm, one in found.items():
        highest = one.accuracy.amax(dim=1)
        learnt[arm] = highest - chance >= LEARNT * (best - chance)
        own[arm] = working_range(octaves, one.accuracy, MARK * highest)
    undefined = {arm: torch.where(learnt[arm], 0.0, math.nan) for arm in ARMS}
    made: dict[str, Any] = {"best_accuracy": best}
    coordinates = ([round(x, 3) for x in octaves.tolist()],)
    for arm, one in found.items():
        made |= {
            f"range_{arm}": joint[arm].width,
            f"own_range_{arm}": own[arm].width + undefined[arm],
            f"low_edge_{arm}": own[arm].low + undefined[arm],
            f"high_edge_{arm}": own[arm].high + undefined[arm],
            f"censored_{arm}": own[arm].flags["low end censored"].double(),
            f"mean_accuracy_{arm}": one.accuracy.mean(dim=1) - chance,
            f"accuracy_{arm}": (one.accuracy.round(decimals=2), coordinates),
            f"log_loss_{arm}": (one.log_loss.round(decimals=3), coordinates),
            f"variance_{arm}": (one.variance.round(decimals=3), coordinates),
            f"gradient_{arm}": (one.gradient.round(decimals=3), coordinates),
            f"scheme_sd_{arm}": one.schemes.std(dim=1),
        }
    loud = octaves >= 2
    made["loud_residual"] = found["residual"].accuracy[:, loud].amax(dim=1) - chance
    for arm in ("residual", "scaled"):
        made |= {
            f"range_gain_{arm}": joint[arm].width - joint["plain"].width,
            f"own_range_gain_{arm}": made[f"own_range_{arm}"] - made["own_range_plain"],
            f"accuracy_gain_{arm}": made[f"mean_accuracy_{arm}"] - made["mean_accuracy_plain"],
            f"scheme_log_ratio_{arm}": (made[f"scheme_sd_{arm}"] / made["scheme_sd_plain"]).log(),
            f"low_gain_{arm}": made["low_edge_plain"] - made[f"low_edge_{arm}"],
            f"high_gain_{arm}": made[f"high_edge_{arm}"] - made["high_edge_plain"],
        }
    made["edge_asymmetry"] = made["high_gain_residual"] - made["low_gain_residual"]
    made["diverged"] = torch.zeros(len(cohort), dtype=torch.bool)  # a run that diverges is an outcome, at chance
    return made


def _outcome(cohort: Cohort, arm: str, octaves: Tensor) -> Outcome:
    """Train one arm from all gains, and from all schemes at gain 1; one learning rate, or the best of the grid."""
    starts = len(octaves) + len(SCHEMES)
    data = _data(cohort, starts)
    network, weights = _nets(cohort, arm, octaves, data)
    variance, gradient = _before_training(network, weights, data)
    rates = _rates(cohort, arm)
    reached = [_reached(network, _train(cohort, network, weights, data, rate), data) for rate in rates]
    accuracy = torch.stack([one[0] for one in reached]).amax(dim=0).view(len(cohort), starts)
    log_loss = torch.stack([one[1] for one in reached]).amin(dim=0).view(len(cohort), starts)
    gains = slice(0, len(octaves))
    return Outcome(
        accuracy=accuracy[:, gains],
        log_loss=log_loss[:, gains],
        schemes=accuracy[:, len(octaves) :],
        variance=variance.view(len(cohort), starts)[:, gains],
        gradient=gradient.view(len(cohort), starts)[:, gains],
    )


def _rates(cohort: Cohort, arm: str) -> tuple[float, ...]:
    if cohort["recipe"] == "retuned":
        return tuple(float(rate) for rate in str(cohort.setting("rates")).split())
    key = (cohort["dataset"], cohort["kind"], int(cohort["depth"]), cohort["normalization"])
    known = RATES.get(key)
    return (float(cohort.setting("rate")),) if known is None else (known[list(ARMS).index(arm)],)


def _data(cohort: Cohort, starts: int) -> Data:
    """The training subset of every seed, once for each of its starts."""
    name, size = cohort["dataset"], int(cohort.setting("size"))
    return datasets.load(
        name,
        train=int(cohort.setting("examples")),
        test=1,
        seeds=[seed for seed in cohort.seeds for _ in range(starts)],
        size=size if size and name != "digits" else None,
        grayscale=name == "cifar10" and bool(cohort.setting("grayscale")),
        standardize=True,
        device=cohort.device,
    )


def _nets(cohort: Cohort, arm: str, octaves: Tensor, data: Data) -> tuple[Network, Weights]:
    """Initial weights of every (seed, start): He times each gain, then every scheme; seeds are the slow axis."""

    def built(law: str) -> Network:
        kind, depth = cohort["kind"], int(cohort["depth"])
        return architectures.build(
            "constant-width",
            data.input_shape,
            data.classes,
            kind=kind,
            blocks=depth if kind == "dense" else depth // 2,
            width=int(cohort.setting(f"{kind}_width")),
            skip=ARMS[arm],
            normalization=cohort["normalization"],
            law=law,
        )

    network = built("he-normal")
    hidden = [name for name in network.kernels if name.startswith("block")]
    he = network.initialize(cohort.seeds, device=cohort.device)
    rows = []
    for octave in octaves.tolist():
        louder = he.clone()
        for name in hidden:
            louder[name].mul_(2.0**octave)
        rows.append(louder.flat)
    for law in SCHEMES:
        other = built(law).initialize(cohort.seeds, device=cohort.device)
        rows.append(he.replaced(hidden, other).flat)
    flat = torch.stack(rows, dim=1).flatten(0, 1)
    buffers = {name: buffer.repeat_interleave(len(rows), dim=0) for name, buffer in he.buffers.items()}
    return network, Weights(he.slots, flat.contiguous(), buffers)


def _train(cohort: Cohort, network: Network, weights: Weights, data: Data, rate: float) -> Run:
    return train(
        network,
        data,
        SGD(momentum=0.9),
        learning_rate=rate,
        seeds=[seed for seed in cohort.seeds for _ in range(weights.replicas // len(cohort))],
        steps=int(cohort.setting("steps")),
        batch=int(cohort.setting("batch")),
        start=weights,
    )


def _reached(network: Network, run: Run, data: Data) -> tuple[Tensor, Tensor]:
    """Training accuracy in % and log10 of the last tenth's mean training loss; a run that diverged is at chance."""
    accuracy = 100 * training_accuracy(network, run.end, data)
    accuracy = torch.where(run.diverged, 100 / data.classes, accuracy.nan_to_num(100 / data.classes))
    highest = 2 * math.log(data.classes)
    last = run.losses[:, -max(1, run.losses.shape[1] // 10) :].double().mean(dim=1)
    return accuracy, torch.where(run.diverged, highest, last).nan_to_num(highest).clamp(LOWEST_LOSS, highest).log10()


def _before_training(network: Network, weights: Weights, data: Data) -> tuple[Tensor, Tensor]:
    """log10 of the variance of the last block's output over the first's, and of the gradient norm of the first block's
    kernel over the last's, on a few examples; (replica,) each, clipped to +-30 (float32 ends there)."""
    positions = torch.arange(min(PROBE, data.index.shape[1]), device=data.inputs.device)
    inputs, labels = data.batch(positions.expand(weights.replicas, -1))
    blocks = [name for name in network.kernels if name.startswith("block")]
    outputs = layer_outputs(network, weights, inputs, training=network.mixes)
    kinds = ("Residual",) if outputs.of_kind("Residual") else ("relu",)
    spread = [value.flatten(1).var(dim=1) for value in outputs.of_kind(*kinds).values()]
    traced = Weights(weights.slots, weights.flat.detach().clone().requires_grad_(), weights.buffers)
    with torch.enable_grad():
        made = network(traced, inputs, training=network.mixes)
        total = torch.nn.functional.cross_entropy(made.flatten(0, 1), labels.flatten(), reduction="sum")
        (gradient,) = torch.autograd.grad(total, traced.flat)
    views = Weights(weights.slots, gradient)
    first, last = (views[name].flatten(1).norm(dim=1) for name in (blocks[0], blocks[-1]))
    return _log_ratio(spread[-1], spread[0]), _log_ratio(first, last)


def _log_ratio(upper: Tensor, lower: Tensor) -> Tensor:
    return (upper.double().log10() - lower.double().log10()).nan_to_num(30.0, 30.0, -30.0).clamp(-30, 30)


# --- the entry ----------------------------------------------------------------------------------------------------

CELLS = ("dataset", "kind", "depth")
DEEP: Mapping[str, tuple[Level, ...]] = {
    "depth": (16, 32, 56, 110),
    "normalization": ("none",),
    "recipe": ("frozen",),
}
SHALLOW: Mapping[str, tuple[Level, ...]] = {**DEEP, "depth": (2, 3, 8)}
HALF = "half an octave is the difference between two common schemes (He and Glorot with relu)"


def _quantities() -> dict[str, Quantity]:
    made = {
        "best_accuracy": Quantity(
            definition="highest training accuracy over gains and arms", unit="%", low=0, high=100
        ),
        "loud_residual": Quantity(
            definition="highest training accuracy of the residual net (s = 1) at gains of 4 and more, minus chance",
            unit="points",
            quantum=0.025,
        ),
        "edge_asymmetry": Quantity(definition="high_gain_residual - low_gain_residual", unit="octaves"),
    }
    for arm in ARMS:
        made |= {
            f"range_{arm}": Quantity(
                definition=f"octaves of gain at which the {arm} net reaches 90 % of the best accuracy of all arms",
                unit="octaves",
                low=0,
                high=8,
            ),
            f"own_range_{arm}": Quantity(
                definition=f"the same with 90 % of the {arm} net's own best; undefined when that is below half of the "
                "best arm's accuracy above chance",
                unit="octaves",
                low=0,
                high=8,
            ),
            f"low_edge_{arm}": Quantity(definition="lowest log2 gain of that range", unit="octaves"),
            f"high_edge_{arm}": Quantity(definition="highest log2 gain of that range", unit="octaves"),
            f"censored_{arm}": Quantity(definition="1 when the range reaches the lower end of the grid", low=0, high=1),
            f"mean_accuracy_{arm}": Quantity(
                definition=f"training accuracy of the {arm} net minus chance, mean over gains", unit="points"
            ),
            f"scheme_sd_{arm}": Quantity(
                definition="standard deviation of training accuracy over six schemes", unit="points", low=0
            ),
            f"accuracy_{arm}": Quantity(
                definition="training accuracy at the end (chance when diverged)",
                unit="%",
                low=0,
                high=100,
                axes=("log2_gain",),
            ),
            f"log_loss_{arm}": Quantity(
                definition="log10 of training loss over the last tenth of steps, clipped to [1e-4, 2 log K]",
                axes=("log2_gain",),
            ),
            f"variance_{arm}": Quantity(
                definition="log10 of output variance, last block over first, before training", axes=("log2_gain",)
            ),
            f"gradient_{arm}": Quantity(
                definition="log10 of gradient norm, first block over last, before training", axes=("log2_gain",)
            ),
        }
    for arm in ("residual", "scaled"):
        made |= {
            f"range_gain_{arm}": Quantity(definition=f"range_{arm} - range_plain", unit="octaves", low=-8, high=8),
            f"own_range_gain_{arm}": Quantity(
                definition=f"own_range_{arm} - own_range_plain", unit="octaves", low=-8, high=8
            ),
            f"accuracy_gain_{arm}": Quantity(
                definition=f"mean_accuracy_{arm} - mean_accuracy_plain", unit="points", low=-100, high=100
            ),
            f"scheme_log_ratio_{arm}": Quantity(definition=f"log(scheme_sd_{arm} / scheme_sd_plain)"),
            f"low_gain_{arm}": Quantity(
                definition=f"low_edge_plain - low_edge_{arm}: octaves gained at the low end", unit="octaves"
            ),
            f"high_gain_{arm}": Quantity(
                definition=f"high_edge_{arm} - high_edge_plain: octaves gained at the high end", unit="octaves"
            ),
        }
    return made


def _grid(name: str, kind: str, depths: tuple[Level, ...], *, seeds: int, **more: Any) -> Grid:
    levels: dict[str, tuple[Level, ...]] = {"dataset": (name,), "kind": (kind,), "depth": depths}
    settings = {key: value for key, value in more.items() if key not in ("normalization", "recipe")}
    factors: dict[str, tuple[Level, ...]] = {key: (more[key],) for key in ("normalization", "recipe") if key in more}
    return Grid(levels={**levels, **factors}, seeds=seeds, settings=settings)


SETTINGS: Mapping[str, Level] = {
    "examples": 1400,
    "size": 14,
    "grayscale": True,
    "dense_width": 32,
    "conv_width": 8,
    "batch": 64,
    "steps": 220,
    "rate": 0.01,
    "rates": "0.001 0.003 0.01 0.03 0.1",
    "gains_per_octave": 2,
}

PHENOMENON = Phenomenon(
    name="residual-initialization-sensitivity",
    statement=(
        "With blocks, parameters, data, optimizer and budget held fixed, identity skips widen the range of initial "
        "weight scales from which training succeeds, in nets of 16 layers and more, mostly toward small scales."
    ),
    source=Source(
        authors="Call for papers of the workshop Identifying and Understanding Deep Learning Phenomena",
        title="Example claim: residual connections reduce the sensitivity of training to parameter initialization",
        year=2019,
        venue="ICML workshop; background: Balduzzi et al. 2017, Yang & Schoenholz 2017, Hanin & Rolnick 2018",
        arxiv="1901.09321",
    ),
    factors={
        "dataset": looped("what is learnt"),
        "kind": looped("dense: one dense layer with relu per block; conv: convolution, relu, convolution per block"),
        "depth": looped("weight layers in blocks"),
        "normalization": looped("none, or batch normalization after every weight layer of the blocks", default="none"),
        "recipe": looped(
            "frozen: one learning rate per arm, tuned where the arm works best; retuned: the best of a grid of "
            "learning rates at every gain",
            default="frozen",
        ),
    },
    quantities=_quantities(),
    protocols={
        "smoke": Protocol(
            grids=(
                _grid("digits", "dense", (3, 16), seeds=3),
                _grid("digits", "dense", (16,), seeds=3, normalization="batch"),
                _grid("digits", "dense", (32,), seeds=3),
                _grid("digits", "dense", (16,), seeds=3, recipe="retuned", rates="0.01 0.03"),
            ),
            settings={**SETTINGS, "examples": 200, "steps": 60, "gains_per_octave": 1, "dense_width": 16},
        ),
        "small": Protocol(
            grids=(
                _grid("digits", "dense", (3, 16, 32), seeds=20),
                _grid("fashion-mnist", "dense", (3, 16), seeds=20, examples=4000),
                _grid("cifar10", "dense", (16,), seeds=20, examples=4000, size=16),
                _grid("digits", "dense", (16,), seeds=20, normalization="batch"),
                _grid("fashion-mnist", "dense", (16,), seeds=20, examples=4000, normalization="batch"),
                _grid("digits", "dense", (16,), seeds=20, recipe="retuned"),
                _grid("digits", "conv", (16,), seeds=20, gains_per_octave=1, batch=32, steps=120),
            ),
            settings=SETTINGS,
            looks=(5, 10, 20),
            note="Digits 8x8, Fashion-MNIST pooled to 14x14, CIFAR-10 grey 16x16; inputs standardized.",
        ),
        "full": Protocol(
            grids=(
                _grid("cifar10", "conv", (8, 20, 56, 110), seeds=3),
                _grid("cifar10", "conv", (8, 20, 56, 110), seeds=3, normalization="batch"),
                _grid("cifar10", "conv", (8, 20, 56, 110), seeds=3, recipe="retuned"),
            ),
            settings={
                **SETTINGS,
                "examples": 50000,
                "size": 32,
                "grayscale": False,
                "conv_width": 16,
                "batch": 128,
                "steps": 5865,
                "rates": "0.003 0.01 0.03 0.1",
                "gains_per_octave": 1,
            },
            cohort=1,
            note="15 epochs; needs a GPU. Learning rates of the frozen recipe are those of the settings until tuned.",
        ),
    },
    trial=trial,
    claims=(
        Claim(
            id="C1",
            statement="Skips scaled by 1/sqrt(blocks) widen the working range of gains by 1.5 octaves.",
            effect=Value("range_gain_scaled"),
            holds=at_least(1.5, reason=f"three times the smallest effect of interest: {HALF}"),
            within=CELLS,
            among=DEEP,
            headline=True,
            paper="no figure for this claim; nets without normalization become trainable with scaled skips [verified]",
        ),
        Claim(
            id="C1-unscaled",
            statement="Plain identity skips (s = 1) widen it by half an octave.",
            effect=Value("range_gain_residual"),
            holds=at_least(0.5, reason=HALF),
            within=CELLS,
            among=DEEP,
        ),
        Claim(
            id="C1-own",
            statement="Scaled skips widen it by 1.5 octaves also when each arm is measured against its own best.",
            effect=Value("own_range_gain_scaled"),
            holds=at_least(1.5, reason="as C1"),
            within=CELLS,
            among=DEEP,
        ),
        Claim(
            id="C1-retuned",
            statement="Scaled skips widen it by 1.5 octaves also when the learning rate is tuned anew at every gain.",
            effect=Value("range_gain_scaled"),
            holds=at_least(1.5, reason="as C1"),
            within=CELLS,
            among={**DEEP, "recipe": ("retuned",)},
        ),
        Claim(
            id="C2",
            statement="Over all gains, scaled residual nets train 10 points better.",
            effect=Value("accuracy_gain_scaled"),
            holds=at_least(
                10.0, reason="far above seed noise of 1 to 2 points; a net that fails everywhere gets nothing"
            ),
            within=CELLS,
            among=DEEP,
        ),
        Claim(
            id="C2-unscaled",
            statement="Over all gains, residual nets with s = 1 train 10 points better.",
            effect=Value("accuracy_gain_residual"),
            holds=at_least(10.0, reason="as C2"),
            within=CELLS,
            among=DEEP,
        ),
        Claim(
            id="C2-schemes",
            statement="Scaled skips cut the spread over six initialization schemes to 0.7 or less.",
            effect=Value("scheme_log_ratio_scaled"),
            holds=at_most(math.log(0.7), reason="a ratio of 0.7: half of the variance"),
            within=CELLS,
            among=DEEP,
        ),
        Claim(
            id="C2-schemes-unscaled",
            statement="Skips with s = 1 cut the spread over six initialization schemes to 0.7 or less.",
            effect=Value("scheme_log_ratio_residual"),
            holds=at_most(math.log(0.7), reason="a ratio of 0.7: half of the variance"),
            within=CELLS,
            among=DEEP,
        ),
        Claim(
            id="C3-low",
            statement="With s = 1 the low end of the working range moves down by 2 octaves.",
            effect=Value("low_gain_residual"),
            holds=at_least(
                2.0, reason="the mechanism: a plain net's signal shrinks with gain^depth, a residual net's not"
            ),
            within=CELLS,
            among=DEEP,
        ),
        Claim(
            id="C3-high",
            statement="With s = 1 the high end moves up by at most 1 octave.",
            effect=Value("high_gain_residual"),
            holds=at_most(1.0, reason="skips do not protect from large scales"),
            within=CELLS,
            among=DEEP,
        ),
        Claim(
            id="C3-asymmetry",
            statement="With s = 1 the high end moves less than the low end.",
            effect=Value("edge_asymmetry"),
            holds=at_most(0.0, reason="the prediction is the direction"),
            within=CELLS,
            among=DEEP,
        ),
        Claim(
            id="C4",
            statement="In nets of 2 or 3 layers skips with s = 1 change the working range by less than half an octave.",
            effect=Value("range_gain_residual"),
            holds=within(0.5, reason=HALF),
            within=CELLS,
            among={**SHALLOW, "depth": (2, 3, 8)},
            control=True,
        ),
        Claim(
            id="C4-schemes",
            statement="In such nets the spread over schemes changes by less than a quarter.",
            effect=Value("scheme_log_ratio_residual"),
            holds=within(math.log(1.25), reason="ratios from 0.8 to 1.25"),
            within=CELLS,
            among={**SHALLOW, "depth": (2, 3, 8)},
            control=True,
        ),
        Claim(
            id="C5",
            statement="With batch normalization in every block the widening falls to half or less.",
            effect=Contrast(
                "range_gain_scaled", ((1.0, Arm({"normalization": "batch"})), (-0.5, Arm({"normalization": "none"})))
            ),
            holds=at_most(0.0, reason="at most half of the widening without normalization"),
            within=CELLS,
            among={"depth": (16, 20, 56, 110), "recipe": ("frozen",)},
            control=True,
        ),
        Claim(
            id="C5-loud",
            statement="At gains of 4 and more, residual nets with s = 1 and 32 layers stay at chance.",
            effect=Value("loud_residual"),
            holds=at_most(5.0, reason="5 points above chance: nothing is learnt"),
            within=CELLS,
            among={**DEEP, "depth": (32, 56, 110)},
            control=True,
        ),
    ),
    cell=("dataset", "kind", "depth"),
    figures=(
        Lines(
            title="Training accuracy against the gain of the hidden layers",
            x="log2_gain",
            y=("accuracy_plain", "accuracy_residual", "accuracy_scaled"),
            panels=("dataset", "kind", "depth"),
            among={"normalization": ("none",), "recipe": ("frozen",)},
            caption="Gain 1 (0 on the axis) is He initialization.",
        ),
        Lines(
            title="With batch normalization in every block",
            x="log2_gain",
            y=("accuracy_plain", "accuracy_residual", "accuracy_scaled"),
            panels=("dataset", "kind", "depth"),
            among={"normalization": ("batch",)},
        ),
        Lines(
            title="Working range of gains against depth",
            x="depth",
            y=("range_plain", "range_residual", "range_scaled"),
            panels=("dataset",),
            among={"kind": ("dense",), "normalization": ("none",), "recipe": ("frozen",)},
            log_x=True,
        ),
        Lines(
            title="Before training: how the signal's variance grows from the first block to the last",
            x="log2_gain",
            y=("variance_plain", "variance_residual", "variance_scaled"),
            panels=("dataset", "kind", "depth"),
            among={"normalization": ("none",), "recipe": ("frozen",)},
            caption="Logarithm to base 10. Plain: slope proportional to depth.",
        ),
    ),
    findings="In dense nets of 16 and 32 layers the claim holds and is large: skips scaled by 1/sqrt(blocks) widen "
    "the working range of gains by 2.5 to 3.4 octaves, unscaled ones by 1.0 to 1.7, on digits, Fashion-MNIST and "
    "CIFAR-10 alike, and retuning the learning rate at every gain makes the widening larger (4.0 octaves), not "
    "smaller.\n\nIt stops at the conv net of 16 layers: at 120 steps the range measured against the best arm does "
    "not widen (0.04 octaves), although accuracy over all gains rises by 11 to 12 points.\n\nThe gain is all on "
    "the small side: with s = 1 the low end moves down by 3.9 octaves, to the end of the grid, and the high end "
    "moves inwards by 2.4; at gains of 4 and more a residual net of 32 layers learns nothing in any seed.\n\nTwo "
    "beliefs about limits do not hold. Batch normalization does not make the plain net insensitive: scaled skips "
    "still widen the range by more than half as much (by 3.4 and 6.4 octaves more than half). And skips do not cut "
    "the spread over six initialization schemes: it grows, in all five cells for s = 1, since unscaled residual "
    "nets fail under He initialization, which is the scheme that suits plain nets best. In nets of 3 layers skips "
    "widen the range on Fashion-MNIST (1.8 octaves), not on digits.",
    deviations=(
        "Working ranges are measured on the curve of each seed, not on the mean curve over seeds: the seed is the unit "
        "of replication.",
        "Measured against an arm's own best, an arm that learns next to nothing would have a range of 8 octaves; its "
        "own range is undefined below half of the best arm's accuracy above chance.",
        "Layer normalization and retuned rates outside of digits are left out at scale small; conv nets take the gains "
        "in whole octaves, batches of 32 and 120 steps; CIFAR-10 is grey, 16x16, 4,000 images.",
        "The rescaling of C4 (depth 3 and below) is tested at depth 3; scale full has depth 8 as its shallowest net.",
    ),
)
