"""The law of imports: they go one way, stand at the top of their file, and never come back."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "refute"
FILES = sorted(SOURCE.rglob("*.py"))

MAY_IMPORT = {
    "errors": set(),
    "core": {"errors"},
    "allocation": set(),
    "precision": set(),
    "randomness": set(),
    "schedules": set(),
    "losses": {"errors"},
    "augmentation": {"errors"},
    "attacks": {"errors"},
    "statistics": {"errors"},
    "datasets": {"core", "errors", "randomness"},
    "architectures": {"core", "errors", "randomness", "forkserver"},
    "algorithms": {"core", "errors", "randomness", "architectures"},
    "stopping": {"errors", "architectures"},
    "instruments": {"core", "errors", "randomness", "architectures", "datasets", "losses", "attacks"},
    "store": {"core", "errors"},
    "training": {
        "core", "errors", "allocation", "precision", "randomness", "schedules", "losses", "augmentation", "attacks",
        "stopping", "datasets",
        "architectures", "algorithms", "instruments",
    },
    "parallel": {
        "errors", "schedules", "losses", "augmentation", "attacks", "stopping", "datasets", "architectures",
        "algorithms", "training",
    },
    "phenomena": {
        "core", "errors", "randomness", "schedules", "losses", "augmentation", "attacks", "stopping", "datasets",
        "architectures", "algorithms", "instruments", "training",
    },
    "forkserver": set(),
    "environment": {"core"},
    "engine": {"core", "errors", "allocation", "precision", "datasets", "environment", "forkserver"},
    "judge": {"core", "errors", "statistics"},
    "report": {"core", "errors", "datasets"},
    "tables": {"core", "errors", "statistics"},
    "cli_judge": {"tables", "report"},
    "catalogue": {"core", "errors", "phenomena"},
    "evidence": {"core", "errors", "engine", "judge", "store", "records"},
    "records": {"core", "errors", "statistics", "environment", "engine", "judge", "store"},
    "cli_records": {"core", "errors", "catalogue", "evidence", "flow", "records", "store"},
    "flow": {"core", "errors", "engine", "judge", "store"},
    "cli": {
        "core", "errors", "catalogue", "cli_judge", "cli_records", "datasets", "engine", "evidence", "flow",
        "forkserver", "report",
    },
}  # fmt: skip


def layer_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_layers(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = (
                [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "refute" else [node.module]
            )
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("refute.")}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_one_way(path: Path) -> None:
    layer = layer_of(path)
    if layer == "__init__":
        return
    assert layer in MAY_IMPORT, f"new layer '{layer}': say in this file what it may import"
    forbidden = imported_layers(path) - MAY_IMPORT[layer] - {layer}
    assert not forbidden, f"{layer} must not import {', '.join(sorted(forbidden))}"


SLOW = {"scipy", "sklearn"}
"""Libraries that take every verb and every worker half a second, for what few of them need."""


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_import_inside_a_function(path: Path) -> None:
    if path.name in ("cli.py", "cli_judge.py", "cli_records.py"):
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inside = [n for n in ast.walk(node) if isinstance(n, ast.Import | ast.ImportFrom)]
            early = [n for n in inside if not isinstance(n, ast.ImportFrom) or str(n.module).split(".")[0] not in SLOW]
            assert not early, f"{path.name}, {node.name}: move the import to the top"
