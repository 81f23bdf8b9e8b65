"""The benchmarks of the engine and of scheduling run and tell what they found; no time is judged here."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

ENGINE = Path(__file__).parents[1] / "benchmarks" / "engine.py"
SCHEDULING = ENGINE.parent / "scheduling.py"


def test_the_race_gives_rates_ratios_and_checks(tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    arguments = "--nets mlp-64 --batch 32 --replicas 4 --rounds 1 --seconds 0.2 --contestants plain,ours --json"
    command = [sys.executable, str(ENGINE), *arguments.split(), str(found)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr

    results = json.loads(found.read_text())
    assert results["machine"]["cores"] >= 1
    assert "torch" in results["machine"]["versions"]
    (result,) = results["results"]
    assert (result["net"], result["batch"], result["replicas"]) == ("mlp-64", 32, 4)
    assert result["steps"] >= 20
    assert set(result["rates"]) == {"plain", "ours"}
    for name, rates in result["rates"].items():
        assert [rate > 0 for rate in rates] == [True]
        assert result["losses"][name]["last"] < result["losses"][name]["first"]
    value, least, largest = result["ratio"]["plain"]
    assert value == least == largest == result["rates"]["ours"][0] / result["rates"]["plain"][0]
    assert len(result["floor"]) == 1
    assert result["neighbours"] >= 0
    assert result["doubts"] == []
    assert result["left_out"] == {}


def test_the_tables_are_written_between_the_marks(tmp_path: Path) -> None:
    script = (
        "import pathlib, sys; sys.path.insert(0, sys.argv[1]); from contestants import table\n"
        "result = {'net': 'mlp-256', 'title': 'MLP', 'kind': 'dense', 'batch': 128, 'replicas': 16, 'steps': 20,\n"
        "    'rates': {'plain': [100.0, 50.0, 80.0], 'jax_scan': [210.0], 'ours': [400.0, 300.0, 200.0]},\n"
        "    'floor': [500.0, 600.0, 700.0], 'start_s': {'plain': 1.0, 'jax_scan': 2.0, 'ours': 3.0},\n"
        "    'compile_s': {'jax_scan': 0.5}, 'peak_mb': {}, 'neighbours': 0.5, 'remarks': {},\n"
        "    'left_out': {'pool': 'not there'}}\n"
        "page = pathlib.Path(sys.argv[2])\n"
        "page.write_text('before <!-- results: begin --> old <!-- results: end --> after')\n"
        "machine = {'processor': 'P', 'cores': 2, 'versions': {'torch': '2'}}\n"
        "found = {'machine': machine, 'settings': {'rounds': 3, 'seconds': 2.0}, 'results': [result]}\n"
        "table.write(page, [found, {**found, 'machine': {**machine, 'processor': 'Q'}}])\n"
    )
    page = tmp_path / "page.md"
    command = [sys.executable, "-c", script, str(ENGINE.parent), str(page)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert text.startswith("before ")
    assert text.endswith(" after")
    assert " old " not in text
    assert text.index("#### P") < text.index("#### Q")
    ratios = "| MLP | 128 x 16 | 3.75 (2.50-6.00) | - | - | 1.43 (0.95-1.90) | 0.50 (0.29-0.80) |"
    assert f"{ratios} 4x plain loop (floor: 7.5); 0.60 of the floor |" in text
    assert "| 210 (2.0+0.5 s) | 300 (3.0 s) | 600 |" in text
    assert "- process pool, MLP: not there" in text
    assert "- MLP, 128 x 16: other programs used 0.5 cores" in text


def test_the_readme_shows_the_speed_of_the_committed_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ENGINE.parent)
    table = importlib.import_module("contestants.table")
    machines = [json.loads(path.read_text()) for path in sorted((ENGINE.parent / "results").glob("*.json"))]
    readme = (ENGINE.parents[1] / "README.md").read_text(encoding="utf-8")
    marked = f"<!-- speed: begin -->\n{table.speeds(machines)}\n<!-- speed: end -->"
    assert marked in readme, "README.md is out of date: run benchmarks/engine.py --read RESULTS --table"


def test_scheduling_runs_as_many_trials_as_it_is_asked_for() -> None:
    """And not only those of a first look."""
    command = [sys.executable, str(SCHEDULING), "--only", "nothing", "200"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["milliseconds per trial"] > 0
