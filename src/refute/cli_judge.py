"""The verb `judge`: a claim put to the test on a table of the user's own. Heavy imports wait until it runs."""

import json
from pathlib import Path
from typing import Annotated

import typer

Table = Annotated[
    Path, typer.Argument(help="CSV, TSV, JSON lines, Parquet or Arrow file, one row per trial", metavar="TABLE")
]
Of = Annotated[str, typer.Option("--of", help="The measured column; for a share also 'accuracy <= 0.2'")]
BlockName = Annotated[
    str | None, typer.Option("--block", help="The column that numbers the independent runs, usually the seed")
]
EffectName = Annotated[
    str | None,
    typer.Option(
        help="value, difference, log-ratio, share, rank-correlation, kendall, slope or log-slope; "
        "default: difference with --across, rank-correlation with --along, else value"
    ),
]
Across = Annotated[str | None, typer.Option(help="FACTOR=A,B: B minus A (or B over A), paired by block")]
Along = Annotated[str, typer.Option(help="The factor over whose levels a block's correlation or slope is taken")]
Against = Annotated[
    str | None, typer.Option(help="The column that --of is correlated with; default: the factor itself")
]
Within = Annotated[str, typer.Option(help="Columns whose level combinations are the cells, for example data,net")]
AtLeast = Annotated[float | None, typer.Option(help="The claim: the mean effect is at least this")]
AtMost = Annotated[float | None, typer.Option(help="The claim: the mean effect is at most this")]
WithinBound = Annotated[float | None, typer.Option(help="The claim: the mean effect is between minus this and this")]
Reason = Annotated[str, typer.Option(help="Why just this bound, as written down before the runs")]
Looks = Annotated[
    str, typer.Option(help="Numbers of blocks at which the claim was planned to be judged, for example 5,10,20,40")
]
LooksTaken = Annotated[
    str, typer.Option(help="Those of the looks that were really taken; default: all that were reached")
]
Quantum = Annotated[float, typer.Option(help="Smallest possible step of the column: 1/797 = 0.001255 for 797 examples")]
Unit = Annotated[str, typer.Option(help="The unit that the whole measured column is in")]
Where = Annotated[
    list[str] | None,
    typer.Option(help="Validity filter such as 'train_accuracy >= 0.99'; blocks that fail it are counted as failed"),
]
Keep = Annotated[
    list[str] | None, typer.Option(help="Leave out rows (along a factor: levels of a block) that fail such a condition")
]
Only = Annotated[list[str] | None, typer.Option(help="Use only the rows of these levels: COLUMN=LEVEL[,LEVEL...]")]
Repeats = Annotated[
    str, typer.Option(help="Columns that number repeats of one measurement inside a block; they are averaged")
]
MissingFailed = Annotated[bool, typer.Option("--missing-failed", help="A block that lacks a side counts as failed")]
Distinct = Annotated[bool, typer.Option("--distinct", help="Drop rows that repeat another one in every column")]
Group = Annotated[
    str | None,
    typer.Option(
        help="The column of data sets, whose cells are averaged before pooling; default: dataset, data or task"
    ),
]
Rename = Annotated[
    list[str] | None,
    typer.Option(help="OLD=NEW[,OLD=NEW...], for example params.seed=seed; may be given again"),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output and nothing else")]


def judge(
    table: Table,
    of: Of,
    block: BlockName = None,
    effect: EffectName = None,
    across: Across = None,
    along: Along = "",
    against: Against = None,
    within: Within = "",
    at_least: AtLeast = None,
    at_most: AtMost = None,
    within_bound: WithinBound = None,
    reason: Reason = "",
    looks: Looks = "",
    looks_taken: LooksTaken = "",
    quantum: Quantum = 0.0,
    unit: Unit = "",
    where: Where = None,
    keep: Keep = None,
    only: Only = None,
    repeats: Repeats = "",
    missing_failed: MissingFailed = False,
    distinct: Distinct = False,
    group: Group = None,
    rename: Rename = None,
    as_json: Json = False,
) -> None:
    """Judge a claim on your own table of results, by the rules of the catalogue.

    A row is a trial, an empty measured cell a failed run. Every block gives one effect per cell; tables that would make
    the verdict wrong are refused, with the closest fix.

    Examples:

      refute judge runs.csv --of accuracy --across optimizer=sgd,adam --block seed --within data,net --at-least 0.01

      refute judge runs.parquet --of loss --along width --block seed --at-most -0.5 --looks 5,10,20,40

      refute judge gains.csv --of gain --block seed --within-bound 0.02 --where "train_accuracy >= 0.99"

      refute judge runs.jsonl --effect share --of collapsed --block seed --at-most 0.2 --json

      refute judge mlflow.csv --rename params.seed=seed,metrics.acc=acc --of acc --block seed --at-least 0.9
    """
    from rich.console import Console  # noqa: PLC0415

    from refute.report.judged import judged_json, render_judged  # noqa: PLC0415
    from refute.tables import judge_table, make_claim, parse_only, read_table  # noqa: PLC0415
    from refute.tables.claims import parse_looks, parse_names, parse_renames  # noqa: PLC0415

    claim = make_claim(
        of=of,
        effect=effect,
        across=across,
        along=along,
        against=against,
        within=within,
        at_least=at_least,
        at_most=at_most,
        within_bound=within_bound,
        reason=reason,
        where=where or (),
        keep=keep or (),
        only=parse_only(only or ()),
    )
    judged = judge_table(
        read_table(table),
        claim,
        block=block,
        looks=parse_looks(looks),
        looks_taken=parse_looks(looks_taken) or None,
        quantum=quantum,
        unit=unit,
        repeats=parse_names(repeats),
        missing_failed=missing_failed,
        distinct=distinct,
        group=group,
        rename=parse_renames(rename or ()),
        name=table.name,
    )
    if as_json:
        value = judged_json(
            judged.phenomenon,
            judged.verdicts,
            rows=judged.rows,
            block=judged.block,
            looks=judged.looks,
            warnings=judged.warnings,
        )
        typer.echo(json.dumps(value, indent=2, allow_nan=False))
    else:
        render_judged(judged.phenomenon, judged.verdicts, judged.about, judged.warnings, Console())
