"""Misuse is refused in one sentence that names the argument and the value."""

import math

import pytest

from refute import statistics
from refute.errors import DefinitionError, JudgementError, UsageError
from refute.statistics import Region, judge_cell

LEAST = Region("at_least", 0.0)
GOOD = [0.1, 0.2, 0.3, 0.2, 0.1]

MISUSE = {
    "infinite bound": (lambda: Region("at_least", math.inf), DefinitionError, "bound .* inf came"),
    "NaN bound": (lambda: Region("within", math.nan), DefinitionError, "bound .* nan came"),
    "within zero": (lambda: Region("within", 0.0), DefinitionError, "positive, 0.0 came"),
    "unknown kind": (lambda: Region("above", 0.0), DefinitionError, "kind .* 'above' came"),
    "no looks": (lambda: statistics.look_levels(()), DefinitionError, r"looks .* \(\) came"),
    "looks fall": (lambda: judge_cell(GOOD, region=LEAST, looks=(10, 5)), DefinitionError, "looks .*10, 5. came"),
    "look of half a block": (lambda: statistics.look_levels((2.5,)), DefinitionError, "looks .*2.5"),
    "look 0": (lambda: statistics.look_levels((0, 5)), DefinitionError, "looks .*0, 5"),
    "infinite effect": (lambda: judge_cell([math.inf], region=LEAST, looks=(5,)), JudgementError, "inf came at 0"),
    "table of effects": (lambda: judge_cell([GOOD], region=LEAST, looks=(5,)), JudgementError, r"shape \(1, 5\)"),
    "NaN in an interval": (lambda: statistics.hull_interval([1, math.nan], level=0.05), JudgementError, "nan came"),
    "no effects": (lambda: statistics.hull_interval([], level=0.05), JudgementError, "effects must be"),
    "level of one": (lambda: statistics.hull_interval(GOOD, level=1.0), UsageError, "level .* 1.0 came"),
    "negative quantum": (
        lambda: judge_cell(GOOD, region=LEAST, looks=(5,), quantum=-1.0),
        DefinitionError,
        "quantum .* -1.0 came",
    ),
    "half an event": (
        lambda: judge_cell([0.5], region=Region("at_least", 0.5), looks=(5,), share=True),
        JudgementError,
        "events .* 0.5 came",
    ),
    "share above one": (
        lambda: judge_cell([1], region=Region("at_least", 1.5), looks=(5,), share=True),
        DefinitionError,
        "share .* bound=1.5",
    ),
    "share within": (
        lambda: judge_cell([1], region=Region("within", 0.5), looks=(5,), share=True),
        DefinitionError,
        "share must .*kind='within'",
    ),
    "look not planned": (
        lambda: judge_cell(GOOD, region=LEAST, looks=(5,), looks_taken=(4,)),
        UsageError,
        r"looks_taken .* \(4,\) came",
    ),
    "look not reached": (
        lambda: judge_cell(GOOD, region=LEAST, looks=(5, 10), looks_taken=(10,)),
        UsageError,
        r"looks_taken .* \(10,\) came",
    ),
    "empty range": (
        lambda: judge_cell(GOOD, region=LEAST, looks=(5,), bounds_range=(1, 1)),
        UsageError,
        r"bounds_range .* \(1, 1\) came",
    ),
    "two cells pooled": (lambda: statistics.pool([1, 2], [1, 1]), JudgementError, "at least 3 cells, 2"),
    "no variance": (lambda: statistics.pool([1, 2, 3], [1, 1, 0]), JudgementError, "variances .* 0.0 came"),
    "groups too short": (lambda: statistics.two_stage_pool([1, 2], [1, 1], ["a"]), JudgementError, "2, 2 and 1 came"),
    "blocks differ": (lambda: statistics.block_means({"a": [1], "b": [1, 2]}), JudgementError, r"\[1, 2\] came"),
    "p above one": (lambda: statistics.holm([0.5, 1.5]), JudgementError, "p must .* 1.5 came"),
    "no cells": (lambda: statistics.judge_cells({}, region=LEAST), JudgementError, "none came"),
    "cell without group": (
        lambda: statistics.judge_cells({"a": judge_cell(GOOD, region=LEAST, looks=(5,))}, region=LEAST, groups={}),
        JudgementError,
        "groups .* a is missing",
    ),
    "g of two blocks": (lambda: statistics.hedges_g(1.0, 1.0, 2), JudgementError, "n=2"),
    "ratio of zero": (lambda: statistics.log_ratio(1.0, 0.0), JudgementError, "0.0 came"),
    "unpaired": (lambda: statistics.spearman([1, 2], [1]), JudgementError, "2 and 1 came"),
    "one level": (lambda: statistics.kendall_quantum(1), JudgementError, "1 came"),
    "arms over other blocks": (lambda: statistics.mcnemar([True], [True, False]), JudgementError, r"\(1,\) and \(2,\)"),
}


@pytest.mark.parametrize("case", MISUSE)
def test_misuse_is_refused(case):
    call, error, message = MISUSE[case]
    with pytest.raises(error, match=message) as raised:
        call()
    assert "\n" not in str(raised.value)
