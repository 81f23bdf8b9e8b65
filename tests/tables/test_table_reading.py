"""Files and data frames of every kind become the same columns; damaged ones are refused in one sentence."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
import pytest

from refute.errors import JudgementError, RefuteError, UsageError
from refute.tables import as_table, judge_table, make_claim, read_table, rename_columns
from refute.tables.frame import Frame

COLUMNS: dict[str, list[Any]] = {
    "net": ["mlp", "mlp", "conv, wide", "conv, wide"],
    "seed": [0, 1, 0, 1],
    "accuracy": [0.5, None, 0.75, 1.0],
}


def write_csv(path: Path) -> None:
    pyarrow.csv.write_csv(pa.table(COLUMNS), path)


def write_semicolons(path: Path) -> None:
    path.write_bytes(b'\xef\xbb\xbfnet;seed;accuracy\nmlp;0;0.5\nmlp;1;NaN\n"conv, wide";0;0.75\n"conv, wide";1;1\n')


def write_tabs(path: Path) -> None:
    path.write_text("net\tseed\taccuracy\nmlp\t0\t0.5\nmlp\t1\t\nconv, wide\t0\t0.75\nconv, wide\t1\t1\n")


def write_gzip(path: Path) -> None:
    path.write_bytes(gzip.compress(b'net,seed,accuracy\nmlp,0,0.5\nmlp,1,\n"conv, wide",0,.75\n"conv, wide",1,1\n'))


def write_json_lines(path: Path) -> None:
    rows = pa.table(COLUMNS).to_pylist()
    rows[1]["accuracy"] = float("nan")
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")


def write_json(path: Path) -> None:
    path.write_text(json.dumps(pa.table(COLUMNS).to_pylist()))


def write_json_columns(path: Path) -> None:
    path.write_text(json.dumps(COLUMNS))


def write_parquet(path: Path) -> None:
    pyarrow.parquet.write_table(pa.table(COLUMNS), path)


def write_feather(path: Path) -> None:
    pyarrow.feather.write_feather(pa.table(COLUMNS), str(path))


WRITERS: dict[str, Callable[[Path], None]] = {
    "a.csv": write_csv,
    "b.csv": write_semicolons,
    "c.tsv": write_tabs,
    "d.csv.gz": write_gzip,
    "e.jsonl": write_json_lines,
    "f.json": write_json,
    "g.json": write_json_columns,
    "h.parquet": write_parquet,
    "i.feather": write_feather,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_columns(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name)
    frame = Frame(read_table(tmp_path / name))
    assert frame.columns == ("net", "seed", "accuracy")
    assert frame.levels("net").levels == ("conv, wide", "mlp")
    assert frame.levels("seed").levels == (0, 1)
    assert frame.numbers("accuracy").tolist() == pytest.approx([0.5, float("nan"), 0.75, 1.0], nan_ok=True)


DAMAGED = {
    "empty.csv": b"",
    "header.csv": b"net,seed\n",
    "ragged.csv": b"net,seed\nmlp,0\nmlp\n",
    "twice.csv": b"net,net\nmlp,0\n",
    "latin.csv": "net,seed\ncaf\u00e9,0\n".encode("latin-1"),
    "latin-header.csv": "n\u00e9t,seed\nmlp,0\n".encode("latin-1"),
    "half.jsonl": b'{"net": "mlp"}\n{"net": ',
    "number.jsonl": b"3\n4\n",
    "empty.jsonl": b"",
    "text.json": b'"hello"',
    "deep.json": b"[" * 100_000,
    "fake.parquet": b"PAR1 not really",
    "fake.feather": b"ARROW1",
    "fake.csv.gz": b"not compressed",
    "unknown.xlsx": b"PK",
    "noending": b"a,b\n1,2\n",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files_are_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(DAMAGED[name])
    with pytest.raises(RefuteError) as caught:
        read_table(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert name.split(".")[0] in str(caught.value)


def test_a_file_that_is_not_there_or_is_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(UsageError, match="there is no file"):
            read_table(path)


class Foreign:
    """A data frame of another library: all that is known of it is the Arrow interface."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._table.__arrow_c_stream__(requested_schema)


def test_any_table_with_the_arrow_interface() -> None:
    table = pa.table(COLUMNS)
    categories = pa.table(
        {
            "net": pa.array(COLUMNS["net"]).dictionary_encode(),
            "seed": pa.array(COLUMNS["seed"], type=pa.float64()),
            "accuracy": pa.array(COLUMNS["accuracy"], type=pa.float32()),
        }
    )
    views = table.set_column(0, "net", table.column("net").cast(pa.string_view()))
    for other in (Foreign(table), Foreign(categories), views, table.to_reader(), COLUMNS):
        frame = Frame(as_table(other))
        assert frame.levels("net").levels == ("conv, wide", "mlp")
        assert frame.levels("seed").levels == (0, 1)
        assert frame.numbers("accuracy")[2] == 0.75
    for wrong in ([1], "runs.csv", None):
        with pytest.raises(UsageError, match="Arrow interface"):
            as_table(wrong)
    for unsound in ({"a": [1], "b": [1, 2]}, {"a": [1, "x"]}, {}, pa.table({"a": pa.array([], pa.int64())})):
        with pytest.raises(JudgementError):
            as_table(unsound)


