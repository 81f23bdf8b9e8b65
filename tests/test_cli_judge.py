"""The verb `judge` as a user meets it: examples, output, refusals, exit codes, and no traceback."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from refute.cli_judge import judge
from refute.errors import RefuteError

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
app.command("judge")(judge)
COMPARE = ("--of", "accuracy", "--across", "optimizer=sgd,adam", "--within", "data")


def run(*arguments: Any) -> Result:
    """One call; whatever is raised is meant for a person, and the entry point turns it into an exit code."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "100", "NO_COLOR": "1"})
    assert done.exception is None or isinstance(done.exception, RefuteError | SystemExit), done.exception
    return done


def said(done: Result, code: int) -> str:
    assert isinstance(done.exception, RefuteError)
    assert done.exception.exit_code == code
    return str(done.exception)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    lines = ["data,optimizer,seed,accuracy,collapsed"]
    for data in ("digits", "mnist", "svhn"):
        for optimizer in ("sgd", "adam"):
            for seed in range(10):
                value = 0.9 + 0.03 * (optimizer == "adam") + 0.005 * random.normal()
                lines.append(f"{data},{optimizer},{seed},{value:.4f},{int(seed == 3)}")
    path = tmp_path / "runs.csv"
    path.write_text("\n".join(lines))
    return path


def test_the_help_has_examples() -> None:
    done = run("--help")
    assert done.exit_code == 0
    assert "refute judge runs.csv --of accuracy --across optimizer=sgd,adam" in " ".join(done.output.split())


def test_the_verdict_in_words(runs: Path) -> None:
    done = run(runs, *COMPARE, "--block", "seed", "--at-least", "0.01", "--reason", "a point pays for the memory")
    assert done.exit_code == 0
    text = " ".join(done.output.split())
    assert "SUPPORTED" in text
    assert "accuracy: optimizer=adam minus optimizer=sgd, at least 0.01" in text
    assert "60 rows; blocks by column 'seed'; no planned looks." in text
    assert "Intervals of cells: 90 %." in text


def test_looks_and_notes_are_printed(runs: Path) -> None:
    text = " ".join(run(runs, *COMPARE, "--block", "seed", "--at-least", "0.01", "--looks", "5,10").output.split())
    assert "planned looks 5, 10" in text
    assert "decided at 5 blocks (looks 5, 10)" in text
    assert "Mind:" not in text


def test_json_is_strict_and_has_the_shape_of_a_run(runs: Path) -> None:
    done = run(runs, *COMPARE, "--block", "seed", "--at-least", "0.01", "--looks", "5,10", "--json")
    document = json.loads(done.stdout, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert document.keys() == {"table", "rows", "block", "looks", "claims", "warnings"}
    assert (document["table"], document["rows"], document["looks"]) == ("runs.csv", 60, [5, 10])
    (claim,) = document["claims"]
    assert claim["verdict"] == "supported"
    assert [cell["levels"] for cell in claim["cells"]] == [{"data": d} for d in ("digits", "mnist", "svhn")]
    assert claim["pooled"]["mean"] == pytest.approx(0.03, abs=0.01)


def test_other_effects(runs: Path) -> None:
    only_sgd = ("--block", "seed", "--within", "data", "--only", "optimizer=sgd")
    share = run(runs, "--effect", "share", "--of", "collapsed", *only_sgd, "--at-most", "0.9", "--json")
    assert json.loads(share.stdout)["claims"][0]["cells"][0]["effect"] == pytest.approx(0.1)
    value = run(runs, "--of", "accuracy", "--block", "seed", "--within", "data,optimizer", "--within-bound", "2")
    assert "SUPPORTED" in value.output


def test_refusals_say_why_and_what_to_do(runs: Path, tmp_path: Path) -> None:
    bound = ("--at-least", "0.01")
    assert "--block seed" in said(run(runs, *COMPARE, *bound), 2)
    assert "exactly one bound" in said(run(runs, *COMPARE, "--block", "seed"), 2)
    assert "did you mean" in said(run(runs, *COMPARE, *bound, "--block", "sed"), 2)
    assert "there is no file" in said(run(tmp_path / "none.csv", *COMPARE, *bound, "--block", "seed"), 2)
    again = tmp_path / "again.csv"
    again.write_text(runs.read_text() + "\ndigits,sgd,0,0.99,0")
    assert "duplicated" in said(run(again, *COMPARE, *bound, "--block", "seed"), 1)
    assert run(runs, "--at-least", "0.01").exit_code == 2
    assert run(runs, *COMPARE, "--at-least", "much", "--block", "seed").exit_code == 2


GARBAGE = {
    "empty.csv": b"",
    "binary.csv": bytes(range(256)) * 40,
    "quotes.csv": b'data,optimizer,seed,accuracy\n"mnist,sgd,0,0.5\n',
    "objects.jsonl": b'{"seed": {"a": [1, {"b": 2}]}, "accuracy": [1]}\n{"seed": 3}\n',
    "holes.csv": b"data,optimizer,seed,accuracy\n,,,\n,,,\n",
    "huge.csv": b"data,optimizer,seed,accuracy\nd,sgd,0,1e999\nd,adam,0,-1e999\nd,sgd,1,1e308\nd,adam,1,-1e308\n",
    "fake.parquet": b"PAR1",
}


@pytest.mark.parametrize("name", GARBAGE)
@pytest.mark.parametrize(
    "options",
    [COMPARE, ("--of", "accuracy"), ("--of", "accuracy", "--along", "seed"), ("--of", "accuracy", "--effect", "share")],
)
def test_garbage_is_answered_in_one_sentence(name: str, options: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(GARBAGE[name])
    for block in ((), ("--block", "seed")):
        done = run(tmp_path / name, *options, *block, "--at-least", "0.5")
        assert "Traceback" not in done.output
        if done.exception is not None:
            assert "\n" not in str(done.exception)
