"""From rows to one number per block: contrasts, picks, correlations, filters, and what is refused."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from conftest import make_phenomenon

from refute.core import (
    Arm,
    Claim,
    Condition,
    Contrast,
    Grid,
    Phenomenon,
    Pick,
    Protocol,
    Quantity,
    RankCorrelation,
    Result,
    Share,
    Slope,
    Trial,
    Value,
    Verdict,
    at_least,
    difference,
    log_ratio,
)
from refute.engine import plan
from refute.errors import JudgementError
from refute.judge import judge

RATES = (1.0, 2.0, 3.0, 4.0)


def phenomenon(claim: Claim, seeds: int = 6) -> Phenomenon:
    return make_phenomenon(
        claims=(claim,),
        quantities={
            "height": Quantity(definition="h"),
            "fit": Quantity(definition="f"),
            "score": Quantity(definition="s"),
        },
        protocols={"smoke": Protocol(grids=(Grid(levels={"kind": ("plus", "minus"), "shift": RATES}, seeds=seeds),))},
    )


def make_claim(effect: Any, **changes: Any) -> Claim:
    fields = {"id": "C1", "statement": "s", "holds": at_least(0.1, reason="r"), "within": ("kind",), "effect": effect}
    return Claim(**{**fields, **changes})


def results(
    trials: tuple[Trial, ...], numbers: Callable[[Trial], Mapping[str, float]], diverged: Callable[[Trial], bool]
) -> dict[str, Result]:
    return {trial.key: Result(trial.key, diverged(trial), dict(numbers(trial))) for trial in trials}


def judged(
    claim: Claim,
    numbers: Callable[[Trial], Mapping[str, float]],
    diverged: Callable[[Trial], bool] = lambda trial: False,
) -> Verdict:
    toy = phenomenon(claim)
    trials = plan(toy, "smoke")
    (verdict,) = judge(toy, trials, results(trials, numbers, diverged))
    return verdict


def plain(trial: Trial) -> dict[str, float]:
    """height = shift * (1 + block/10), fit = 1 but for shift 4, score = -|shift - 2|."""
    shift = float(trial.levels["shift"])
    return {"height": shift * (1 + trial.block / 10), "fit": 1.0 if shift < 4 else 0.5, "score": -abs(shift - 2)}


GOOD_FIT = (Condition("fit", at_least=0.9),)
BLOCKS = [1 + block / 10 for block in range(6)]


@pytest.mark.parametrize(
    ("effect", "options", "expected"),
    [
        (difference("height", "shift", 1.0, 3.0), {}, [2 * b for b in BLOCKS]),
        (log_ratio("height", "shift", 1.0, 4.0), {}, [math.log(4)] * 6),
        (Value("height"), {"among": {"shift": (2.0,)}}, [2 * b for b in BLOCKS]),
        (Value("height"), {"among": {"shift": (4.0,)}, "where": GOOD_FIT}, [math.nan] * 6),
        (RankCorrelation("shift", "height", ("shift",)), {}, [1.0] * 6),
        (RankCorrelation("shift", "score", ("shift",), "kendall"), {"keep": GOOD_FIT}, [math.nan] * 6),
        (RankCorrelation("shift", "height", ("shift",), minimum=3), {"keep": GOOD_FIT}, [1.0] * 6),
        (Slope("shift", "height", ("shift",)), {}, BLOCKS),
        (Slope("shift", "height", ("shift",), log=True), {}, [1.0] * 6),
        (
            Share(Condition("height", at_least=2.6)),
            {"among": {"shift": (2.0,)}, "holds": at_least(0.3, reason="r")},
            [0, 0, 0, 1, 1, 1],
        ),
        (
            Contrast("height", ((1.0, Arm(pick=Pick("score", "highest", ("shift",)))), (-1.0, Arm({"shift": 1.0})))),
            {},
            BLOCKS,
        ),
        (
            Contrast("height", ((1.0, Arm(pick=Pick("height", "highest", ("shift",)))), (-1.0, Arm({"shift": 1.0})))),
            {"keep": GOOD_FIT},
            [2 * b for b in BLOCKS],
        ),
    ],
)  # fmt: skip
def test_one_number_per_block(effect: Any, options: dict[str, Any], expected: list[float]) -> None:
    verdict = judged(make_claim(effect, **options), plain)
    assert [cell.levels["kind"] for cell in verdict.cells] == ["plus", "minus"]
    for cell in verdict.cells:
        assert cell.effects == pytest.approx(expected, nan_ok=True)


def test_a_pick_by_the_mean_is_the_same_level_in_every_block() -> None:
    def swinging(trial: Trial) -> dict[str, float]:
        best = 1.0 if trial.block % 2 else 3.0
        shift = float(trial.levels["shift"])
        return {"height": shift, "fit": 1.0, "score": float(shift == best) + 0.9 * (shift == 2.0)}

    by_block = Contrast("height", ((1.0, Arm(pick=Pick("score", "highest", ("shift",)))),))
    by_mean = Contrast("height", ((1.0, Arm(pick=Pick("score", "highest", ("shift",), "mean"))),))
    assert set(judged(make_claim(by_block), swinging).cells[0].effects) == {1.0, 3.0}
    assert set(judged(make_claim(by_mean), swinging).cells[0].effects) == {2.0}


def test_a_diverged_arm_fails_its_block_and_is_counted() -> None:
    verdict = judged(
        make_claim(difference("height", "shift", 1.0, 3.0)),
        plain,
        diverged=lambda trial: trial.block == 2 and trial.levels["shift"] == 3.0 and trial.levels["kind"] == "plus",
    )
    plus, minus = verdict.cells
    assert math.isnan(plus.effects[2])
    assert (plus.excluded, plus.diverged, minus.excluded) == (1, 1, 0)
    assert plus.verdict == "untested"  # 1 of 6 is more than 10 %
    assert minus.verdict == "supported"


def test_blocks_that_have_not_been_run_do_not_count_as_failed() -> None:
    toy = phenomenon(make_claim(Value("height"), among={"shift": (2.0,)}))
    trials = plan(toy, "smoke")
    part = {t.key: Result(t.key, False, plain(t)) for t in trials if t.block < 4 and t.levels["kind"] == "plus"}
    plus, minus = judge(toy, trials, part)[0].cells
    assert plus.blocks == (0, 1, 2, 3)
    assert plus.excluded == 0
    assert "4 of 6 planned seeds have been run" in plus.notes
    assert minus.reason == "none of 6 seeds has been run"


def test_nothing_run_is_untested() -> None:
    toy = phenomenon(make_claim(Value("height"), among={"shift": (2.0,)}))
    (verdict,) = judge(toy, plan(toy, "smoke"), {})
    assert (verdict.verdict, verdict.sentence) == ("untested", "nothing has been run yet")
    some = [trial for trial in plan(toy, "smoke") if trial.levels["shift"] == 1.0]
    (verdict,) = judge(toy, some, {})
    assert verdict.sentence == "no planned cell belongs to this claim"


def test_a_cell_without_all_arms_does_not_belong_to_the_claim() -> None:
    grids = (
        Grid(levels={"kind": ("plus",), "shift": (1.0, 3.0)}, seeds=5),
        Grid(levels={"kind": ("minus",), "shift": (1.0,)}, seeds=5),
    )
    claim = make_claim(difference("height", "shift", 1.0, 3.0))
    toy = make_phenomenon(
        claims=(claim,), protocols={"smoke": Protocol(grids=grids)}, quantities={"height": Quantity(definition="h")}
    )
    trials = plan(toy, "smoke")
    (verdict,) = judge(
        toy, trials, results(trials, lambda t: {"height": t.block + float(t.levels["shift"])}, lambda t: False)
    )
    assert [cell.levels["kind"] for cell in verdict.cells] == ["plus"]


def test_several_trials_per_seed_are_refused_with_their_difference() -> None:
    with pytest.raises(
        JudgementError, match=r"claim C1: cell kind=plus has 4 trials per seed where 1 .* differ in shift"
    ):
        judged(make_claim(Value("height")), plain)


def test_order_of_rows_changes_nothing() -> None:
    toy = phenomenon(make_claim(RankCorrelation("shift", "height", ("shift",))))
    trials = plan(toy, "smoke")
    found = results(trials, plain, lambda t: False)
    forward, backward = judge(toy, trials, found)[0], judge(toy, trials[::-1], found)[0]
    assert {c.levels["kind"]: c.effects for c in forward.cells} == {c.levels["kind"]: c.effects for c in backward.cells}


def test_arms_that_differ_in_failures_are_named() -> None:
    claim = make_claim(difference("height", "shift", 1.0, 2.0), among={"kind": ("plus",)})
    made = phenomenon(claim, seeds=20)
    trials = plan(made, "smoke")
    numbers = {"height": 0.0, "fit": 1.0, "score": 1.0}
    lost = results(trials, lambda trial: numbers, lambda trial: trial.levels["shift"] == 2.0 and trial.block < 8)
    (verdict,) = judge(made, trials, lost)
    (note,) = [note for note in verdict.cells[0].notes if "failures" in note]
    assert note.startswith("the arms differ in failures: 8 with shift = 2.0 and 0 with shift = 1.0 of 20 (McNemar p = ")
    alike = results(trials, lambda trial: numbers, lambda trial: trial.block < 8)
    assert not [note for note in judge(made, trials, alike)[0].cells[0].notes if "failures" in note]
