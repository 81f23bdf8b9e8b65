"""The tutorials run as they are printed, and print what they say (numbers may differ in their digits)."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from refute.cli_judge import judge
from refute.errors import RefuteError

DOCS = Path(__file__).parents[2] / "docs"
app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
app.command("judge")(judge)


def words(text: str) -> list[str]:
    """The words of an answer, with every number replaced by a sign."""
    return re.sub(r"-?\d+(\.\d+)?(e-?\d+)?", "#", text).split()


def answer(command: str) -> str:
    program, verb, *arguments = shlex.split(command)
    assert (program, verb) == ("refute", "judge")
    done = CliRunner().invoke(app, arguments, env={"COLUMNS": "80", "NO_COLOR": "1"})
    if isinstance(done.exception, RefuteError):
        return f"refute: {done.exception}"
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize(
    ("name", "commands", "last"),
    [
        ("judge-your-own-results", 5, "gain-0.01 inconclusive"),
        ("your-own-network", 2, "replica by replica: examples of a batch act on one another"),
    ],
)
def test_the_tutorial_runs(
    name: str, commands: int, last: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```(python|sh|text)\n(.*?)```", (DOCS / f"{name}.md").read_text(), flags=re.DOTALL)
    for position, (kind, text) in enumerate(blocks):
        if kind == "python":
            (tmp_path / "script.py").write_text(text)
            done = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
        elif kind == "sh":
            after, expected = blocks[position + 1]
            assert after == "text"
            assert words(answer(text)) == words(expected)
    assert len([kind for kind, _ in blocks if kind == "sh"]) == commands
    assert last in done.stdout
