import json
import math
from dataclasses import replace

from refute.core import Outcome, Verdict
from refute.report import as_json

from .synthetic import CLAIMS, cell, nothing_run


def test_keys_are_the_promised_ones(run: Outcome) -> None:
    value = as_json(run)
    assert {"phenomenon", "version", "scale", "claims", "trials", "seconds"} <= set(value)
    assert set(value["trials"]) == {"planned", "run", "cached", "diverged", "spared"}
    for claim, verdict in zip(value["claims"], run.verdicts, strict=True):
        assert {"id", "statement", "verdict", "bound", "cells"} <= set(claim)
        assert set(claim["bound"]) == {"direction", "value", "reason"}
        for found, wanted in zip(claim["cells"], verdict.cells, strict=True):
            assert {"levels", "blocks", "effect", "low", "high", "verdict", "excluded"} <= set(found)
            assert found["blocks"] == wanted.planned
            assert found["levels"] == dict(wanted.levels)


def test_output_is_strict_json(run: Outcome) -> None:
    strange = cell({"dataset": "digits"}, "untested", math.nan, math.nan)
    strange = replace(strange, low=-math.inf, hedges_g=(1.0, math.nan, math.inf), sd=math.nan)
    verdict = Verdict(claim=CLAIMS[4], verdict="untested", sentence="", cells=(strange,))
    text = json.dumps(as_json(replace(run, verdicts=(verdict,), seconds=math.nan)), allow_nan=False)
    found = json.loads(text)["claims"][0]["cells"][0]
    assert (found["effect"], found["low"], found["high"]) == (None, None, None)
    assert found["hedges_g"] == [1.0, None, None]


def test_nothing_run_has_its_claims() -> None:
    value = as_json(nothing_run())
    assert [claim["verdict"] for claim in value["claims"]] == ["untested"] * len(CLAIMS)
    assert value["trials"]["run"] == 0
