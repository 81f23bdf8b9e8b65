"""Labs of several jobs, merged by the command that docs/clusters.md gives, are judged like one run."""

import re
import subprocess
from dataclasses import replace
from pathlib import Path

from conftest import noisy_trial

from refute import flow
from refute.core import Cohort, Phenomenon

ROOT = Path(__file__).parents[2]


def merge(folder: Path) -> None:
    """The documented command, word for word."""
    section = (ROOT / "docs" / "clusters.md").read_text().split("## Merge labs")[1]
    (command,) = re.findall(r"```sh\n(.*?)```", section, flags=re.DOTALL)
    subprocess.run(["bash", "-ec", command], cwd=folder, check=True)


def job(toy: Phenomenon, folder: Path, number: int, first_seed: int) -> None:
    flow.run(toy, scale="smoke", lab=folder / f"lab-{number}", workers=0, first_seed=first_seed, seeds=3)


def test_the_jobs_of_an_array(toy: Phenomenon, tmp_path: Path) -> None:
    for number in range(4):
        job(toy, tmp_path, number, 3 * number)
    merge(tmp_path)
    merged = flow.stored(toy, scale="smoke", seeds=12, lab=tmp_path / "lab")
    whole = flow.run(toy, scale="smoke", seeds=12, lab=tmp_path / "whole", workers=0)
    assert (merged.trials_cached, merged.warnings) == (48, ())
    assert merged.results == whole.results
    assert merged.verdicts == whole.verdicts


def test_trials_that_two_jobs_ran_count_once(toy: Phenomenon, tmp_path: Path) -> None:
    job(toy, tmp_path, 0, 0)
    job(toy, tmp_path, 1, 2)
    merge(tmp_path)
    merged = flow.stored(toy, scale="smoke", seeds=5, lab=tmp_path / "lab")
    assert (merged.trials_cached, merged.warnings) == (20, ())


def shifted_trial(cohort: Cohort) -> dict[str, object]:
    found = noisy_trial(cohort)
    return {**found, "height": found["height"] + 1e-6}


def test_jobs_that_disagree_are_told(toy: Phenomenon, tmp_path: Path) -> None:
    job(toy, tmp_path, 0, 0)
    job(replace(toy, trial=shifted_trial), tmp_path, 1, 0)
    merge(tmp_path)
    merged = flow.stored(toy, scale="smoke", seeds=3, lab=tmp_path / "lab")
    assert any("computed twice with different results: height" in text for text in merged.warnings)
