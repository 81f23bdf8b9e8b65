"""What changed between two definitions, in words."""

from dataclasses import replace

import pytest
from recorded import CLAIMS, SHIFTS, make_claim, phenomenon, with_bound, with_claim, with_protocol

from refute.core import Condition, Grid, Phenomenon, Quantity, Share, Value, at_least, at_most
from refute.records.changes import changes
from refute.records.definition import define

TOY = phenomenon()
PROTOCOL = TOY.protocols["smoke"]
FIRST, SECOND = PROTOCOL.grids


def words(changed: Phenomenon) -> list[str]:
    return [change.in_words() for change in changes(define(TOY, "smoke"), define(changed, "smoke"))]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (TOY, []),
        (with_bound(TOY, "value", 0.3), ["bound of claim value: 0.5 -> 0.3"]),
        (
            with_claim(TOY, "value", holds=at_most(0.5, reason="half")),
            ["direction of the bound of claim value: at_least -> at_most"],
        ),
        (
            with_claim(TOY, "value", holds=at_least(0.5, reason="why not")),
            ["reason of the bound of claim value: half -> why not"],
        ),
        (with_claim(TOY, "value", statement="Other."), ["statement of claim value: Statement value. -> Other."]),
        (
            with_claim(TOY, "value", effect=Share(Condition("height", 0.5))),
            [
                'effect of claim value: {"kind":"value","quantity":"height"} -> '
                '{"event":{"at_least":0.5,"at_most":null,"quantity":"height"},"kind":"share"}'
            ],
        ),
        (with_claim(TOY, "rank", headline=True), ["headline of claim rank: false -> true"]),
        (
            with_claim(TOY, "value", where=(Condition("height", 0.1),)),
            ['where of claim value: [] -> [{"at_least":0.1,"at_most":null,"quantity":"height"}]'],
        ),
        (with_claim(TOY, "ratio", among={}), ['among.kind of claim ratio: ["plus"] -> (absent)']),
        (replace(TOY, claims=CLAIMS[1:]), ["claim value removed"]),
        (
            replace(TOY, claims=(*CLAIMS, make_claim("new", Value("height"), at_least(0, reason="r")))),
            ["claim new added"],
        ),
        (replace(TOY, claims=CLAIMS[::-1]), None),
        (with_protocol(TOY, grids=(replace(FIRST, seeds=9), SECOND)), ["seeds of grid 1: 6 -> 9"]),
        (with_protocol(TOY, grids=(SECOND, replace(FIRST, seeds=9))), ["seeds of grid 1: 6 -> 9"]),
        (with_protocol(TOY, grids=(FIRST,)), ["grid 2 removed"]),
        (
            with_protocol(TOY, grids=(FIRST, SECOND, Grid(levels={"kind": ("plus",), "shift": (7.0,)}, seeds=2))),
            ["grid 3 added"],
        ),
        (
            with_protocol(
                TOY, grids=(replace(FIRST, levels={"kind": ("plus", "minus"), "shift": (*SHIFTS, 5.0)}), SECOND)
            ),
            ["levels.shift of grid 1: [1,2,3,4] -> [1,2,3,4,5]"],
        ),
        (with_protocol(TOY, settings={"rate": 0.25}), ["settings.rate of protocol: 0.5 -> 0.25"]),
        (with_protocol(TOY, looks=(3, 6)), ["looks of protocol: [6] -> [3,6]"]),
        (replace(TOY, version=2), ["version: 1 -> 2"]),
        (
            replace(
                TOY,
                quantities={**TOY.quantities, "height": Quantity(definition="how high it gets", unit="m", quantum=0.1)},
            ),
            ["quantum of quantity height: 0 -> 0.1"],
        ),
    ],
)
def test_changes_in_words(changed: Phenomenon, said: list[str] | None) -> None:
    if said is None:
        (only,) = words(changed)
        assert only.startswith("order of claims: ")
    else:
        assert words(changed) == said


def test_words_are_told_from_what_the_judge_uses() -> None:
    statement, bound = with_claim(TOY, "value", statement="Other."), with_bound(TOY, "value", 0.3)
    assert [one.only_words for one in changes(define(TOY, "smoke"), define(statement, "smoke"))] == [True]
    assert [one.only_words for one in changes(define(TOY, "smoke"), define(bound, "smoke"))] == [False]
