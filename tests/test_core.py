"""Definitions that contradict themselves fail when they are made, and say where."""

import pytest
from conftest import make_phenomenon

from refute.core import (
    Bound,
    Claim,
    Condition,
    Contrast,
    Curve,
    Grid,
    Lines,
    Protocol,
    Quantity,
    RankCorrelation,
    Share,
    Value,
    at_least,
    at_most,
    difference,
    digest,
    expand,
    looped,
    make_trial,
    within,
)
from refute.errors import DefinitionError, UnknownNameError

HALF = at_least(0.5, reason="half")


def claim(**changes: object) -> Claim:
    fields: dict[str, object] = {
        "id": "C1", "statement": "s", "effect": Value("height"), "holds": HALF, "within": ("kind", "shift"),
    }  # fmt: skip
    return Claim(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"effect": Value("heigth")}, "unknown name 'heigth'; did you mean 'height'"),
        ({"effect": Value("course")}, "'course' is a curve"),
        ({"within": ("knid",)}, "unknown name 'knid'; did you mean 'kind'"),
        ({"where": (Condition("widht", at_least=1),)}, "unknown name 'widht'"),
        ({"among": {"kind": ("sideways",)}}, "no grid of scale 'smoke' has kind = sideways"),
        ({"effect": difference("height", "shift", 1.0, 2.0)}, "shift can't be a cell and vary inside it"),
        ({"effect": RankCorrelation("shift", "hight", ("shift",)), "within": ("kind",)}, "unknown name 'hight'"),
    ],
)
def test_a_misspelt_claim_fails_at_once(changes: dict[str, object], says: str) -> None:
    with pytest.raises(DefinitionError, match="phenomenon 'toy', claim C1") as caught:
        make_phenomenon(claims=(claim(**changes),))
    assert says in str(caught.value)


def test_a_figure_with_an_unknown_quantity_fails() -> None:
    with pytest.raises(DefinitionError, match=r"figure 'f'.*'hight'"):
        make_phenomenon(figures=(Lines(title="f", x="step", y=("hight",)),))


def test_a_bound_needs_a_reason() -> None:
    with pytest.raises(DefinitionError, match="reason"):
        at_least(0.5, reason="")
    with pytest.raises(DefinitionError, match="finite"):
        at_most(float("nan"), reason="none")
    with pytest.raises(DefinitionError, match="positive"):
        within(-1, reason="around zero")


def test_a_share_needs_a_probability() -> None:
    with pytest.raises(DefinitionError, match="between 0 and 1"):
        claim(effect=Share(Condition("height", at_least=0)), holds=at_least(80, reason="percent by mistake"))


def test_claim_ids_differ() -> None:
    with pytest.raises(DefinitionError, match="C1, C1"):
        make_phenomenon(claims=(claim(), claim()))


def test_a_factor_needs_a_level() -> None:
    with pytest.raises(DefinitionError, match="'kind' has neither a level in the grid nor a default"):
        make_phenomenon(protocols={"smoke": Protocol(grids=(Grid(levels={"shift": (1.0,)}, seeds=2),))})
    with pytest.raises(DefinitionError, match="no level"):
        Grid(levels={"shift": ()}, seeds=2)


def test_a_quantity_and_a_factor_need_different_names() -> None:
    with pytest.raises(DefinitionError, match="both a factor and a quantity"):
        make_phenomenon(quantities={"shift": Quantity(definition="x"), "height": Quantity(definition="y")})


def test_unknown_scale_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'smoke'"):
        make_phenomenon().protocol("smok")


def test_the_claim_in_words_names_all_it_uses() -> None:
    words = claim(where=(Condition("height", at_least=0.1),), among={"kind": ("plus",)}).in_words()
    for part in ("height, per seed within each kind x shift", "kind = plus", "height >= 0.1", "at least 0.5 (half)"):
        assert part in words


def test_difference_is_plus_minus_minus() -> None:
    effect = difference("height", "shift", 1.0, 2.0)
    assert isinstance(effect, Contrast)
    assert [(weight, dict(arm.levels)) for weight, arm in effect.arms] == [
        (1.0, {"shift": 2.0}),
        (-1.0, {"shift": 1.0}),
    ]


def test_condition_and_bound_words() -> None:
    assert Condition("a", at_least=1, at_most=2).in_words() == "a >= 1 and <= 2"
    assert not Condition("a", at_least=1).holds(float("nan"))
    assert Bound("within", 0.2, "r").in_words() == "within +-0.2"
    with pytest.raises(DefinitionError, match="neither"):
        Condition("a")


def test_a_curve_has_a_value_for_every_point() -> None:
    curve = Curve(((0.0, 1.0), (5.0, 6.0)), (1.0, 2.0, 3.0, 4.0))
    assert list(curve.points())[2] == ((1.0, 5.0), 3.0)
    with pytest.raises(DefinitionError, match="3 values"):
        Curve(((0.0, 1.0),), (1.0, 2.0, 3.0))


def test_expand_goes_through_every_combination() -> None:
    assert len(list(expand({"a": (1, 2), "b": ("x", "y", "z")}))) == 6
    assert list(expand({})) == [{}]


# --- identity: a trial's key and seed never change by accident ----------------------------------------------------


def test_defaults_are_left_out_of_the_key() -> None:
    phenomenon = make_phenomenon()
    wider = make_phenomenon(factors={**phenomenon.factors, "width": looped("new knob", default=128)})
    old = make_trial(phenomenon, {"kind": "plus", "shift": 2.0}, 3, {"steps": 10})
    new = make_trial(wider, {"kind": "plus", "shift": 2.0}, 3, {"steps": 10})
    assert old.key == new.key
    assert old.seed == new.seed


def test_keys_differ_with_everything_that_matters() -> None:
    phenomenon = make_phenomenon()
    base = make_trial(phenomenon, {"kind": "plus"}, 0, {"steps": 10})
    others = [
        make_trial(phenomenon, {"kind": "minus"}, 0, {"steps": 10}),
        make_trial(phenomenon, {"kind": "plus"}, 1, {"steps": 10}),
        make_trial(phenomenon, {"kind": "plus", "shift": 3.0}, 0, {"steps": 10}),
        make_trial(phenomenon, {"kind": "plus"}, 0, {"steps": 11}),
        make_trial(make_phenomenon(version=2), {"kind": "plus"}, 0, {"steps": 10}),
    ]
    assert len({base.key, *(trial.key for trial in others)}) == 6


def test_arms_share_a_seed_and_cells_do_not() -> None:
    phenomenon = make_phenomenon()
    trials = [make_trial(phenomenon, {"kind": k, "shift": s}, 0, {}) for k in ("plus", "minus") for s in (1.0, 2.0)]
    assert trials[0].seed == trials[1].seed
    assert trials[0].seed != trials[2].seed


def test_digest_is_pinned() -> None:
    """If this fails, every stored result has lost its name: raise the version of what changed instead."""
    assert digest(["layer-criticality", 1, {"dataset": "mnist"}, {"steps": 1500}, 0]) == PINNED


PINNED = "2c2a3d13d211e7ac4ff5"
