import math
from dataclasses import replace

import pytest

from refute.core import CellResult, Lines, Outcome, Verdict
from refute.report import document, words
from refute.report.blocks import ClaimSection, LinePanel, MapPanel, ScatterPanel
from refute.report.claims import claim_section, effect_range
from refute.report.figures import figure_block

from .synthetic import ARCHITECTURES, CLAIMS, DATASETS, FIGURES, PHENOMENON, SEEDS, cell, nothing_run


def test_every_claim_and_cell_is_in_the_document(run: Outcome) -> None:
    made = document(run)
    assert [claim.id for claim in made.claims] == [claim.id for claim in CLAIMS]
    for section, verdict in zip(made.claims, run.verdicts, strict=True):
        assert section.verdict == verdict.verdict
        assert section.in_words == verdict.claim.in_words()
        assert section.bound.reason == verdict.claim.holds.reason
        assert [c.verdict for c in section.cells] == [c.verdict for c in verdict.cells]
    assert made.headline is made.claims[0]
    assert made.summary == "6 claims: 2 supported, 1 refuted, 1 limited, 1 inconclusive and 1 untested"
    assert made.trials.planned == made.trials.stored == len(DATASETS) * len(ARCHITECTURES) * 2 * 5 * SEEDS
    assert made.reproduce == "refute run layers-made-up --scale small"
    assert len(made.keys) == 4


def test_a_cell_says_how_many_seeds_are_valid_and_what_is_needed(run: Outcome) -> None:
    inconclusive = document(run).claims[1].cells[-1]
    assert inconclusive.seeds == "9 of 10 valid, 1 diverged"
    assert inconclusive.seeds_needed == "about 40"
    assert inconclusive.confidence == "90 %"
    assert inconclusive.hedges_g == "1.8 [0.9, 2.7]"
    assert inconclusive.beyond.endswith("of 9")


def test_summary_speaks_of_tested_cells_only() -> None:
    tested = cell({"dataset": "digits", "width": 128}, "supported", 25.0, 2.0)
    failed = cell({"dataset": "mnist", "width": "primary"}, "untested", 90.0, 2.0)
    alone = replace(tested, low=math.nan, high=math.nan)

    def section(*cells: CellResult) -> ClaimSection:
        return claim_section(PHENOMENON, Verdict(claim=CLAIMS[1], verdict="supported", sentence="", cells=cells))

    assert section(tested, failed).summary == "25.0 [23.0, 27.2]"
    assert section(alone).summary == "25"
    assert section(failed).summary == words.NOTHING
    assert [c.label for c in section(tested, failed).cells] == ["digits, width 128", "mnist, width primary"]


def test_printed_intervals_stay_inside_the_range_of_the_effect() -> None:
    wide = cell({"dataset": "digits"}, "inconclusive", 0.8, 3.0)
    section = claim_section(PHENOMENON, Verdict(claim=CLAIMS[2], verdict="inconclusive", sentence="", cells=(wide,)))
    assert (section.cells[0].low, section.cells[0].high) == (-1.0, 1.0)
    assert effect_range(PHENOMENON, CLAIMS[1]) == (-200.0, 200.0)
    assert effect_range(PHENOMENON, CLAIMS[5]) == (-math.inf, math.inf)


def test_the_command_to_reproduce_names_the_restrictions(run: Outcome) -> None:
    kept = tuple(one for one in run.trials if one.levels["dataset"] != "mnist" and one.block < 3)
    assert document(replace(run, trials=kept)).reproduce == (
        "refute run layers-made-up --scale small --seeds 3 --only dataset=digits,fashion-mnist"
    )
    pilot = tuple(replace(one, block=one.block + 1000) for one in run.trials)
    assert document(replace(run, trials=pilot)).reproduce == (
        "refute run layers-made-up --scale small --first-seed 1000"
    )


def test_nothing_run_gives_no_figure_and_says_how_to_run() -> None:
    made = document(nothing_run())
    assert made.empty
    assert made.figures == ()
    assert {claim.summary for claim in made.claims} == {words.NOTHING}


