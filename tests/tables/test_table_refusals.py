"""Each table that would make a verdict wrong is refused, with the reason and a fix that works."""

from typing import Any

import numpy as np
import pytest

from refute.errors import JudgementError, UsageError
from refute.tables import JudgedTable, judge_table, make_claim


def table(seeds: int = 6, **extra: Any) -> dict[str, list[Any]]:
    """Two optimizers on two data sets."""
    random = np.random.default_rng(0)
    rows = [(d, o, s) for d in ("digits", "mnist") for o in ("sgd", "adam") for s in range(seeds)]
    columns: dict[str, list[Any]] = {
        "data": [row[0] for row in rows],
        "optimizer": [row[1] for row in rows],
        "seed": [row[2] for row in rows],
        "accuracy": [0.9 + 0.03 * (row[1] == "adam") + 0.005 * random.normal() for row in rows],
    }
    return {**columns, **extra}


def appended(columns: dict[str, list[Any]], *rows: dict[str, Any]) -> dict[str, list[Any]]:
    return {name: [*column, *(row[name] for row in rows)] for name, column in columns.items()}


def judged(columns: Any, **options: Any) -> JudgedTable:
    claim = {"of": "accuracy", "across": "optimizer=sgd,adam", "within": "data", "at_least": 0.01}
    claim.update({name: options.pop(name) for name in list(options) if name in CLAIM})
    return judge_table(columns, make_claim(**claim), **{"block": "seed", **options})


CLAIM = ("of", "across", "within", "at_least", "at_most", "only", "along", "effect", "where", "against", "within_bound")


def refusal(columns: Any, error: type[Exception] = JudgementError, **options: Any) -> str:
    with pytest.raises(error) as caught:
        judged(columns, **options)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_sound_table_is_judged() -> None:
    assert judged(table()).verdicts[0].verdict == "supported"


def test_no_block_column() -> None:
    text = refusal(table(), UsageError, block=None)
    assert "independent" in text
    assert "--block seed" in text
    columns = {"params.seed" if name == "seed" else name: column for name, column in table().items()}
    assert "--block params.seed" in refusal(columns, UsageError, block=None)
    nameless = {"x" if name == "seed" else name: column for name, column in table().items()}
    assert "add a column" in refusal(nameless, UsageError, block=None)


def test_pseudo_replication_and_both_fixes() -> None:
    columns = table()
    twice = appended(columns, *[{name: columns[name][i] for name in columns} for i in range(len(columns["seed"]))])
    n = len(columns["seed"])
    twice["epoch"] = [9] * n + [10] * n
    text = refusal(twice)
    assert "pseudo-replication" in text
    assert "--repeats epoch" in text
    assert "--only epoch=10" in text
    assert "--within data,epoch" in text
    once = judged(columns).verdicts[0]
    averaged = judged(twice, repeats=["epoch"]).verdicts[0]
    for one, other in zip(once.cells, averaged.cells, strict=True):
        assert (one.low, one.high, one.planned) == (other.low, other.high, other.planned)
    assert judged(twice, only={"epoch": ("10",)}).verdicts[0].cells[0].low == once.cells[0].low


def test_several_settings_that_vary_are_all_in_the_fix() -> None:
    columns = table()
    n = len(columns["seed"])
    twice = {name: column * 2 for name, column in columns.items()}
    twice |= {"rate": [0.1] * n + [0.2] * n, "width": [8] * n + [16] * n}
    assert "--within data,rate,width" in refusal(twice)


def test_unpaired_blocks_and_the_fix() -> None:
    columns = table()
    short = {name: column[:-2] for name, column in columns.items()}
    text = refusal(short)
    assert "unpaired" in text
    assert "data=mnist" in text
    assert "seed 4 and 5" in text
    assert "optimizer=adam" in text
    assert "--missing-failed" in text
    cells = judged(short, missing_failed=True).verdicts[0].cells
    assert [(cell.planned, cell.excluded) for cell in cells] == [(6, 0), (6, 2)]
    assert cells[1].verdict == "untested"


def test_arms_without_a_common_block() -> None:
    columns = table()
    columns["run"] = list(range(len(columns["seed"])))
    text = refusal(columns, block="run")
    assert "no run has both" in text
    assert "--block seed" in text
    del columns["seed"]
    assert "number those of each side" in refusal(columns, block="run")


def test_a_cell_that_has_one_arm_only_is_left_out_and_named() -> None:
    columns = appended(table(), {"data": "svhn", "optimizer": "sgd", "seed": 0, "accuracy": 0.5})
    found = judged(columns)
    assert len(found.verdicts[0].cells) == 2
    assert any("data=svhn is left out" in warning for warning in found.warnings)


def test_no_cell_has_both_arms() -> None:
    columns = table()
    assert "leave the column that separates them" in refusal(
        {**columns, "set": columns["optimizer"]}, within="data,set"
    )


def test_one_block() -> None:
    text = refusal(table(seeds=1))
    assert "one block" in text
    assert "at least 5 seeds" in text


def test_mixed_units() -> None:
    columns = table()
    columns["accuracy"][3] *= 100
    text = refusal(columns)
    assert "percent" in text
    assert "row 4" in text
    assert judged(columns, unit="percent").verdicts[0].cells[0].planned == 6
    spelled = table()
    spelled["accuracy"] = [f"{100 * value:.2f} %" for value in spelled["accuracy"]]
    assert judged(spelled, at_least=1.0).verdicts[0].verdict == "supported"
    spelled["accuracy"][5] = "0.91"
    assert "mixes units" in refusal(spelled)
    columns = table(unit=["s"] * 12 + ["ms"] * 12)
    assert "--only unit=ms" in refusal(columns)
    assert len(judged(columns, only={"unit": ["ms"]}).verdicts[0].cells) == 1


