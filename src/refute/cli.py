"""The command line: one function per verb, no logic. Heavy imports wait until a verb needs them."""

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from refute.cli_judge import judge
from refute.cli_records import (
    Evidence,
    Folder,
    Name,
    checked,
    diff,
    outcome_of,
    record,
    register,
    standing_of,
    verify,
    with_standing,
)
from refute.errors import RefuteError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from refute.core import Outcome
    from refute.report import Document

INTERRUPTED = 1
FAILED = 1
FAILURES_SHOWN = 10
app = typer.Typer(
    name="refute",
    help="Put claims about deep nets to the test: train replicas, measure, and get a verdict with its interval.",
    epilog="Start with: refute run layer-criticality --scale smoke",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
data_app = typer.Typer(help="List the known data sets, where they come from and what is cached.", rich_markup_mode=None)
app.add_typer(data_app, name="data")

Names = Annotated[
    list[str],
    typer.Argument(help="One phenomenon or several, see: refute list", metavar="NAME...", callback=checked),
]
Scale = Annotated[str, typer.Option(help="smoke (seconds), small (minutes on a laptop) or full (a GPU)")]
Seeds = Annotated[
    int | None,
    typer.Option(help="A fixed number of seeds, judged once; default: the protocol's looks (5, 10, 20 ... seeds)"),
]
FirstSeed = Annotated[int, typer.Option(help="Number of the first seed; use 1000 and up for pilot runs")]
Only = Annotated[
    list[str] | None,
    typer.Option(help="Keep only these levels, for example --only dataset=digits,mnist --only width=128"),
]
Lab = Annotated[Path, typer.Option(envvar="REFUTE_LAB", help="Folder in which results are stored")]
LocalData = Annotated[
    list[str] | None, typer.Option("--data", help="Your own copy of a data set: NAME=PATH; may be given again")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output and nothing else")]


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"refute {version('refute')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave")
    ] = False,
) -> None:
    pass


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the phenomena of the catalogue.

    Example: refute list
    """
    from refute import catalogue
    from refute.report import catalogue_json, render_catalogue

    phenomena = [catalogue.get(name) for name in catalogue.names()]
    if as_json:
        _print_json(catalogue_json(phenomena, catalogue.totals()))
    else:
        render_catalogue(phenomena, catalogue.totals(), _console())


@app.command()
def show(name: Name) -> None:
    """Show what a phenomenon states: definitions, claims with bounds and reasons, protocols, source.

    Example: refute show layer-criticality
    """
    from refute import catalogue
    from refute.report import render_definition

    render_definition(catalogue.get(name), _console())


@app.command()
def run(
    names: Names,
    scale: Scale = "small",
    seeds: Seeds = None,
    first_seed: FirstSeed = 0,
    only: Only = None,
    lab: Lab = Path("lab"),
    workers: Annotated[
        int | None, typer.Option(min=0, help="Worker processes, one thread each; default: as many as cores")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:0 ... (with Ray: cpu or cuda)")] = "cpu",
    executor: Annotated[
        str, typer.Option(help="local, ray (a cluster in this process) or ray://HOST:PORT (an existing one)")
    ] = "local",
    memory: Annotated[
        str | None,
        typer.Option(help="What all workers of a machine together may take, such as 8GB; default: what is free"),
    ] = None,
    data: LocalData = None,
    registrations: Folder = Path("registrations"),
    html: Annotated[
        Path | None, typer.Option(help="Where the page goes; default: LAB/NAME-SCALE.html", metavar="FILE")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train what is missing, judge, and write the page. Stopped runs go on where they were.

    Goes look by look: after 5, 10, 20 ... seeds only cells whose verdict is still open are trained on.

    Examples:

      refute run layer-criticality --scale smoke

      refute run layer-criticality --seeds 10 --only dataset=mnist

      refute run stage-like-learning --json > verdicts.json
    """
    from refute import forkserver

    if executor == "local" and workers != 0:
        forkserver.start("refute.cli", *forkserver.preload_of(names))  # imports while this process does
    from refute import catalogue, flow
    from refute.engine import check_executor
    from refute.engine.memory import parse_size
    from refute.report import document, watch

    check_executor(executor, device)
    limit = None if memory is None else parse_size(memory)
    own_copies = _use_local(data)
    if executor == "local":  # with Ray it is the nodes that compute
        _check_device(device)
    console = _console(stderr=as_json)
    outcomes = []
    for phenomenon in [catalogue.get(name) for name in names]:
        with watch(console) as watcher:
            outcome = flow.run(
                phenomenon,
                scale=scale,
                seeds=seeds,
                first_seed=first_seed,
                only=_only(only),
                own_copies=own_copies,
                lab=lab,
                workers=workers,
                device=device,
                executor=executor,
                memory=limit,
                watch=watcher,
            )
        outcome = with_standing(outcome, registrations, lab)
        outcomes.append(outcome)
        shown = document(outcome)
        page = _write_page(shown, html or lab / f"{phenomenon.name}-{scale}.html")
        if not as_json:
            _print_verdicts(shown, outcome.warnings, console)
            typer.echo(f"The page with all pictures: {page.resolve()}")
    if as_json:
        _print_outcomes_json(outcomes)
    if any(outcome.failures for outcome in outcomes):
        _print_failures(outcomes)
        raise typer.Exit(FAILED)