def test_heat_map_is_the_mean_over_seeds_with_labelled_columns(run: Outcome) -> None:
    block = figure_block(run, FIGURES[0])
    panel = block.panels[0]
    assert isinstance(panel, MapPanel)
    assert panel.title == "digits, fc-4"
    assert panel.x.names == ("fresh", "0", "0.25", "1", "5", "end")
    wanted = [
        run.results[one.key].curves["reset_error"].values[0]
        for one in run.trials
        if {"digits", "fc-4", 128, 0.03} <= set(one.levels.values()) and not run.results[one.key].diverged
    ]
    assert panel.values[0][0] == pytest.approx(sum(wanted) / len(wanted))


def test_lines_have_a_band_that_theory_lacks(run: Outcome) -> None:
    block = figure_block(run, FIGURES[2])
    panel = block.panels[0]
    assert isinstance(panel, LinePanel)
    measured = [series for series in panel.series if series.style != "dashed"]
    theory = [series for series in panel.series if series.style == "dashed"]
    assert len(measured) == len(theory) == 6
    assert all(series.low and max(map(len, (series.x, series.low))) <= 100 for series in measured)
    assert not any(series.low for series in theory)
    assert measured[0].colour == theory[0].colour != measured[1].colour
    assert "t-based 95 % confidence interval" in block.caption


def test_band_is_the_t_interval_of_the_seeds(run: Outcome) -> None:
    figure = Lines(title="one", x="learning_rate", y=("drop",), among={"dataset": ("mnist",), "width": (32,)})
    panel = figure_block(run, replace(figure, panels=("architecture",))).panels[0]
    assert isinstance(panel, LinePanel)
    values = [
        run.results[one.key].values["drop"]
        for one in run.trials
        if {"mnist", "fc-4", 32, 0.01} <= set(one.levels.values()) and not run.results[one.key].diverged
    ]
    mean = sum(values) / len(values)
    sd = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
    t = {2: 4.30265, 3: 3.18245}[len(values) - 1]
    series = panel.series[0]
    at = series.x.index(0.01)
    assert series.y[at] == pytest.approx(mean)
    assert series.high[at] - series.y[at] == pytest.approx(t * sd / math.sqrt(len(values)), rel=1e-4)


def test_words_on_an_axis_get_positions(run: Outcome) -> None:
    panel = figure_block(run, FIGURES[4]).panels[0]
    assert isinstance(panel, LinePanel)
    assert panel.x.names == ARCHITECTURES
    assert panel.series[0].x == (0.0, 1.0)


def test_caption_names_what_is_averaged_over_and_left_out(run: Outcome) -> None:
    caption = figure_block(run, FIGURES[4]).caption
    assert "Averaged over dataset and learning rate." in caption
    assert f"{run.diverged} diverged trials are not drawn." in caption


def test_scatter_of_two_curves_has_a_mark_per_entry_and_hollow_marks(run: Outcome) -> None:
    by_layer, by_run = figure_block(run, FIGURES[5]).panels[0], figure_block(run, FIGURES[6]).panels[0]
    assert isinstance(by_layer, ScatterPanel)
    assert isinstance(by_run, ScatterPanel)
    assert [marks.label for marks in by_layer.marks] == ["0", "1", "2", "3", "4"]
    assert any(any(marks.hollow) for marks in by_run.marks)
    assert not all(all(marks.hollow) for marks in by_run.marks)


def test_undefined_and_infinite_numbers_are_not_drawn(run: Outcome) -> None:
    broken = {
        key: replace(result, values={**result.values, "loss": (math.nan, math.inf, -1.0)[i % 3]})
        for i, (key, result) in enumerate(run.results.items())
    }
    block = figure_block(replace(run, results=broken), FIGURES[3])
    assert block.panels == ()
    assert block.legends == ()


def test_numbers_get_the_decimals_of_their_uncertainty() -> None:
    assert words.interval(0.0185686, 0.0413702) == "[0.019, 0.041]"
    assert words.rounded(-0.0004, 0.03) == "0.000"
    assert words.number(1e9) == "1e+09"
    assert words.interval(-math.inf, 1.0) == "[-infinite, 1]"