def test_a_loss_may_lie_on_both_sides_of_one() -> None:
    columns = table()
    for name in ("loss", "accumulated_loss", "error"):
        columns[name] = [10 ** (i % 3 - 1) for i in range(24)]
        assert judged(columns, of=name).verdicts[0].cells[0].planned == 6
    columns["valAcc"] = columns["loss"]
    assert "percent" in refusal(columns, of="valAcc")


def test_duplicated_trials() -> None:
    columns = table()
    copied = appended(columns, {name: column[7] for name, column in columns.items()})
    text = refusal(copied)
    assert "rows 8 and 25" in text
    assert "--distinct" in text
    assert judged(copied, distinct=True).verdicts[0].cells[0].low == judged(columns).verdicts[0].cells[0].low
    again = appended(columns, {"data": "digits", "optimizer": "sgd", "seed": 0, "accuracy": 0.77})
    text = refusal(again)
    assert "duplicated" in text
    assert "rows 1 and 25" in text
    assert "0.77" in text


def test_repeats_must_tell_the_rows_apart() -> None:
    columns = table(fold=[0] * 24)
    twice = {name: column * 2 for name, column in columns.items()}
    assert "duplicated" in refusal(twice, repeats=["fold"])


def test_an_empty_cell_is_a_failed_block() -> None:
    columns = table(seeds=20)
    columns["accuracy"][0] = None
    cell = judged(columns).verdicts[0].cells[0]
    assert (cell.planned, cell.excluded, cell.verdict) == (20, 1, "supported")
    columns["accuracy"][1] = columns["accuracy"][2] = float("nan")
    assert judged(columns).verdicts[0].cells[0].verdict == "untested"


def test_rows_must_say_where_they_belong() -> None:
    columns = table()
    columns["seed"][4] = None
    assert "'seed' is empty in row 5" in refusal(columns)


def test_a_filter_fails_the_block_of_the_row_that_does_not_meet_it() -> None:
    columns = table(seeds=20, train=[0.99] * 80)
    columns["train"][3] = 0.5
    cells = judged(columns, where="train >= 0.9").verdicts[0].cells
    assert [cell.excluded for cell in cells] == [1, 0]


def test_words_where_numbers_belong() -> None:
    columns = table()
    columns["accuracy"] = [str(value) for value in columns["accuracy"]]
    columns["accuracy"][2] = "crashed"
    text = refusal(columns)
    assert "'crashed' came in row 3" in text
    assert "empty" in text


def test_a_share_needs_events() -> None:
    assert "0 and 1" in refusal(table(), effect="share", across=None, only={"optimizer": ["sgd"]}, at_least=0.5)
    found = judged(
        table(),
        effect="share",
        of="accuracy >= 0.5",
        across=None,
        only={"optimizer": ["sgd"]},
        at_least=0.3,
        looks=(6,),
    )
    assert [cell.effect for cell in found.verdicts[0].cells] == [1.0, 1.0]


def test_too_few_levels_along_a_factor() -> None:
    columns = table(rate=[0.1] * 24)
    assert "at least 4 levels" in refusal(columns, across=None, along="rate", only={"optimizer": ["sgd"]})


def test_names_and_levels_that_are_not_there() -> None:
    assert "did you mean 'accuracy'" in refusal(table(), UsageError, of="acuracy")
    assert "did you mean 'adam'" in refusal(table(), UsageError, across="optimizer=sgd,adm")
    assert "can't be a cell" in refusal(table(), UsageError, within="optimizer,data")
    assert "no row has" in refusal({**table(), "net": ["a"] * 12 + ["b"] * 12}, only={"net": ["a"], "data": ["mnist"]})


def test_sides_that_differ_in_something_else_are_named() -> None:
    columns = table()
    columns["decay"] = [0.1 if o == "sgd" else 0.2 for o in columns["optimizer"]]
    assert any(
        "decay (0.2 where optimizer = adam, 0.1 where optimizer = sgd)" in warning
        for warning in judged(columns).warnings
    )
    assert not any("differ in more" in warning for warning in judged(table()).warnings)


def test_arms_that_fail_unequally_are_named() -> None:
    columns = table(seeds=80)
    for row in range(7):
        columns["accuracy"][row] = None
    assert any("differ in failures" in note for note in judged(columns).verdicts[0].cells[0].notes)


def test_runs_that_did_not_finish_are_named() -> None:
    columns = table(status=["FINISHED"] * 22 + ["FAILED", "RUNNING"])
    assert any("2 rows have a status other than FINISHED" in warning for warning in judged(columns).warnings)


def test_filters_may_speak_of_conditions_and_levels_of_truth() -> None:
    columns = table(width=[8] * 12 + [16] * 12, early_stopping=[i % 12 >= 6 for i in range(24)])
    found = judged(columns, across="early_stopping=false,True", where="width >= 10", within="width").verdicts[0]
    assert [(cell.levels["width"], cell.excluded) for cell in found.cells] == [(8, 6), (16, 0)]


def test_settings_are_told_from_measurements() -> None:
    """A fix never proposes a measured column as a condition, however often its values are tied."""
    columns = {name: column * 2 for name, column in table().items()}
    columns |= {"epoch": [9] * 24 + [10] * 24, "fit": [1.0] * 40 + [0.9, 0.91, 0.92, 0.93, 0.94, 0.95, 0.96, 0.97]}
    text = refusal(columns)
    assert "epoch" in text
    assert "fit" not in text