def test_columns_of_lists_and_dates_are_refused_or_read_as_text() -> None:
    table = as_table({"tags": [["a"], ["b"]], "day": pa.array([1, 2], pa.date32()), "x": [1.0, 2.0]})
    assert Frame(table).levels("day").levels == ("1970-01-02", "1970-01-03")
    claim = make_claim(of="day", at_least=0.0)
    with pytest.raises(JudgementError, match="must hold numbers"):
        judge_table({"day": table.column("day"), "seed": [1, 2]}, claim, block="seed")
    with pytest.raises(JudgementError, match="'tags'"):
        judge_table({"tags": table.column("tags"), "x": [1.0, 2.0]}, make_claim(of="x", at_least=0.0), block="tags")


# --- exports ------------------------------------------------------------------------------------------------------

RATES = [0.1, 0.2, 0.3, 0.25, 0.15, 0.22]


def test_an_export_of_mlflow(tmp_path: Path) -> None:
    """As `search_runs().to_csv()` writes it: parameters are text, a failed run has no metric."""
    lines = ["run_id,status,params.seed,params.optimizer,metrics.accuracy,tags.mlflow.source.name"]
    for seed, gain in enumerate(RATES):
        for optimizer, value in (("sgd", 0.5), ("adam", 0.5 + gain)):
            lines.append(f"{optimizer}{seed:08x},FINISHED,{seed},{optimizer},{value},train.py")
    path = tmp_path / "mlflow.csv"
    path.write_text("\n".join(lines))
    claim = make_claim(of="accuracy", across="optimizer=sgd,adam", at_least=0.05)
    with pytest.raises(UsageError) as caught:
        judge_table(read_table(path), claim, block="seed")
    text = str(caught.value)
    assert "MLflow" in text
    fix = "params.seed=seed,metrics.accuracy=accuracy,params.optimizer=optimizer"
    assert f"--rename {fix}" in text
    renames = dict(part.split("=") for part in fix.split(","))
    cell = judge_table(read_table(path), claim, block="seed", rename=renames).verdicts[0].cells[0]
    assert cell.effects == pytest.approx(RATES)
    assert cell.blocks == tuple(range(6))


def test_exports_of_weights_and_biases(tmp_path: Path) -> None:
    """As its API gives them: settings and summaries as objects, in JSON or as Python prints them."""
    rows = [
        {"name": f"run-{s}", "state": "finished", "config": {"seed": {"value": s}, "net": "mlp"}, "summary": {"acc": r}}
        for s, r in enumerate(RATES)
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    cells = {name: [json.dumps(row[name]) for row in rows] for name in ("config", "summary")}
    pyarrow.csv.write_csv(pa.table({"name": [row["name"] for row in rows], **cells}), tmp_path / "b.csv")
    printed = {name: [str(row[name]) for row in rows] for name in ("config", "summary")}
    printed["summary"][0] = "{'acc': nan}"
    pyarrow.csv.write_csv(pa.table({"name": [row["name"] for row in rows], **printed}), tmp_path / "c.csv")
    pyarrow.parquet.write_table(
        pa.table({name: [row[name] for row in rows] for name in rows[0]}), tmp_path / "d.parquet"
    )
    claim = make_claim(of="acc", at_least=0.05)
    for name in ("a.jsonl", "b.csv", "c.csv", "d.parquet"):
        with pytest.raises(UsageError, match=r"Weights & Biases.*--rename \S*summary.acc=acc"):
            judge_table(read_table(tmp_path / name), claim, block="config.seed")
        judged = judge_table(read_table(tmp_path / name), claim, block="config.seed", rename={"summary.acc": "acc"})
        effects = judged.verdicts[0].cells[0].effects
        assert effects[1:] == pytest.approx(RATES[1:])
        assert (effects[0] != effects[0]) == (name == "c.csv")


def test_renames_that_can_not_be() -> None:
    table = pa.table({"a": [1], "b": [2]})
    assert rename_columns(table, {"a": "b", "b": "a"}).column_names == ["b", "a"]
    with pytest.raises(UsageError, match="did you mean 'a'"):
        rename_columns(table, {"aa": "c"})
    with pytest.raises(UsageError, match="already has"):
        rename_columns(table, {"a": "b"})
    with pytest.raises(UsageError, match="two columns"):
        rename_columns(table, {"a": "c", "b": "c"})


def test_a_name_that_several_columns_may_mean() -> None:
    table = {"params.lr": [1, 2], "config.lr": [1, 2], "Test Accuracy": [0.1, 0.2], "seed": [0, 1]}
    with pytest.raises(UsageError, match=r"but 'params.lr', 'config.lr'"):
        judge_table(table, make_claim(of="lr", at_least=0.0), block="seed")
    with pytest.raises(UsageError, match='--rename "Test Accuracy=test_accuracy"'):
        judge_table(table, make_claim(of="test_accuracy", at_least=0.0), block="seed")
