"""A made-up phenomenon with an outcome that looks like a real one: all verdicts, failed blocks, one and two axes."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from refute.core import (
    CellResult,
    Claim,
    Condition,
    Curve,
    Grid,
    HeatMap,
    Level,
    Lines,
    Outcome,
    Phenomenon,
    PooledResult,
    Protocol,
    Provenance,
    Quantity,
    RankCorrelation,
    Result,
    Scatter,
    Share,
    Slope,
    Source,
    Trial,
    Value,
    Verdict,
    VerdictWord,
    at_least,
    at_most,
    difference,
    expand,
    log_ratio,
    looped,
    make_trial,
    stacked,
    within,
)

DATASETS = ("digits", "mnist", "fashion-mnist")
ARCHITECTURES = ("fc-4", "fc-8")
RATES = (0.003, 0.01, 0.03, 0.1, 0.3)
WIDTHS = (32, 128)
SEEDS = 4
LAYERS = 5
EPOCHS = (-1.0, 0.0, 0.25, 1.0, 5.0, 10.0)
CELL = ("dataset", "architecture")


def trial(cohort: Any) -> dict[str, Any]:
    raise NotImplementedError


CLAIMS = (
    Claim(
        id="C1",
        statement="Layers differ: some cost accuracy when put back to their initial values, others do not",
        effect=Share(Condition("heterogeneity", at_least=0.3)),
        holds=at_least(0.5, reason="more seeds than not; 0.3 is thirty times the seed noise of accuracy on MNIST"),
        within=CELL,
        among={"width": (128,), "learning_rate": (0.03,)},
        where=(Condition("train_accuracy", at_least=0.995),),
        paper="resetting the first layer of a 3 x 256 net leaves 56.6 % accuracy [verified: replication]",
        headline=True,
    ),
    Claim(
        id="C2",
        statement="Initial values are special: fresh random values cost at least 20 points more",
        effect=difference("drop", across="width", minus=32, plus=128),
        holds=at_least(20.0, reason="a fifth of the scale"),
        within=CELL,
        among={"learning_rate": (0.03,)},
    ),
    Claim(
        id="C3",
        statement="Distance moved does not tell which layer is critical",
        effect=RankCorrelation("distance_moved", "drop", along=("learning_rate",)),
        holds=at_most(0.9, reason="a distance that orders 9 of 10 pairs would tell"),
        within=CELL,
        among={"width": (128,)},
    ),
    Claim(
        id="C4",
        statement="The drop grows as a power of the learning rate",
        effect=Slope("learning_rate", "drop", along=("learning_rate",), log=True),
        holds=at_least(0.25, reason="a quarter power"),
        within=("dataset",),
        among={"width": (128,), "architecture": ("fc-4",)},
    ),
    Claim(
        id="C5",
        statement="An independent reference vector shows nothing",
        effect=Value("placebo"),
        holds=within(0.05, reason="twice the seed noise <script>alert('x')</script> & more"),
        within=("dataset",),
        among={"width": (128,), "learning_rate": (0.03,), "architecture": ("fc-4",)},
        control=True,
    ),
    Claim(
        id="C6",
        statement="The loss falls by half when width grows four times",
        effect=log_ratio("loss", across="width", denominator=32, numerator=128),
        holds=at_most(-0.69, reason="log 0.5"),
        within=CELL,
        among={"learning_rate": (0.03,)},
    ),
)

FIGURES = (
    HeatMap(
        title="Test error after putting one layer back",
        quantity="reset_error",
        panels=CELL,
        among={"width": (128,), "learning_rate": (0.03,)},
        column_labels={-1.0: "fresh", 10.0: "end"},
        caption="Rows: layers, input first. Columns: epoch of the values that a layer gets back",
    ),
    Lines(
        title="Accuracy lost by layer",
        x="layer",
        y=("initial_drop", "random_drop"),
        panels=CELL,
        among={"width": (128,), "learning_rate": (0.03,)},
        reference=80.0,
        caption="Points of test accuracy",
    ),
    Lines(
        title="Strength of every mode while training",
        x="step",
        y=("strength", "strength_theory"),
        colour="mode",
        panels=("dataset",),
        among={"architecture": ("fc-4",), "width": (128,), "learning_rate": (0.03,)},
        dashed=("strength_theory",),
        log_x=True,
    ),
    Lines(
        title="Loss against learning rate",
        x="learning_rate",
        y=("loss",),
        colour="dataset",
        panels=("width",),
        log_x=True,
        log_y=True,
    ),
    Lines(title="Heterogeneity by architecture", x="architecture", y=("heterogeneity",), colour="width"),
    Scatter(
        title="Distance and drop by layer",
        x="distance",
        y="initial_drop",
        colour="layer",
        panels=("dataset",),
        among={"width": (128,)},
        log_x=True,
    ),
    Scatter(
        title="Distance and drop by run",
        x="distance_moved",
        y="drop",
        colour="architecture",
        hollow=Condition("train_accuracy", at_most=0.99),
        panels=("dataset",),
    ),
)

PHENOMENON = Phenomenon(
    name="layers-made-up",
    statement="Putting one layer of a trained net back to its initial values destroys accuracy for a few critical "
    "layers, mostly the first, and changes almost nothing for the others.",
    source=Source(
        authors="Ada Example, Bo Example & Cy Example",
        title="Are All Layers Made Up?",
        year=2019,
        venue="Workshop on Examples",
        openreview="abc123",
        arxiv="1902.00000",
        code="example/layers",
    ),
    factors={
        "dataset": looped("images to classify"),
        "architecture": looped("fc-D: D hidden dense layers"),
        "width": looped("units per hidden layer", default=128),
        "learning_rate": stacked("step size of SGD", default=0.03),
    },
    quantities={
        "train_accuracy": Quantity(definition="share of training images fitted", low=0, high=1),
        "heterogeneity": Quantity(definition="largest minus smallest normalized drop over layers", low=0, high=1),
        "drop": Quantity(definition="accuracy lost, mean over layers", unit="points", low=-100, high=100),
        "distance_moved": Quantity(definition="root mean square change of all weights", low=0),
        "placebo": Quantity(definition="correlation with an independent vector", low=-1, high=1),
        "loss": Quantity(definition="mean cross-entropy on the test images", unit="nats", low=0),
        "initial_drop": Quantity(definition="accuracy lost when a layer goes back", unit="points", axes=("layer",)),
        "random_drop": Quantity(definition="accuracy lost with fresh random values", unit="points", axes=("layer",)),
        "distance": Quantity(definition="root mean square change of the layer", axes=("layer",)),
        "reset_error": Quantity(definition="test error after the reset", unit="%", axes=("layer", "epoch")),
        "strength": Quantity(definition="strength of a mode relative to its target", axes=("mode", "step")),
        "strength_theory": Quantity(definition="the same by the closed form", axes=("mode", "step")),
    },
    protocols={
        "small": Protocol(
            grids=(
                Grid(
                    levels={
                        "dataset": DATASETS,
                        "architecture": ARCHITECTURES,
                        "width": WIDTHS,
                        "learning_rate": RATES,
                    },
                    seeds=SEEDS,
                ),
            ),
            settings={"batch": 100, "momentum": 0.9, "steps": 1500},
            note="Images are pooled to 14 x 14.",
        ),
    },
    trial=trial,
    claims=CLAIMS,
    figures=FIGURES,
    deviations=("No data augmentation: the small nets underfit with it.",),
    findings="The first layer is critical in every cell.\n\nDistance tells more than the paper says.",
)


def planned(phenomenon: Phenomenon = PHENOMENON) -> tuple[Trial, ...]:
    grid = phenomenon.protocols["small"].grids[0]
    settings = phenomenon.protocols["small"].settings
    return tuple(
        make_trial(phenomenon, levels, block, settings) for levels in expand(grid.levels) for block in range(grid.seeds)
    )


def measured(one: Trial, noise: np.random.Generator) -> Result:
    """Numbers with the shape of real ones; every 40th trial has diverged."""
    rate, width = float(one.levels["learning_rate"]), float(one.levels["width"])
    hard = DATASETS.index(str(one.levels["dataset"])) / 2
    layer, epoch = np.arange(LAYERS), np.array(EPOCHS)
    drop = (30 + 25 * hard) * np.exp(-1.4 * layer) * (rate / 0.03) ** 0.2 + noise.normal(0, 1, LAYERS) ** 2
    fresh = np.clip(70 + 12 * np.cos(layer) + noise.normal(0, 4, LAYERS), 0, 88)
    error = 8 + drop[:, None] * np.exp(-0.4 * np.clip(epoch, 0, None))[None] + noise.normal(0, 0.3, (LAYERS, 6))
    error[:, 0] = 10 + fresh
    mode, step = np.arange(1.0, 7.0), np.arange(0.0, 1500.0, 5.0)
    target = 1 / mode
    start = noise.lognormal(math.log(1e-3), 0.25)
    curves = {"strength": start, "strength_theory": 1e-3}
    grown = {
        name: Curve(
            (tuple(mode), tuple(step + 1)),
            tuple((1 / (1 + (1 / u0 - 1) * np.exp(-0.05 * target[:, None] * step[None]))).ravel()),
        )
        for name, u0 in curves.items()
    }
    number = int(one.key[:6], 16)
    return Result(
        key=one.key,
        diverged=number % 40 == 0,
        values={
            "train_accuracy": 1.0 if rate < 0.3 or number % 3 else 0.9,
            "heterogeneity": min(1.0, 0.3 + 0.2 * hard + 0.001 * width + noise.normal(0, 0.05)),
            "drop": float(drop.mean()),
            "distance_moved": 0.02 * (rate / 0.003) ** 0.5 + abs(noise.normal(0, 0.004)),
            "placebo": noise.normal(0, 0.02),
            "loss": float(np.exp(-1 + hard - 0.2 * math.log(width / 32) + noise.normal(0, 0.1))) * (1 + 8 * rate),
        },
        curves={
            "initial_drop": Curve((tuple(range(LAYERS)),), tuple(drop)),
            "random_drop": Curve((tuple(range(LAYERS)),), tuple(fresh)),
            "distance": Curve(
                (tuple(range(LAYERS)),), tuple(0.1 * np.exp(-0.5 * layer + noise.normal(0, 0.1, LAYERS)))
            ),
            "reset_error": Curve((tuple(range(LAYERS)), EPOCHS), tuple(error.ravel())),
            **grown,
        },
    )


def cell(
    levels: Mapping[str, Level],
    word: VerdictWord,
    effect: float,
    half: float,
    *,
    seeds: int = 10,
    failed: int = 0,
    **more: Any,
) -> CellResult:
    noise = np.random.default_rng(len(str(levels)))
    effects = tuple(float(v) for v in effect + half * noise.normal(0, 1, seeds - failed)) + (math.nan,) * failed
    known: dict[str, Any] = {
        "confidence": 0.9,
        "sd": half * 1.5,
        "excluded": failed,
        "diverged": min(failed, 1),
        "p_supported": 0.01,
        "p_refuted": 0.99,
        "hedges_g": (1.8, 0.9, 2.7),
        "superiority": (0.9, 0.6, 0.98),
    }
    return CellResult(
        levels=levels,
        verdict=word,
        effects=effects,
        blocks=tuple(range(seeds)),
        planned=seeds,
        effect=effect,
        low=effect - half,
        high=effect + half * 1.1,
        **{**known, **more},
    )


UNDEFINED: dict[str, Any] = {
    "p_supported": 1.0,
    "p_refuted": 1.0,
    "hedges_g": None,
    "superiority": None,
    "sd": math.nan,
}


def verdicts() -> tuple[Verdict, ...]:
    cells = [{"dataset": d, "architecture": a} for d in DATASETS for a in ARCHITECTURES]
    sets = [{"dataset": d} for d in DATASETS]
    share = [
        replace(cell(at, "supported", 0.95 + 0.05 * (i % 2), 0.0, seeds=20, hedges_g=None), low=0.78, high=1.0)
        for i, at in enumerate(cells)
    ]
    gaps = [cell(at, "supported", 28.0 + 5 * i, 3.5 + i) for i, at in enumerate(cells[:4])] + [
        cell(cells[4], "refuted", 8.1, 4.2),
        cell(cells[5], "inconclusive", 21.4, 6.3, failed=1, seeds_needed=40, reason="the interval contains the bound"),
    ]
    ranks = [
        cell(at, "refuted", 0.97, 0.02, seeds=20, notes=("skewed: the error toward the short tail may reach 8 %",))
        for at in cells
    ]
    slopes = [
        cell(sets[0], "inconclusive", 0.29, 0.11, seeds_needed=20, reason="the interval contains the bound"),
        cell(sets[1], "inconclusive", 0.21, 0.9, seeds=5, reason="the interval contains the bound"),
        replace(
            cell(sets[2], "untested", math.nan, math.nan, seeds=5, failed=5, **UNDEFINED),
            reason="5 of 5 planned seeds failed, more than 10 %",
        ),
    ]
    placebo = [cell(at, "supported", 0.004 * i - 0.003, 0.012) for i, at in enumerate(sets)]
    untested = [
        CellResult(
            levels=at,
            verdict="untested",
            effects=(),
            blocks=(),
            planned=10,
            effect=math.nan,
            low=math.nan,
            high=math.nan,
            confidence=0.9,
            excluded=0,
            diverged=0,
            reason="none of 10 seeds has been run",
            **UNDEFINED,
        )
        for at in cells
    ]
    pool = PooledResult(
        mean=29.4, low=17.1, high=41.6, tau=11.2, i_squared=0.931, prediction=(-3.2, 61.9), share_beyond=0.8
    )
    placebo_pool = PooledResult(mean=0.001, low=-0.006, high=0.009, tau=0.0, i_squared=0.0)
    said: list[tuple[VerdictWord, str, list[CellResult], PooledResult | None]] = [
        ("supported", "Supported in every cell (6 of 6).", share, None),
        (
            "limited",
            "Supported in digits, fc-4; digits, fc-8; mnist, fc-4; mnist, fc-8; refuted in fashion-mnist, fc-4.",
            gaps,
            pool,
        ),
        ("refuted", "Refuted in every cell (6 of 6).", ranks, None),
        ("inconclusive", "0 of 2 tested cells supported, none refuted.", slopes, None),
        ("supported", "Supported in every cell (3 of 3).", placebo, placebo_pool),
        ("untested", "nothing has been run yet", untested, None),
    ]
    return tuple(
        Verdict(claim=claim, verdict=word, sentence=sentence, cells=tuple(found), pooled=pooled)
        for claim, (word, sentence, found, pooled) in zip(CLAIMS, said, strict=True)
    )


PROVENANCE = Provenance(
    code_version="0.1.0 (1a2b3c4)",
    python="3.11.9",
    packages={"torch": "2.13.0", "numpy": "2.4.6"},
    platform="Linux-6.1-x86_64",
    processor="2 cores",
    device="cpu",
    created="2026-11-23T09:00:00Z",
)


def outcome() -> Outcome:
    trials = planned()
    noise = np.random.default_rng(0)
    results = {one.key: measured(one, noise) for one in trials}
    return Outcome(
        phenomenon=PHENOMENON,
        scale="small",
        trials=trials,
        results=results,
        verdicts=verdicts(),
        trials_run=len(trials) - 20,
        trials_cached=20,
        diverged=sum(result.diverged for result in results.values()),
        seconds=83.4,
        core_seconds=160.2,
        provenance=(PROVENANCE,),
        warnings=("one file of the lab was damaged and set aside; its trials were run again",),
    )


def nothing_run() -> Outcome:
    """The same plan before any trial."""
    full = outcome()
    missing = verdicts()[-1].cells
    return replace(
        full,
        results={},
        verdicts=tuple(
            Verdict(claim=claim, verdict="untested", sentence="nothing has been run yet", cells=missing)
            for claim in CLAIMS
        ),
        trials_run=0,
        trials_cached=0,
        diverged=0,
        seconds=0.0,
        core_seconds=0.0,
        provenance=(),
        warnings=(),
    )