@app.command()
def verdict(
    name: Name,
    scale: Scale = "small",
    seeds: Seeds = None,
    first_seed: FirstSeed = 0,
    only: Only = None,
    lab: Lab = Path("lab"),
    data: LocalData = None,
    registrations: Folder = Path("registrations"),
    as_json: Json = False,
) -> None:
    """Judge what is stored; train nothing.

    Example: refute verdict layer-criticality --only dataset=digits
    """
    outcome = with_standing(_stored(name, scale, seeds, first_seed, only, _use_local(data), lab), registrations, lab)
    if as_json:
        _print_outcomes_json([outcome])
    else:
        _print_verdicts(outcome, outcome.warnings, _console())


app.command("judge")(judge)
for verb in (register, diff, record, verify):
    app.command()(verb)


@app.command()
def report(
    name: Name,
    scale: Scale = "small",
    seeds: Seeds = None,
    first_seed: FirstSeed = 0,
    only: Only = None,
    lab: Lab = Path("lab"),
    data: LocalData = None,
    evidence: Evidence = None,
    registrations: Folder = Path("registrations"),
    html: Annotated[
        Path | None, typer.Option(help="Where the page goes; default: LAB/NAME-SCALE.html", metavar="FILE")
    ] = None,
    write_evidence: Annotated[
        Path | None, typer.Option(help="Also write the compact record (rows and verdicts) to this folder")
    ] = None,
) -> None:
    """Print the verdicts of what is stored, or of a committed record, and write the page. Trains nothing.

    Examples:

      refute report layer-criticality --html page.html

      refute report layer-criticality --evidence evidence/layer-criticality/small

      refute report layer-criticality --write-evidence evidence/layer-criticality/small
    """
    from refute import catalogue
    from refute.evidence import write_evidence as write
    from refute.report import document

    if evidence is None:
        outcome = _stored(name, scale, seeds, first_seed, only, _use_local(data), lab)
    elif seeds is not None or first_seed or only or data:
        raise UsageError("a record is judged as it is; leave out --seeds, --first-seed, --only and --data")
    else:
        outcome = outcome_of(catalogue.get(name), scale, lab, evidence)
    outcome = with_standing(outcome, registrations, None if evidence else lab)
    shown = document(outcome)
    _print_verdicts(shown, outcome.warnings, _console())
    page = _write_page(shown, html or lab / f"{name}-{scale}.html")
    typer.echo(f"The page with all pictures: {page.resolve()}")
    if write_evidence is not None:
        stands = standing_of(outcome.phenomenon, scale, registrations, outcome, None if evidence else lab)
        for path in write(outcome, stands, write_evidence):
            typer.echo(f"Evidence: {path} ({path.stat().st_size / 1024:.0f} kB)")


@data_app.callback(invoke_without_command=True)
def data_list(
    context: typer.Context,
    as_json: Json = False,
) -> None:
    """List the known data sets: cached or not, size, and the channels they come through.

    Examples: refute data; refute data fetch mnist cifar10
    """
    if context.invoked_subcommand is not None:
        return
    from refute import datasets
    from refute.report import datasets_json, render_datasets

    if as_json:
        _print_json(datasets_json(datasets.status()))
    else:
        render_datasets(datasets.status(), _console())


@data_app.command("fetch")
def data_fetch(
    names: Annotated[list[str], typer.Argument(help="Data sets, see: refute data", metavar="NAME...")],
) -> None:
    """Fetch data sets, check them, and keep them in the cache.

    Example: refute data fetch mnist fashion-mnist cifar10
    """
    from refute import datasets

    for known in [datasets.get(name) for name in names]:
        typer.echo(f"{known.name}: {datasets.fetch(known.name)}")


# --- what the verbs share -----------------------------------------------------------------------------------------


def _console(*, stderr: bool = False) -> "Console":
    from rich.console import Console

    return Console(stderr=stderr)


def _stored(
    name: str,
    scale: str,
    seeds: int | None,
    first_seed: int,
    only: list[str] | None,
    own_copies: dict[str, str],
    lab: Path,
) -> "Outcome":
    from refute import catalogue, flow

    phenomenon = catalogue.get(name)
    phenomenon.protocol(scale)
    if not lab.exists():
        raise UsageError(f"there is no lab at {lab.resolve()}; run first: refute run {name} --scale {scale}")
    return flow.stored(
        phenomenon,
        scale=scale,
        seeds=seeds,
        first_seed=first_seed,
        only=_only(only),
        own_copies=own_copies,
        lab=lab,
    )


