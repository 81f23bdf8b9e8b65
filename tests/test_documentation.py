"""What the documents promise is so."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from refute import catalogue
from refute.core import totals_of

ROOT = Path(__file__).parents[1]


def test_every_verb_of_the_readme_exists(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    verbs = set(re.findall(r"^refute ([a-z]+)", readme, flags=re.MULTILINE))
    expected = "list show run verdict report data judge register diff record verify"
    assert verbs == set(expected.split())
    for verb in verbs:
        done = subprocess.run(
            [sys.executable, "-m", "refute.cli", verb, "--help"],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=False,
        )
        assert done.returncode == 0, done.stderr


CODE = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.mark.parametrize(("code", "printed"), list(zip(CODE, ("C2", "tensor([0.", "not converged"), strict=True)))
def test_the_readme_runs(code: str, printed: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    lines = [line for line in code.splitlines() if "import" in line]
    body = [f"    {line}" for line in code.splitlines() if line and line not in lines]
    script.write_text("\n".join([*lines, 'if __name__ == "__main__":', *body]))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert printed in done.stdout


def test_the_readme_and_the_changelog_name_every_phenomenon() -> None:
    for document in ("README.md", "CHANGELOG.md"):
        for name in catalogue.names():
            assert name in (ROOT / document).read_text(), f"{document} does not speak of {name}"


def test_links_of_the_documents_lead_somewhere() -> None:
    for document in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / document).read_text()):
            assert (ROOT / target).exists(), f"{document}: {target}"


def test_the_derived_files_are_those_of_the_evidence() -> None:
    build = runpy.run_path(str(ROOT / "docs" / "build.py"))
    totals = [totals_of(outcome) for outcome in build["outcomes"]()]
    for path, text in build["derived"](totals).items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is out of date: run make docs"
