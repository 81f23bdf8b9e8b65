"""The verbs register, diff, record and verify as a user meets them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from recorded import BEFORE, keep, phenomenon, run, with_bound
from typer.testing import CliRunner, Result

from refute import catalogue, cli_records
from refute.core import Phenomenon
from refute.errors import StoreError, UsageError
from refute.records.registration import register

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
for verb in (cli_records.register, cli_records.diff, cli_records.record, cli_records.verify):
    app.command()(verb)


class Catalogue:
    """A catalogue with the toy alone, in a folder of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.known = phenomenon()
        self.folder = folder
        monkeypatch.chdir(folder)
        monkeypatch.setattr(catalogue, "get", lambda name: self.known)
        monkeypatch.setattr(catalogue, "names", lambda: ("toy",))

    def change(self, known: Phenomenon) -> None:
        self.known = known

    def __call__(self, *arguments: str, code: int = 0) -> Result:
        done = CliRunner().invoke(app, arguments)
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == code, done.output
        return done

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", code=code).stdout)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Catalogue:
    return Catalogue(monkeypatch, tmp_path)


@pytest.mark.parametrize("verb", ["register", "diff", "record", "verify"])
def test_help_has_examples(verb: str) -> None:
    shown = CliRunner().invoke(app, [verb, "--help"]).output
    assert "Examples:" in shown
    assert f"refute {verb} layer-criticality" in shown
    assert "--json" in shown


def test_register_diff_and_register_again(toy: Catalogue) -> None:
    assert "not registered" in toy("diff", "toy", "--scale", "smoke").stdout
    first = toy("register", "toy", "--scale", "smoke").stdout
    assert "Commit registrations/toy-smoke.json" in first
    assert "Nothing has changed" in toy("register", "toy", "--scale", "smoke").stdout
    assert not toy.json("register", "toy", "--scale", "smoke")["added"]
    assert "Nothing has changed" in toy("diff", "toy", "--scale", "smoke", "--exit-code").stdout
    toy.change(with_bound(toy.known, "value", 0.3))
    assert "  bound of claim value: 0.5 -> 0.3" in toy("diff", "toy", "--scale", "smoke").stdout
    toy("diff", "toy", "--scale", "smoke", "--exit-code", code=1)
    again = toy.json("register", "toy", "--scale", "smoke")
    assert again["added"]
    assert again["changes"][0]["in_words"] == "bound of claim value: 0.5 -> 0.3"
    found = toy.json("diff", "toy", "--scale", "smoke")
    assert not found["changed"]
    assert len(found["registrations"]) == 2
    assert found["history"][0]["changes"][0]["before"] == 0.5


def test_diff_says_what_a_change_after_the_data_means(toy: Catalogue) -> None:
    register(toy.known, "smoke", time=BEFORE)
    run(toy.known, toy.folder / "lab")
    assert toy.json("diff", "toy", "--scale", "smoke")["standing"]["kind"] == "registered"
    toy.change(with_bound(toy.known, "value", 0.3))
    shown = toy("diff", "toy", "--scale", "smoke").stdout
    assert "Verdicts: changed after registration: bound of claim value: 0.5 -> 0.3" in shown
    assert "  rank: registered before the first trial" in shown


def test_record_and_verify_from_lab_and_evidence(toy: Catalogue) -> None:
    register(toy.known, "smoke", time=BEFORE)
    keep(run(toy.known, toy.folder / "lab"), toy.folder / "evidence" / "toy", toy.folder / "registrations")
    assert "9 verdicts" in toy("record", "toy", "--scale", "smoke").stdout
    assert "registered before the first trial" in toy("record", "toy", "--scale", "smoke").stdout
    shown = toy("verify", "toy-smoke.record.json", "--lab", "lab").stdout
    assert shown.count("ok  ") == 7
    toy("record", "toy", "--scale", "smoke", "--evidence", "evidence/toy", "--out", "kept/toy.json")
    document = json.loads((toy.folder / "kept" / "toy.json").read_text(encoding="utf-8"))
    assert document["rows"]["file"] == "../evidence/toy/rows.parquet"
    assert toy.json("verify", "kept/toy.json")["ok"]
    assert toy.json("verify", "evidence/toy/record.json")["ok"]
    printed = toy.json("record", "toy", "--scale", "smoke", "--evidence", "evidence/toy")
    assert printed["rows"]["digest"] == document["rows"]["digest"]


def test_a_failed_check_is_exit_code_1(toy: Catalogue) -> None:
    run(toy.known, toy.folder / "lab")
    toy("record", "toy", "--scale", "smoke", "--out", "record.json")
    toy.change(with_bound(toy.known, "value", 0.3))
    shown = toy("verify", "record.json", "--lab", "lab", code=1).stdout
    assert "failed  catalogue: not those of version 1 here: bound of claim value: 0.5 -> 0.3" in shown
    answer = toy.json("verify", "record.json", "--lab", "lab", code=1)
    assert [check["check"] for check in answer["checks"] if not check["ok"]] == ["catalogue"]
    assert "say where they are with --evidence or --lab" in toy("verify", "record.json", code=1).stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("record", "toy", "--scale", "smoke"), "there is no lab"),
        (("record", "toy", "--scale", "smok"), "did you mean 'smoke'"),
        (("verify", "none.json"), "No such file"),
        (("verify", "none.json", "--lab", "a", "--evidence", "b"), "give one of them"),
    ],
)
def test_wrong_use_is_a_usage_error(toy: Catalogue, arguments: tuple[str, ...], says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        toy(*arguments)
    assert caught.value.exit_code == 2


def test_evidence_of_another_scale_or_none(toy: Catalogue) -> None:
    keep(run(toy.known, toy.folder / "lab"), toy.folder / "kept", toy.folder / "registrations")
    toy.change(replace(toy.known, protocols=dict.fromkeys(("smoke", "small"), toy.known.protocols["smoke"])))
    with pytest.raises(UsageError, match="add --scale smoke"):
        toy("diff", "toy", "--scale", "small", "--evidence", "kept")
    with pytest.raises(StoreError, match="holds no evidence"):
        toy("record", "toy", "--scale", "smoke", "--evidence", "nowhere")