def _print_verdicts(shown: "Outcome | Document", warnings: "tuple[str, ...]", console: "Console") -> None:
    from refute.report import render_terminal

    render_terminal(shown, console)
    for warning in warnings:
        typer.echo(f"refute: warning: {warning}", err=True)


def _write_page(shown: "Document", path: Path) -> Path:
    from refute.report import render_html

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render_html(shown), encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"the page can't be written to {path}: {error.strerror}; choose another with --html"
        ) from error
    return path


def _print_outcomes_json(outcomes: "list[Outcome]") -> None:
    from refute.report import as_json

    documents = [as_json(outcome) for outcome in outcomes]
    _print_json(documents[0] if len(documents) == 1 else {"phenomena": documents})
    for outcome in outcomes:
        for warning in outcome.warnings:
            typer.echo(f"refute: warning: {warning}", err=True)


def _print_failures(outcomes: "list[Outcome]") -> None:
    """Every trial that could not be run with its levels and seed, those of the same error together."""
    for outcome in outcomes:
        by_error: dict[str, list[str]] = {}
        for failure in outcome.failures:
            levels = ", ".join(f"{name}={level}" for name, level in failure.trial.levels.items())
            by_error.setdefault(failure.error, []).append(f"{levels}, seed {failure.trial.block}")
        name, count = outcome.phenomenon.name, len(outcome.failures)
        typer.echo(
            f"refute: {count} of {len(outcome.trials)} trials of {name} could not be run; the verdicts come from the "
            "others, and the same command tries only these again:",
            err=True,
        )
        for error, trials in by_error.items():
            typer.echo(f"  {error}", err=True)
            for trial in trials[:FAILURES_SHOWN]:
                typer.echo(f"    {trial}", err=True)
            if len(trials) > FAILURES_SHOWN:
                typer.echo(f"    and {len(trials) - FAILURES_SHOWN} more", err=True)


def _print_json(value: Any) -> None:
    import json

    typer.echo(json.dumps(value, indent=2, allow_nan=False))


def _only(options: list[str] | None) -> dict[str, list[str]]:
    """--only a=1,2 --only b=x, or --only a=1,b=x -> {"a": ["1", "2"], "b": ["x"]}."""
    wanted: dict[str, list[str]] = {}
    factor = ""
    for part in (part.strip() for option in options or [] for part in option.split(",")):
        if "=" in part:
            factor, _, level = part.partition("=")
            wanted.setdefault(factor.strip(), []).append(level.strip())
        elif factor and part:
            wanted[factor].append(part)
        else:
            raise UsageError(f"--only takes factor=level[,level...], for example dataset=mnist; '{part}' came")
    return wanted


def _use_local(options: list[str] | None) -> dict[str, str]:
    """Take the user's own copies into use; returns the identity of those whose content is not the published one."""
    if not options:
        return {}
    from refute import datasets

    different = {}
    for option in options:
        name, equals, path = option.partition("=")
        if not equals or not path:
            raise UsageError(f"--data takes NAME=PATH, for example mnist=/data/mnist; '{option}' came")
        known = datasets.get(name)
        if not Path(path).exists():
            raise UsageError(f"--data {name}: there is nothing at {path}; expected a folder or an archive")
        datasets.use_local(name, Path(path))
        identity = datasets.raw(name).source.identity
        if identity != known.identity:
            different[name] = identity[:16]
    return different


def _check_device(device: str) -> None:
    import torch

    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        raise UsageError(f"device '{device}' can't be used here: {first}; use --device cpu") from error


class _Stopped(BaseException):
    """Ctrl-C or a request to terminate; not KeyboardInterrupt, which typer would answer itself."""


def _stop(signum: int, frame: object) -> None:  # noqa: ARG001
    raise _Stopped


def main() -> None:
    """Entry point: every error is one sentence and an exit code (2 wrong use, 1 failure), never a traceback."""
    signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, _stop)
    try:
        app()
    except RefuteError as error:
        typer.echo(f"refute: {error}", err=True)
        sys.exit(error.exit_code)
    except _Stopped:
        again = " ".join(["refute", *sys.argv[1:]])
        typer.echo(f"\nrefute: stopped; every finished cohort is kept. Go on with: {again}", err=True)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        sys.exit(INTERRUPTED)
    except Exception as error:
        if os.environ.get("REFUTE_TRACEBACK"):
            raise
        typer.echo(
            f"refute: something unforeseen happened ({type(error).__name__}: {error}); finished cohorts are kept. "
            "Set REFUTE_TRACEBACK=1 for the details and please report them.",
            err=True,
        )
        sys.exit(1)


if __name__ == "__main__":
    main()
