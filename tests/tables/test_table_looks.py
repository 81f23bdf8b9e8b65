"""Looks: what the number of blocks in the table means for the schedule that was planned."""

import numpy as np
import pytest

from refute import statistics
from refute.errors import DefinitionError, UsageError
from refute.tables import judge_table, make_claim

CLAIM = make_claim(of="x", at_least=0.0, within="cell")
DECIDED = [1.0, 1.2, 0.9, 1.1, 1.0, 1.3, 0.8, 1.1, 1.0, 1.05, 0.9, 1.0]
OPEN = [1.0, -1.2, 0.9, -1.1, 0.2, 1.3, -0.8, 1.1, -1.0, 0.05, -0.9, 1.0]


def columns(**cells: list[float]) -> dict[str, list[object]]:
    rows = [(name, seed, x) for name, effects in cells.items() for seed, x in enumerate(effects)]
    return {"cell": [r[0] for r in rows], "seed": [r[1] for r in rows], "x": [r[2] for r in rows]}


def test_the_looks_are_those_of_the_statistics() -> None:
    found = judge_table(columns(a=DECIDED, b=OPEN), CLAIM, block="seed", looks=(5, 10, 20)).verdicts[0]
    for cell, effects in zip(found.cells, (DECIDED, OPEN), strict=True):
        expected = statistics.judge_cell(effects, region=statistics.Region("at_least", 0.0), looks=(5, 10, 20))
        assert (cell.verdict, cell.low, cell.high, cell.p_supported) == (
            expected.verdict, expected.low, expected.high, expected.p_supported,
        )  # fmt: skip
    assert any("decided at 5 blocks" in note for note in found.cells[0].notes)
    assert any("2 of 12 blocks were not judged: they wait for the look at 20" in n for n in found.cells[1].notes)
    assert "1 cell to 20 blocks (cell=b)" in found.sentence


def test_before_the_first_look_nothing_is_judged() -> None:
    found = judge_table(columns(a=DECIDED[:4]), CLAIM, block="seed", looks=(5, 10)).verdicts[0]
    assert found.verdict == "untested"
    assert "4 of the 5 blocks" in found.cells[0].reason


def test_blocks_after_the_last_look_change_nothing() -> None:
    few = judge_table(columns(a=DECIDED[:10]), CLAIM, block="seed", looks=(5, 10)).verdicts[0].cells[0]
    more = judge_table(columns(a=[*DECIDED[:10], -50.0]), CLAIM, block="seed", looks=(5, 10)).verdicts[0].cells[0]
    assert (few.low, few.high, few.verdict) == (more.low, more.high, more.verdict)
    assert any("no look is planned for them" in note for note in more.notes)


def test_looks_that_were_not_taken_are_lost() -> None:
    effects = columns(a=DECIDED[:10])
    taken = judge_table(effects, CLAIM, block="seed", looks=(5, 10), looks_taken=(10,)).verdicts[0].cells[0]
    assert any("decided at 10" in note for note in taken.notes)
    with pytest.raises(UsageError):
        judge_table(effects, CLAIM, block="seed", looks=(5, 10), looks_taken=(7,))


def test_a_contested_claim_sends_its_undecided_cells_on() -> None:
    against = [-x for x in DECIDED[:5]]
    found = judge_table(columns(a=DECIDED[:5], b=against), CLAIM, block="seed", looks=(5, 10, 20)).verdicts[0]
    region = statistics.Region("at_least", 0.0)
    cells = {
        k: statistics.judge_cell(v, region=region, looks=(5, 10, 20)) for k, v in (("a", DECIDED[:5]), ("b", against))
    }
    assert statistics.judge_cells(cells, region=region).contested
    assert ("To go on" in found.sentence) == bool(statistics.train_on(cells))


def test_without_looks_the_number_of_blocks_is_taken_as_fixed_and_that_is_said() -> None:
    found = judge_table(columns(a=DECIDED), CLAIM, block="seed")
    assert found.verdicts[0].cells[0].confidence == pytest.approx(0.9)
    assert any("no looks were named" in warning for warning in found.warnings)
    assert not judge_table(columns(a=DECIDED), CLAIM, block="seed", looks=(12,)).warnings


def test_looks_must_increase() -> None:
    with pytest.raises(DefinitionError):
        judge_table(columns(a=DECIDED), CLAIM, block="seed", looks=(10, 5))


def test_text_blocks_are_taken_in_the_order_of_their_numbers() -> None:
    table = columns(a=DECIDED)
    named = {**table, "seed": [f"run{seed}" for seed in table["seed"]]}
    assert judge_table(named, CLAIM, block="seed", looks=(5, 10)).verdicts[0].cells[0].low == (
        judge_table(table, CLAIM, block="seed", looks=(5, 10)).verdicts[0].cells[0].low
    )


def test_cells_of_one_data_set_are_averaged_before_pooling() -> None:
    random = np.random.default_rng(1)
    rows = [(d, n, s) for d in "pqrs" for n in "uv" for s in range(8)]
    table = {
        "dataset": [r[0] for r in rows], "net": [r[1] for r in rows], "seed": [r[2] for r in rows],
        "x": random.normal(1, 1, len(rows)),
    }  # fmt: skip
    claim = make_claim(of="x", at_least=0.0, within="dataset,net")
    by_name = judge_table(table, claim, block="seed").verdicts[0].pooled
    other = {**table, "where": table["dataset"]}
    apart = judge_table(other, make_claim(of="x", at_least=0.0, within="where,net"), block="seed").verdicts[0].pooled
    told = (
        judge_table(other, make_claim(of="x", at_least=0.0, within="where,net"), block="seed", group="where")
        .verdicts[0]
        .pooled
    )
    assert by_name == told != apart
