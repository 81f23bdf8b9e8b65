"""Every entry of the catalogue keeps the contract: definitions, smoke protocol, results, verdicts, page."""

import ast
import inspect
import json
import math
from functools import cache
from pathlib import Path

import pytest

from refute import catalogue, flow
from refute.core import Outcome, Phenomenon
from refute.engine import plan
from refute.errors import UnknownNameError
from refute.evidence import read_evidence
from refute.records.verifying import verify
from refute.report import as_json, render_html

NAMES = catalogue.names()
ROOT = Path(__file__).parents[2]
EVIDENCE = ROOT / "evidence"


@cache
def smoke(name: str, folder: str) -> Outcome:
    return flow.run(catalogue.get(name), scale="smoke", lab=Path(folder), workers=0)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("lab"))


@pytest.fixture(params=NAMES)
def phenomenon(request: pytest.FixtureRequest) -> Phenomenon:
    return catalogue.get(request.param)


def test_the_name_is_the_files_name_and_the_docstring_one_sentence(phenomenon: Phenomenon) -> None:
    module = inspect.getmodule(phenomenon.trial)
    assert module is not None
    assert module.__name__.endswith(phenomenon.name.replace("-", "_"))
    assert module.__doc__
    assert "\n\n" not in module.__doc__.strip()


def test_all_three_scales_exist_and_can_be_judged(phenomenon: Phenomenon) -> None:
    assert set(phenomenon.protocols) == {"smoke", "small", "full"}
    for scale in phenomenon.protocols:
        assert plan(phenomenon, scale)
    assert {block for grid in phenomenon.protocols["small"].grids for block in [grid.seeds] if block < 5} == set()


def test_one_headline_and_a_control(phenomenon: Phenomenon) -> None:
    assert sum(claim.headline for claim in phenomenon.claims) == 1
    assert any(claim.control for claim in phenomenon.claims)
    assert phenomenon.figures
    assert phenomenon.deviations


def test_the_smoke_protocol_needs_no_network(phenomenon: Phenomenon) -> None:
    for grid in phenomenon.protocols["smoke"].grids:
        assert not {"mnist", "fashion-mnist", "cifar10"} & set(grid.levels.get("dataset", ()))


def test_smoke_runs_and_every_claim_is_judged(phenomenon: Phenomenon, lab: str) -> None:
    outcome = smoke(phenomenon.name, lab)
    assert outcome.trials_run == len(outcome.trials) == len(outcome.results)
    assert [verdict.claim.id for verdict in outcome.verdicts] == [claim.id for claim in phenomenon.claims]
    for verdict in outcome.verdicts:
        assert verdict.cells, f"claim {verdict.claim.id} has no cell at scale smoke"
        for cell in verdict.cells:
            assert len(cell.effects) == len(cell.blocks) > 0
    for name, quantity in phenomenon.quantities.items():
        if not quantity.axes:
            values = [result.values[name] for result in outcome.results.values()]
            assert any(math.isfinite(value) for value in values), f"{name} is never defined at scale smoke"


def test_a_second_smoke_run_trains_nothing(phenomenon: Phenomenon, lab: str) -> None:
    first = smoke(phenomenon.name, lab)
    again = flow.run(phenomenon, scale="smoke", lab=Path(lab), workers=0)
    assert again.trials_run == 0
    assert as_json(again)["claims"] == as_json(first)["claims"]


def test_json_and_page_of_the_smoke_run(phenomenon: Phenomenon, lab: str) -> None:
    outcome = smoke(phenomenon.name, lab)
    text = json.dumps(as_json(outcome), allow_nan=False)
    assert phenomenon.name in text
    page = render_html(outcome)
    for claim in phenomenon.claims:
        assert f">{claim.id}" in page or claim.id in page
    assert len(page) < 3_000_000


def test_no_seed_is_drawn_from_global_state(phenomenon: Phenomenon) -> None:
    tree = ast.parse(inspect.getsource(inspect.getmodule(phenomenon.trial)))  # type: ignore[arg-type]
    called = {
        node.func.attr for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    assert "manual_seed" not in called


def test_the_committed_evidence_is_small_and_judges_to_its_own_verdicts(phenomenon: Phenomenon) -> None:
    folder = EVIDENCE / phenomenon.name / "small"
    outcome = read_evidence(phenomenon, folder)
    lacking = "the evidence lacks planned trials: run the protocol again"
    assert outcome.looks is not None or len(outcome.results) == len(outcome.trials), lacking
    assert outcome.results
    checks = verify(folder / "record.json", registrations=ROOT / "registrations", current=lambda _: phenomenon)
    failed = [f"{check.name}: {check.says}" for check in checks if not check.ok]
    assert not failed, "claims have changed: write the evidence again, say what moved"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 1_000_000


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'layer-criticality'"):
        catalogue.get("layer-critcality")
