"""Full-batch gradient descent drives the largest Hessian eigenvalue up to 2 / step size, and keeps it there."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from refute import architectures, datasets
from refute.architectures import Network, Weights
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
    Source,
    Value,
    at_least,
    at_most,
    looped,
    within,
)
from refute.datasets import Data
from refute.instruments.eigenvalues import eigenvalues
from refute.training import Run, train

MULTIPLES = (2.0, 3.0, 4.5)
"""2 / step size as multiples of the sharpness at the start."""
FLOW = 16.0
"""The multiple of the run with small steps, which stands for gradient flow."""
CHANGED = 3.0
"""The multiple whose step size is halved in mid-run, and that is trained by small batches too."""
NEAR = 0.98
"""Share of 2 / step size at which a run has arrived."""
SETTLING = 50
"""Steps after arrival that do not yet belong to the plateau."""
BATCH = 32


@dataclass(frozen=True)
class Path:
    """A run with its sharpness: r = step size x sharpness / 2 at the measured steps, (replica, moment)."""

    run: Run
    moments: tuple[int, ...]
    sharpness: Tensor
    ratio: Tensor

    @property
    def arrived(self) -> Tensor:
        """First measured step with r >= 0.98, (replica,); infinite when there is none."""
        near = self.ratio >= NEAR
        steps = torch.tensor(self.moments, dtype=torch.float64, device=near.device)
        return torch.where(near.any(dim=1), steps[near.int().argmax(dim=1)], math.inf)


def trial(cohort: Cohort) -> dict[str, Any]:
    """All step sizes from the same start; every tensor leads with the axis replica."""
    data = _data(cohort)
    network = _network(cohort, data)
    start = network.initialize(cohort.seeds, device=cohort.device)
    first = _sharpness(cohort, network, start, data)
    unit = int(cohort.setting("unit"))
    paths = {m: _path(cohort, network, data, start, first, m, round(unit * m)) for m in (*MULTIPLES, FLOW)}
    growth = paths[FLOW].sharpness.amax(dim=1) / first
    noisy = _path(cohort, network, data, start, first, CHANGED, round(unit * CHANGED), batch=BATCH)
    halved = _halved(cohort, network, data, paths[CHANGED], first)
    reachable = torch.stack([(growth > m) & paths[m].arrived.isfinite() for m in MULTIPLES], dim=1)
    plateau = torch.stack([_plateau(paths[m]) for m in MULTIPLES], dim=1)
    rising = torch.stack([_rising(paths[m]) for m in MULTIPLES], dim=1)
    window, apart = int(cohort.setting("window")), int(cohort.setting("apart"))
    falling = torch.stack([_falling(paths[m], window, apart) for m in MULTIPLES], dim=1)
    multiples = torch.tensor(MULTIPLES, dtype=torch.float64, device=first.device)
    drift = (paths[FLOW].sharpness / first.unsqueeze(1) - 1).abs().amax(dim=1)
    half = len(noisy.moments) // 2
    late = noisy.ratio[:, half:].median(dim=1).values
    return {
        "growth": growth,
        "arrived": reachable.double().mean(dim=1),
        "plateau_offset": _mean(plateau, reachable) - 1.06,
        "edge_slope_excess": _slope(multiples.log(), (plateau * multiples).log(), reachable) - 1,
        "sharpening": _spearman_before(paths[MULTIPLES[-1]]),
        "nonmonotone_share": _mean(rising, reachable),
        "long_span_drop": _mean(falling, reachable & falling.isfinite()),
        "quiet_ratio": paths[FLOW].ratio.amax(dim=1),
        "quiet_rises": _rises(paths[FLOW].run.losses, 0),
        "drift": drift,
        "small_batch_ratio": late,
        "halved_ratio": halved,
        **{
            f"ratio_{name}": (paths[m].ratio.round(decimals=3), ([k / unit for k in _at_unit(paths[m], unit)],))
            for name, m in zip(("2", "3", "4_5", "flow"), (*MULTIPLES, FLOW), strict=True)
        },
        "ratio_small_batch": (noisy.ratio.round(decimals=3), ([k / unit for k in _at_unit(noisy, unit)],)),
        "diverged": torch.stack([one.run.diverged for one in paths.values()]).any(dim=0),
    }


def _at_unit(path: Path, unit: int) -> list[float]:
    """Measured steps in units of training time, the same for every step size."""
    last = path.moments[-1]
    return [round(unit * step / last, 3) for step in path.moments]


def _data(cohort: Cohort) -> Data:
    name, size = cohort["dataset"], int(cohort.setting("size"))
    return datasets.load(
        name,
        train=int(cohort.setting("examples")),
        test=1,
        seeds=cohort.seeds,
        size=size if size and name != "digits" else None,
        grayscale=name == "cifar10" and bool(cohort.setting("grayscale")),
        standardize=True,
        flatten=cohort["architecture"] not in ("vgg-11", "resnet-18"),
        device=cohort.device,
    )


def _network(cohort: Cohort, data: Data) -> Network:
    kind, _, activation = str(cohort["architecture"]).partition("-")
    if kind in ("vgg", "resnet"):
        return architectures.build(kind, data.input_shape, data.classes, variant=activation)
    depth = {"linear": 0, "mlp": 2, "deep": 4}[kind]
    return architectures.build(
        "mlp",
        data.input_shape,
        data.classes,
        depth=depth,
        width=int(cohort.setting("width")),
        activation=activation or "tanh",
        law="torch-default",
    )


def _sharpness(cohort: Cohort, network: Network, weights: Weights, data: Data) -> Tensor:
    inputs, labels = data.first(data.index.shape[1])
    found = eigenvalues(
        network,
        weights,
        inputs,
        labels,
        seeds=cohort.seeds,
        loss="squared",
        dtype=torch.float64 if cohort["architecture"] == "linear" else None,
        tolerance=1e-9 if cohort["architecture"] == "linear" else 1e-3,
    )
    return found.values[:, 0].double()


def _path(
    cohort: Cohort,
    network: Network,
    data: Data,
    start: Weights,
    first: Tensor,
    multiple: float,
    steps: int,
    *,
    batch: int | None = None,
) -> Path:
    """Train with the step size 2 / (multiple x first sharpness) and measure the sharpness along the way."""
    count = int(cohort.setting("moments"))
    moments = tuple(sorted({round(steps * k / count) for k in range(count + 1)}))
    rate = 2 / (multiple * first)
    run = train(
        network,
        data,
        learning_rate=rate.float(),
        seeds=cohort.seeds,
        steps=steps,
        batch=batch,
        loss="squared",
        snapshots=moments,
        start=start,
    )
    inputs, labels = data.first(data.index.shape[1])
    measured: list[Tensor] = []
    ahead: Tensor | None = None
    linear = cohort["architecture"] == "linear"
    for moment in moments:
        weights = run.snapshots[moment]
        if not bool(weights.finite().all()):
            measured.append(torch.full_like(first, math.nan))
            continue
        found = eigenvalues(
            network,
            weights,
            inputs,
            labels,
            seeds=cohort.seeds,
            loss="squared",
            start=ahead,
            dtype=torch.float64 if linear else None,
            tolerance=1e-9 if linear else 1e-3,
        )
        measured.append(found.values[:, 0].double())
        ahead = found.vectors[:, 0]
    sharpness = torch.stack(measured, dim=1)
    return Path(run, moments, sharpness, sharpness * rate.unsqueeze(1) / 2)


def _halved(cohort: Cohort, network: Network, data: Data, path: Path, first: Tensor) -> Tensor:
    """Highest r against the new edge after the step size was halved in mid-plateau, (replica,)."""
    middle = path.moments[len(path.moments) // 2]
    steps = round(int(cohort.setting("unit")) * CHANGED)
    after = _path(cohort, network, data, path.run.snapshots[middle], first, 2 * CHANGED, 2 * steps)
    return torch.where(path.arrived <= middle, after.ratio.amax(dim=1), math.nan)


# --- from a path to numbers ---------------------------------------------------------------------------------------


def _plateau(path: Path) -> Tensor:
    """Median r from 50 steps after arrival to the end, (replica,)."""
    steps = torch.tensor(path.moments, dtype=torch.float64, device=path.arrived.device)
    on = steps >= path.arrived.unsqueeze(1) + SETTLING
    return torch.where(on, path.ratio, math.nan).nanmedian(dim=1).values


def _rises(losses: Tensor, start: int | Tensor) -> Tensor:
    """Share of steps from `start` on at which the loss rises, (replica,)."""
    steps = torch.arange(losses.shape[1] - 1, device=losses.device)
    begin = torch.as_tensor(start, device=losses.device).reshape(-1, 1)
    on = (steps >= begin).expand(len(losses), -1)
    rises = (losses.diff(dim=1) > 1e-6 * losses[:, :1]) & on
    return rises.sum(dim=1) / on.sum(dim=1).clamp(min=1).double()


def _rising(path: Path) -> Tensor:
    return _rises(path.run.losses, path.arrived.nan_to_num(posinf=1e9) + SETTLING)


def _falling(path: Path, window: int, apart: int) -> Tensor:
    """Share of plateau steps whose loss, a mean over `window` steps, is lower `apart` steps later, (replica,)."""
    losses = path.run.losses.double()
    if losses.shape[1] < window + apart:
        return torch.full_like(losses[:, 0], math.nan)
    means = losses.unfold(1, window, 1).mean(dim=-1)
    falls = means[:, apart:] < means[:, :-apart]
    on = torch.arange(falls.shape[1], device=falls.device) >= path.arrived.unsqueeze(1) + SETTLING
    return torch.where(on.any(dim=1), (falls & on).sum(dim=1) / on.sum(dim=1).clamp(min=1).double(), math.nan)


def _spearman_before(path: Path) -> Tensor:
    """Rank correlation of sharpness and step before arrival (the whole run when it does not arrive), (replica,)."""
    found = []
    for sharpness, arrived in zip(path.sharpness.cpu(), path.arrived.tolist(), strict=True):
        until = [k for k, step in enumerate(path.moments) if step <= arrived]
        values = sharpness[until]
        if len(until) < 4 or not bool(values.isfinite().all()):
            found.append(math.nan)
            continue
        ranks = values.argsort().argsort().double()
        found.append(float(torch.corrcoef(torch.stack([ranks, torch.arange(len(until)).double()]))[0, 1]))
    return torch.tensor(found, dtype=torch.float64)


def _mean(values: Tensor, kept: Tensor) -> Tensor:
    """Mean over the kept step sizes, NaN where there is none or one is not defined, (replica,)."""
    total = torch.where(kept, values.double(), 0.0).sum(dim=1)
    return torch.where(kept.any(dim=1), total / kept.sum(dim=1).clamp(min=1), math.nan)


def _slope(x: Tensor, y: Tensor, kept: Tensor) -> Tensor:
    """Least-squares slope over three step sizes, NaN when not all of them arrive, (replica,)."""
    centred = x - x.mean()
    found = (centred * (y - y.mean(dim=1, keepdim=True))).sum(dim=1) / (centred * centred).sum()
    return torch.where(kept.all(dim=1), found, math.nan)


# --- the entry ----------------------------------------------------------------------------------------------------

CELLS = ("dataset", "architecture")
NETS: Mapping[str, tuple[Level, ...]] = {"architecture": ("mlp-tanh", "mlp-relu", "deep-tanh", "vgg-11", "resnet-18")}
STEEP = (Condition("growth", at_least=2.0),)


def _grid(names: tuple[str, ...], nets: tuple[Level, ...], *, seeds: int, **settings: Level) -> Grid:
    return Grid(levels={"dataset": names, "architecture": nets}, seeds=seeds, settings=settings)


SETTINGS: Mapping[str, Level] = {
    "examples": 500,
    "size": 14,
    "grayscale": True,
    "width": 64,
    "unit": 600,
    "moments": 40,
    "window": 50,
    "apart": 500,
}

PHENOMENON = Phenomenon(
    name="edge-of-stability",
    statement=(
        "Under full-batch gradient descent the largest Hessian eigenvalue rises until it reaches 2 / step size and "
        "then stays just above it, while the loss goes up and down from step to step and falls over long spans."
    ),
    source=Source(
        authors="Jeremy Cohen, Simran Kaur, Yuanzhi Li, J. Zico Kolter, Ameet Talwalkar",
        title="Gradient Descent on Neural Networks Typically Occurs at the Edge of Stability",
        year=2021,
        venue="ICLR",
        openreview="jh-rTtvkGeM",
        arxiv="2103.00065",
        code="locuslab/edge-of-stability",
    ),
    factors={
        "dataset": looped("images, standardized"),
        "architecture": looped(
            "mlp-tanh, mlp-relu: two hidden layers; deep-tanh: four; linear: none; vgg-11, resnet-18 at scale full"
        ),
    },
    quantities={
        "growth": Quantity(
            definition="largest sharpness with small steps (2 / step size = 16 x the first) over the first sharpness",
            low=0,
        ),
        "arrived": Quantity(definition="share of step sizes that arrive and that small steps pass", low=0, high=1),
        "plateau_offset": Quantity(
            definition="median of step size x sharpness / 2 on the plateau, mean over arriving step sizes, minus 1.06"
        ),
        "edge_slope_excess": Quantity(
            definition="slope of log plateau sharpness on log(2 / step size) over three step sizes, minus 1"
        ),
        "sharpening": Quantity(
            definition="Spearman of sharpness and step before arrival, smallest step size; told from 1 to 0.001",
            low=-1,
            high=1,
            quantum=1e-3,
        ),
        "nonmonotone_share": Quantity(definition="share of plateau steps at which the loss rises", low=0, high=1),
        "long_span_drop": Quantity(
            definition="share of plateau steps with a lower mean loss (over 50 steps) 500 steps later; of about 1,000",
            low=0,
            high=1,
            quantum=1e-3,
        ),
        "quiet_ratio": Quantity(definition="highest step size x sharpness / 2 with small steps", low=0),
        "quiet_rises": Quantity(
            definition="share of steps at which the loss rises with small steps", low=0, high=1, quantum=1e-4
        ),
        "drift": Quantity(definition="largest relative change of the sharpness with small steps", low=0, quantum=1e-9),
        "small_batch_ratio": Quantity(
            definition="median of step size x sharpness / 2 in the second half of SGD with batches of 32", low=0
        ),
        "halved_ratio": Quantity(
            definition="highest step size x sharpness / 2 after the step size was halved in mid-plateau", low=0
        ),
        **{
            f"ratio_{name}": Quantity(definition=f"step size x sharpness / 2 along training, {words}", axes=("time",))
            for name, words in (
                ("2", "2 / step size = 2 x the first sharpness"),
                ("3", "3 x"),
                ("4_5", "4.5 x"),
                ("flow", "16 x: small steps"),
                ("small_batch", "3 x, batches of 32"),
            )
        },
    },
    protocols={
        "smoke": Protocol(
            grids=(
                _grid(("digits",), ("deep-tanh",), seeds=2),
                _grid(("digits",), ("linear",), seeds=2, unit=20),
            ),
            settings={
                **SETTINGS,
                "examples": 60,
                "width": 32,
                "unit": 120,
                "moments": 8,
                "window": 10,
                "apart": 50,
            },
        ),
        "small": Protocol(
            grids=(
                _grid(("digits",), ("mlp-tanh", "mlp-relu", "deep-tanh"), seeds=20),
                _grid(("fashion-mnist",), ("mlp-tanh", "deep-tanh"), seeds=20),
                _grid(("cifar10",), ("mlp-tanh",), seeds=20),
                _grid(("digits",), ("linear",), seeds=20, unit=50, moments=10),
            ),
            settings=SETTINGS,
            looks=(5, 10, 20),
            note="Digits 8x8, Fashion-MNIST and CIFAR-10 (grey) 14x14; 500 training images, mean squared error as half "
            "the sum over outputs.",
        ),
        "full": Protocol(
            grids=(
                _grid(("cifar10",), ("mlp-tanh", "mlp-relu", "vgg-11", "resnet-18"), seeds=3),
                _grid(("cifar10",), ("linear",), seeds=3, unit=50, moments=10),
            ),
            settings={**SETTINGS, "examples": 5000, "size": 32, "grayscale": False, "width": 200, "unit": 1000},
            cohort=1,
            note="CIFAR-10, 5,000 images; needs a GPU.",
        ),
    },
    trial=trial,
    claims=(
        Claim(
            id="C1",
            statement="On the plateau the sharpness is 0.97 to 1.15 times 2 / step size.",
            effect=Value("plateau_offset"),
            holds=within(0.09, reason="from 0.97 to 1.15, which is 1.06 +- 0.09: at or just above the edge"),
            within=CELLS,
            among=NETS,
            where=STEEP,
            headline=True,
            paper="the sharpness hovers just above 2 / step size [verified]",
        ),
        Claim(
            id="C1-slope",
            statement="Plateau sharpness is proportional to 1 / step size.",
            effect=Value("edge_slope_excess"),
            holds=within(0.05, reason="a slope of 0.95 to 1.05 on logarithms"),
            within=CELLS,
            among=NETS,
        ),
        Claim(
            id="C2",
            statement="Before it arrives, the sharpness rises all the time.",
            effect=Value("sharpening"),
            holds=at_least(0.8, reason="nearly the order of the steps"),
            within=CELLS,
            among=NETS,
        ),
        Claim(
            id="C2-growth",
            statement="With small steps the sharpness at least doubles.",
            effect=Value("growth"),
            holds=at_least(2.0, reason="a doubling: far more than it varies from seed to seed"),
            within=CELLS,
            among=NETS,
        ),
        Claim(
            id="C3-rises",
            statement="On the plateau the loss rises at a fifth of the steps or more.",
            effect=Value("nonmonotone_share"),
            holds=at_least(0.2, reason="a fifth of the steps; with small steps it never rises"),
            within=CELLS,
            among=NETS,
            where=STEEP,
        ),
        Claim(
            id="C3-falls",
            statement="Over 500 steps its running mean falls nearly always.",
            effect=Value("long_span_drop"),
            holds=at_least(0.95, reason="19 of 20 spans"),
            within=CELLS,
            among=NETS,
            where=STEEP,
        ),
        Claim(
            id="C4-quiet",
            statement="With steps far below the edge that the sharpness could reach, it stays below 0.7 of the edge.",
            effect=Value("quiet_ratio"),
            holds=at_most(0.7, reason="clear of the edge"),
            within=CELLS,
            among=NETS,
            where=(Condition("growth", at_most=8.0),),
            control=True,
        ),
        Claim(
            id="C4-monotone",
            statement="And the loss never rises.",
            effect=Value("quiet_rises"),
            holds=at_most(0.001, reason="none but what rounding makes: one step in a thousand"),
            within=CELLS,
            among=NETS,
            where=(Condition("growth", at_most=8.0),),
            control=True,
        ),
        Claim(
            id="C4-linear",
            statement="In a linear model the sharpness does not change.",
            effect=Value("drift"),
            holds=at_most(1e-6, reason="its Hessian does not depend on the weights"),
            within=CELLS,
            among={"architecture": ("linear",)},
            control=True,
        ),
        Claim(
            id="C4-batches",
            statement="SGD with batches of 32 and the same step size stays below 0.8 of the edge.",
            effect=Value("small_batch_ratio"),
            holds=at_most(0.8, reason="clearly below the edge"),
            within=CELLS,
            among=NETS,
            control=True,
        ),
        Claim(
            id="C5",
            statement="When the step size is halved on the plateau, the sharpness rises to the new edge.",
            effect=Value("halved_ratio"),
            holds=at_least(0.97, reason="the new edge, as C1"),
            within=CELLS,
            among=NETS,
            where=(Condition("growth", at_least=6.0),),
        ),
    ),
    figures=(
        Lines(
            title="Sharpness over 2 / step size along training",
            x="time",
            y=("ratio_2", "ratio_3", "ratio_4_5", "ratio_flow", "ratio_small_batch"),
            panels=("dataset", "architecture"),
            dashed=("ratio_small_batch",),
            reference=1.0,
            caption="Time is step x step size, 1 at the end. Lines: 2 / step size is 2, 3, 4.5 and 16 times the first "
            "sharpness; dashed: 3 times, with batches of 32.",
        ),
    ),
    findings="In all six nets the sharpness grows under small steps, 2.6 to 17 times, in nearly the order of the "
    "steps, and with larger steps it stops near 2 / step size: at 1.02 to 1.12 times it in tanh nets of five "
    "cells, while the loss rises at 22 to 46 % of the steps and its running mean falls over every span of 500. "
    "Small steps never raise the loss, and a linear model's sharpness does not move. Where it stops: in the relu "
    "net the plateau lies at 0.95 and the loss rises at 9 % of the steps, as its sharpness comes to the edge and "
    "falls back. The plateau is not quite proportional to 1 / step size: the slope is 0.90 to 0.94 where all three "
    "step sizes arrive, since larger steps overshoot more. How near SGD with batches of 32 comes depends on how "
    "much the sharpness wants to grow: 0.57 to 0.62 of the edge where it grows threefold, 0.83 where it grows 7 to "
    "17 times, which refutes the claimed 0.8 there. After halving the step size in mid-plateau the sharpness comes "
    "to the new edge in two of three cells that can reach it, and to 0.93 of it in the third within the budget. "
    "Two quantities got the step to which they can be told from 1 after the first verdict (a share of 1 in every "
    "seed had no interval); no bound was touched.",
    deviations=(
        "Step sizes follow the amended specification (2, 3 and 4.5 times the first sharpness, training time constant), "
        "with 600 instead of 1,000 steps per unit and 500 images; gradient flow is a run with 16 times.",
        "Plateau, rises and falls are means over the step sizes that arrive and whose edge small steps pass too; falls "
        "over those whose plateau is long enough to compare.",
        "C1's region from 0.97 to 1.15 is judged as 1.06 +- 0.09. C5 is judged where small steps pass the new "
        "edge, with a budget of as long a training time as the whole run before.",
        "Momentum, Adam, cross-entropy and conv nets are left out at scale small.",
    ),
)
