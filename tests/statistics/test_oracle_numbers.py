"""Every oracle number of docs/statistics.md section 10, to the six digits that are printed there."""

import json
import math
import runpy
from pathlib import Path

import pytest

from refute import statistics
from refute.statistics import CellVerdict, OverallVerdict, Region, judge_cell, judge_cells, train_on

HERE = Path(__file__).parent
SETS = json.loads((HERE / "oracle.json").read_text())
CELLS = [(name, one) for one in SETS for name in one["cells"]]


def effects_of(one, name, upto=None):
    return [math.nan if x is None else x for x in one["cells"][name]["effects"][:upto]]


def judged(one, name, *, taken=None, upto=None) -> CellVerdict:
    return judge_cell(
        effects_of(one, name, upto),
        region=Region(one["kind"], one["bound"]),
        looks=one["looks"],
        quantum=one["quantum"],
        share=one["share"],
        looks_taken=taken,
    )


def overall(one) -> OverallVerdict:
    cells = {name: judged(one, name) for name in one["cells"]}
    return judge_cells(cells, region=Region(one["kind"], one["bound"]), share=one["share"])


def close(expected):
    # Half a unit of the sixth digit, at worst 5e-6 relative, plus the rounding of our own last digits.
    return pytest.approx(expected, rel=6e-6, abs=1e-12)


def test_the_json_is_the_transcription_of_the_text():
    transcribe = runpy.run_path(str(HERE / "transcribe_oracle.py"))["transcribe"]
    assert transcribe((HERE / "oracle.txt").read_text()) == SETS
    assert len(CELLS) == 25


@pytest.mark.parametrize(("name", "one"), CELLS, ids=[name for name, _ in CELLS])
class TestCell:
    def test_verdict_and_looks_taken(self, name, one):
        expected, cell = one["cells"][name], judged(one, name)
        assert (cell.verdict, cell.decided_at) == (expected["verdict"], expected["decided_at"])
        assert [look.planned for look in cell.looks] == [look["n"] for look in expected["looks"]]
        assert [look.blocked for look in cell.looks] == [look["blocked"] for look in expected["looks"]]

    def test_numbers_of_every_look(self, name, one):
        for look, expected in zip(judged(one, name).looks, one["cells"][name]["looks"], strict=True):
            assert look.valid == expected.get("valid", look.planned)
            assert (look.low, look.high) == close((expected["low"], expected["high"]))
            if one["share"]:
                assert look.mean * look.valid == pytest.approx(expected["x"])
            else:
                assert (look.mean, look.sd, look.skewness) == close((expected["m"], expected["s"], expected["g"]))

    def test_sequential_p(self, name, one):
        cell = judged(one, name)
        assert (cell.p_supported, cell.p_refuted) == close(tuple(one["cells"][name]["p"]))

    def test_verdict_exactly_when_p_is_below_the_level(self, name, one):
        cell = judged(one, name)
        assert (cell.verdict == "supported") == (cell.p_supported < 0.05)
        assert (cell.verdict == "refuted") == (cell.p_refuted < 0.05)

    def test_hedges_g(self, name, one):
        expected, cell = one["cells"][name]["hedges"], judged(one, name)
        assert cell.hedges_g == (None if expected is None else close(tuple(expected)))


@pytest.mark.parametrize("one", SETS, ids=[one["name"] for one in SETS])
class TestOverall:
    def test_verdict(self, one):
        assert overall(one).verdict == one["overall"]["verdict"]

    def test_holm(self, one):
        result = overall(one)
        for name, cell in one["cells"].items():
            assert (result.holm_supported[name], result.holm_refuted[name]) == close(tuple(cell["holm"]))

    def test_pooled(self, one):
        expected, pooled = one["overall"]["pooled"], overall(one).pooled
        if expected is None:
            assert pooled is None
            return
        assert pooled is not None
        assert pooled.k == expected["K"]
        assert pooled.mean == close(expected["mean"])
        assert pooled.tau2 == close(expected["tau2"])
        assert (pooled.q, pooled.i2) == close((expected["Q"], expected["I2"]))
        # The document prints SE, after Hartung-Knapp, under the name SE0: only so does it agree with its own interval.
        assert (pooled.se, pooled.qh) == close((expected["SE0"], expected["qh"]))
        assert (pooled.low, pooled.high) == close(tuple(expected["CI"]))
        prediction = (pooled.prediction_low, pooled.prediction_high)
        assert prediction == (close(tuple(expected["PI"])) if "PI" in expected else (None, None))
        share = pooled.share(Region(one["kind"], one["bound"]))
        assert share == (close(expected["share"]) if "share" in expected else None)

    def test_the_stopping_rule_asks_for_exactly_these_blocks(self, one):
        """Replay: after each look, the cells that go on are those that have more blocks in the oracle."""
        taken: dict[str, list[int]] = {name: [] for name in one["cells"]}
        running = set(one["cells"])
        for look in one["looks"]:
            for name in running:
                taken[name].append(look)
            cells = {name: judged(one, name, taken=taken[name], upto=taken[name][-1]) for name in taken}
            running = train_on(cells)
        assert {name: looks[-1] for name, looks in taken.items()} == {
            name: len(cell["effects"]) for name, cell in one["cells"].items()
        }
        for name, looks in taken.items():
            assert looks == [look["n"] for look in one["cells"][name]["looks"]]


def test_levels_of_the_table_in_section_3():
    assert statistics.look_levels((5, 10, 20, 40)) == close((0.00625, 0.00625, 0.0125, 0.025))
    assert statistics.look_levels((5, 10, 20)) == close((0.0125, 0.0125, 0.025))
    assert statistics.look_levels((10, 20, 40)) == close((0.0125, 0.0125, 0.025))
    assert statistics.look_levels((5, 10)) == close((0.025, 0.025))
    assert statistics.look_levels((20,)) == close((0.05,))
