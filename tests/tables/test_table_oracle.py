"""A table goes through the very same statistics: the oracle numbers of docs/statistics.md, and `refute.judge`."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from refute.catalogue import get
from refute.core import (
    Arm,
    Claim,
    Condition,
    Contrast,
    Grid,
    Phenomenon,
    Protocol,
    Quantity,
    RankCorrelation,
    Result,
    Share,
    Slope,
    Source,
    Trial,
    Value,
    Verdict,
    at_least,
    at_most,
    difference,
    expand,
    log_ratio,
    looped,
    make_trials,
    within,
)
from refute.judge import judge
from refute.tables import judge_table, make_claim

ROOT = Path(__file__).parents[2]
ORACLE = (ROOT / "docs" / "statistics.md").read_text().split("```text\n")[1].split("```")[0]
SETS = {
    "1": ({"at_least": 0.02}, 0.0, (5, 10, 20)),
    "2": ({"at_most": -0.1}, 0.0, (5, 10, 20)),
    "3": ({"at_least": 3.0}, 1.0, (5, 10, 20, 40)),
    "4": ({"within_bound": 0.05}, 0.0, (5, 10, 20)),
    "5": ({"at_least": 0.7, "effect": "share"}, 0.0, (5, 10, 20, 40)),
    "6": ({"at_least": 8.0}, 1.0, (5, 10, 20)),
}


def oracle_cells(number: str) -> dict[str, list[float | None]]:
    found = {}
    for name, numbers in re.findall(rf"^({number}[a-f]) x = (.*)$", ORACLE, flags=re.MULTILINE):
        parts = list(numbers) if number == "5" else numbers.split()
        found[name] = [None if part == "NA" else float(part) for part in parts]
    return found


def oracle_words(number: str) -> tuple[dict[str, str], str]:
    text = ORACLE.split(f"# {number} ")[1].split("\n# ")[0]
    cells = re.findall(r"^(\w\w) x = .*\n  -> (\w+)", text, flags=re.MULTILINE)
    return dict(cells), re.findall(r"^  => (\w+)", text, flags=re.MULTILINE)[0]


@pytest.mark.parametrize("number", SETS)
def test_oracle_numbers(number: str) -> None:
    options, quantum, looks = SETS[number]
    cells = oracle_cells(number)
    rows = [(name, block, x) for name, effects in cells.items() for block, x in enumerate(effects)]
    table = {
        "cell": [row[0] for row in rows],
        "seed": [row[1] for row in rows],
        "x": [row[2] for row in rows],
    }
    claim = make_claim(of="x", within="cell", **options)  # type: ignore[arg-type]
    verdict = judge_table(table, claim, block="seed", looks=looks, quantum=quantum).verdicts[0]
    words, overall = oracle_words(number)
    assert {cell.levels["cell"]: cell.verdict for cell in verdict.cells} == words
    assert verdict.verdict == overall
    pooled = re.search(
        r"mean=(\S+) .* CI \[(\S+), (\S+)\]", ORACLE.split(f"# {number} ")[1].split("\n  => ")[1].split("\n")[0]
    )
    if pooled:
        assert verdict.pooled is not None
        found = (verdict.pooled.mean, verdict.pooled.low, verdict.pooled.high)
        assert found == pytest.approx([float(part) for part in pooled.groups()], rel=1e-5)


# --- against the judge of trials ----------------------------------------------------------------------------------

WITHIN = ("data", "net")
REASON = "for the test"
SECOND_DIFFERENCE = Contrast(
    "y", tuple((weight, Arm({"rate": rate})) for weight, rate in ((1.0, 0.1), (-2.0, 0.3), (1.0, 1.0)))
)
CLAIMS = (
    Claim(id="value", statement="s", effect=Value("y"), holds=at_least(0.1, reason=REASON), within=(*WITHIN, "arm"),
          among={"rate": (0.1,)}, where=(Condition("fit", at_least=0.05),)),
    Claim(id="difference", statement="s", effect=difference("y", "arm", "a", "b"), holds=at_least(0.2, reason=REASON),
          within=WITHIN, among={"rate": (0.1,)}, where=(Condition("fit", at_least=0.02),)),
    Claim(id="ratio", statement="s", effect=log_ratio("size", "arm", "a", "b"), holds=within(0.5, reason=REASON),
          within=WITHIN, among={"rate": (1.0,)}),
    Claim(id="three", statement="s", holds=at_most(0.0, reason=REASON), within=WITHIN, among={"arm": ("a",)},
          effect=SECOND_DIFFERENCE),
    Claim(id="share", statement="s", effect=Share(Condition("y", at_least=0.1)), holds=at_least(0.5, reason=REASON),
          within=("data",), among={"rate": (0.3,), "arm": ("b",), "net": ("mlp",)}),
    Claim(id="rho", statement="s", effect=RankCorrelation("rate", "y", ("rate",)), holds=at_least(0.3, reason=REASON),
          within=WITHIN, among={"arm": ("b",)}),
    Claim(id="tau", statement="s", effect=RankCorrelation("size", "y", ("rate", "arm"), "kendall"),
          holds=at_least(0.1, reason=REASON), within=WITHIN, keep=(Condition("fit", at_least=0.1),)),
    Claim(id="slope", statement="s", effect=Slope("rate", "size", ("rate",), log=True), within=WITHIN,
          holds=at_most(0.3, reason=REASON), among={"arm": ("a",)}),
)  # fmt: skip


def random_world(seed: int) -> tuple[Phenomenon, list[Trial], dict[str, Result]]:
    levels = {
        "data": ("cifar", "digits", "mnist"),
        "net": ("conv", "mlp"),
        "arm": ("a", "b"),
        "rate": (0.1, 0.3, 0.6, 1.0),
    }
    phenomenon = Phenomenon(
        name="world",
        statement="s",
        source=Source(authors="A", title="T", year=2019),
        factors={name: looped(name) for name in levels},
        quantities={
            "y": Quantity(definition="y", quantum=0.01),
            "size": Quantity(definition="size"),
            "fit": Quantity(definition="fit"),
        },
        protocols={"small": Protocol(grids=(Grid(levels=levels, seeds=12),))},
        trial=lambda cohort: {},
        claims=CLAIMS,
        cell=WITHIN,
    )
    trials = [trial for one in expand(levels) for trial in make_trials(phenomenon, one, range(12), {})]
    random = np.random.default_rng(seed)
    results = {}
    for trial in trials:
        y = random.normal(0.3 * (trial.levels["arm"] == "b") + 0.4 * float(trial.levels["rate"]), 0.3)
        failed = random.random() < 0.01
        values = {
            "y": math.nan if failed else round(y, 2),
            "size": float(random.lognormal(float(trial.levels["rate"]))),
            "fit": random.random(),
        }
        results[trial.key] = Result(key=trial.key, diverged=False, values=values)
    return phenomenon, trials, results


def as_columns(trials: Sequence[Trial], results: Mapping[str, Result]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {name: [t.levels[name] for t in trials] for name in trials[0].levels}
    columns["seed"] = [t.block for t in trials]
    for name in results[trials[0].key].values:
        columns[name] = [results[t.key].values[name] for t in trials]
    return columns


def numbers(verdict: Verdict) -> dict[str, Any]:
    """Everything a verdict says in numbers, by cell."""
    cells = {}
    for cell in verdict.cells:
        found = [cell.effect, cell.low, cell.high, cell.confidence, cell.sd, cell.p_supported, cell.p_refuted]
        found += [cell.planned, cell.excluded, cell.seeds_needed or 0]
        found += [*(cell.hedges_g or ()), *(cell.superiority or ()), *cell.effects]
        cells[tuple(sorted(cell.levels.items()))] = found
    return cells


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_the_same_as_the_judge_of_trials(claim: Claim, seed: int) -> None:
    phenomenon, trials, results = random_world(seed)
    expected = next(v for v in judge(phenomenon, trials, results) if v.claim.id == claim.id)
    columns = as_columns(trials, results)
    verdict = judge_table(
        columns, claim, block="seed", quantum=0.01, group="data" if claim.within != ("data",) else None
    )
    found = verdict.verdicts[0]
    unpooled = judge_table(columns, claim, block="seed", quantum=0.01).verdicts[0]
    assert [cell.verdict for cell in found.cells] == [cell.verdict for cell in expected.cells]
    assert found.verdict == unpooled.verdict or found.pooled != unpooled.pooled
    theirs = numbers(expected)
    for key, mine in numbers(found).items():
        assert mine == pytest.approx(theirs[key], rel=1e-9, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("name", ["C1", "C1-grid", "C3", "C3-asymmetry"])
def test_the_committed_evidence_of_layer_rotation(name: str) -> None:
    """Rows of a real run, put into a wide table, give the verdicts of the record."""
    phenomenon = get("layer-rotation")
    rows = pq.read_table(ROOT / "evidence" / "layer-rotation" / "small" / "rows.parquet").to_pylist()
    record = json.loads((ROOT / "evidence" / "layer-rotation" / "small" / "record.json").read_text())
    wide: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["axis0"] is None:
            trial = wide.setdefault(row["trial"], {**json.loads(row["levels"]), "seed": row["block"]})
            trial[row["quantity"]] = row["value"]
    columns = {key: [trial.get(key) for trial in wide.values()] for trial in wide.values() for key in trial}
    claim = next(claim for claim in phenomenon.claims if claim.id == name)
    expected = next(one for one in record["verdicts"] if one["claim"] == name)
    found = judge_table(columns, claim, block="seed").verdicts[0]
    assert found.verdict == expected["direction"]
    theirs = {tuple(sorted(cell["levels"].items())): cell for cell in expected["cells"]}
    assert len(theirs) == len(found.cells)
    for cell in found.cells:
        one = theirs[tuple(sorted(cell.levels.items()))]
        ends = one["interval"]["low"], one["interval"]["high"]
        assert (cell.effect, cell.low, cell.high) == pytest.approx((one["effect"], *ends), rel=1e-9)
        assert cell.verdict == one["direction"]
