"""Limits maps and looks: which cells stand where, and how a claim's looks are put into words."""

from dataclasses import replace
from itertools import product
from typing import Any

from refute.core import CellResult, Verdict
from refute.report.claims import claim_section
from refute.report.document import document
from refute.report.limits import limits_map
from refute.report.terminal import plain_lines

from .synthetic import PHENOMENON, outcome, verdicts


def cells(**levels: tuple[Any, ...]) -> list[CellResult]:
    template = verdicts()[0].cells[0]
    return [replace(template, levels=dict(zip(levels, found, strict=True))) for found in product(*levels.values())]


def claim(*found: CellResult) -> Verdict:
    return replace(verdicts()[0], cells=tuple(found))


def test_the_longest_factor_goes_across_and_the_others_down() -> None:
    made = limits_map(cells(dataset=("a", "b"), depth=(1, 2, 3), kind=("x", "y"), fixed=(7,)))
    assert made is not None
    assert (made.columns_name, made.columns) == ("depth", ("1", "2", "3"))
    assert [label for label, _ in made.rows] == ["a, x", "a, y", "b, x", "b, y"]
    assert all(place is not None for _, places in made.rows for place in places)


def test_a_place_without_a_cell_stays_empty() -> None:
    found = cells(dataset=("a", "b"), depth=(1, 2, 3))
    made = limits_map([cell for cell in found if (cell.levels["dataset"], cell.levels["depth"]) != ("b", 2)])
    assert made is not None
    assert [place is None for place in dict(made.rows)["b"]] == [False, True, False]


def test_few_cells_or_one_factor_have_no_map() -> None:
    assert limits_map(cells(dataset=("a", "b", "c", "d", "e"))) is None
    assert limits_map(cells(dataset=("a",), depth=(1, 2, 3, 4))) is None
    assert limits_map([]) is None


def test_the_terminal_draws_the_map() -> None:
    found = cells(dataset=("a", "b"), depth=(1, 2, 3))
    found[-1] = replace(found[-1], verdict="refuted")
    lines = plain_lines(replace(outcome(), verdicts=(claim(*found),)), ascii_only=True)
    assert "        1  2  3" in [line.rstrip() for line in lines]
    assert "     b  +  +  x" in [line.rstrip() for line in lines]


def test_looks_in_words() -> None:
    cell = replace(verdicts()[0].cells[0], looks=(5, 10, 20), blocks=(0, 1, 2, 3, 4))
    decided = replace(cell, decided_at=5)
    open_cell = replace(cell, verdict="inconclusive", open=True)
    exhausted = replace(cell, verdict="inconclusive", blocks=tuple(range(20)))
    section = claim_section(PHENOMENON, claim(decided, open_cell, exhausted))
    assert [one.looks for one in section.cells] == ["decided at 5", "next look at 10", "last look taken"]
    assert section.settled == "1 cell open"
    assert claim_section(PHENOMENON, claim(decided, exhausted)).settled == "settled"
    assert claim_section(PHENOMENON, claim(decided)).settled == "settled at 5"
    assert claim_section(PHENOMENON, claim(replace(cell, looks=(20,)))).settled == ""


def test_the_course_says_what_the_looks_saved() -> None:
    made = outcome()
    assert document(made).course == "The number of seeds was fixed, and judged once."
    sequential = replace(made, looks=(5, 10), verdicts=(), spared=len(made.trials) // 2)
    assert (
        f"{sequential.spared} of {len(made.trials)} planned trials (50 %) were not needed"
        in document(sequential).course
    )
    going_on = replace(sequential, verdicts=(claim(replace(verdicts()[0].cells[0], open=True)),))
    assert "1 cell must be trained on" in document(going_on).course


def test_the_standing_of_a_claim_is_shown() -> None:
    made = outcome()
    told = replace(made, standing={made.verdicts[0].claim.id: "registered before the first trial"})
    assert any("Registration: registered before the first trial" in line for line in plain_lines(told, width=110))
    assert not any("Registration" in line for line in plain_lines(made))
