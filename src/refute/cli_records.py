"""The verbs register, diff, record and verify: what was promised, and proof of what came out. Heavy imports wait."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from refute.errors import UsageError

if TYPE_CHECKING:
    from refute.core import Outcome, Phenomenon
    from refute.records.standing import Standing

FAILED = 1


def checked(names: str | list[str]) -> str | list[str]:
    """The same, if these are names of phenomena: a misspelt one is answered before anything heavy is imported."""
    from refute import catalogue  # noqa: PLC0415

    catalogue.check([names] if isinstance(names, str) else names)
    return names


Name = Annotated[str, typer.Argument(help="A phenomenon, see: refute list", metavar="NAME", callback=checked)]
Scale = Annotated[str, typer.Option(help="smoke, small or full")]
Lab = Annotated[Path, typer.Option(envvar="REFUTE_LAB", help="Folder in which results are stored")]
Folder = Annotated[Path, typer.Option(help="Folder of the registration files, meant to be committed")]
Evidence = Annotated[
    Path | None, typer.Option(help="Take the rows of this folder (rows.parquet, record.json) instead of the lab's")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output and nothing else")]


def register(
    name: Name, scale: Scale = "small", registrations: Folder = Path("registrations"), as_json: Json = False
) -> None:
    """Write down protocol and claims with their hash and the time, before the runs. Commit the file.

    The file is only added to. When nothing has changed since the last registration, nothing is written.

    Examples:

      refute register layer-criticality --scale small

      refute register layer-criticality --scale full --json
    """
    from refute import catalogue  # noqa: PLC0415
    from refute.records.registration import register as add  # noqa: PLC0415

    done = add(catalogue.get(name), scale, registrations)
    entry = done.registration
    if as_json:
        _print_json(
            {
                "phenomenon": name,
                "scale": scale,
                "file": str(done.path),
                "added": done.added,
                "time": entry.time.isoformat(),
                "definition_hash": entry.definition_hash,
                "hash": entry.hash,
                "changes": [_change_json(change) for change in done.changes],
            }
        )
        return
    if not done.added:
        typer.echo(
            f"Nothing has changed since the registration of {entry.time.isoformat()}: {done.path} stays as it is"
        )
        return
    typer.echo(f"Registered {name}, scale {scale}, at {entry.time.isoformat()}: {entry.definition_hash}")
    for change in done.changes:
        typer.echo(f"  {change.in_words()}")
    typer.echo(f"Commit {done.path}: the commit is the witness of the time.")


def diff(
    name: Name,
    scale: Scale = "small",
    lab: Lab = Path("lab"),
    evidence: Evidence = None,
    registrations: Folder = Path("registrations"),
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Leave with 1 when something has changed")] = False,
    as_json: Json = False,
) -> None:
    """Show what changed in protocol and claims since they were registered, and what that means for the verdicts.

    Examples:

      refute diff layer-criticality

      refute diff layer-criticality --scale full --exit-code
    """
    from refute import catalogue  # noqa: PLC0415
    from refute.records.changes import changes  # noqa: PLC0415
    from refute.records.definition import define  # noqa: PLC0415
    from refute.records.registration import path_of, read_registrations  # noqa: PLC0415

    phenomenon = catalogue.get(name)
    present = define(phenomenon, scale)
    entries = read_registrations(path_of(name, scale, registrations))
    found = changes(entries[-1].definition, present) if entries else ()
    outcome = outcome_of(phenomenon, scale, lab, evidence) if evidence or lab.exists() else None
    stands = standing_of(phenomenon, scale, registrations, outcome, None if evidence else lab)
    if as_json:
        _print_json(
            {
                "phenomenon": name,
                "scale": scale,
                "registrations": [
                    {"time": entry.time.isoformat(), "definition_hash": entry.definition_hash, "hash": entry.hash}
                    for entry in entries
                ],
                "definition_hash": present.hash,
                "changed": bool(found),
                "changes": [_change_json(change) for change in found],
                "history": [
                    {"time": revision.time, "changes": [_change_json(change) for change in revision.changes]}
                    for revision in stands.history
                ],
                "standing": {
                    "kind": stands.kind,
                    "sentence": stands.sentence,
                    "registered": stands.registered,
                    "first_trial": stands.first_trial,
                    "claims": [
                        {"claim": one.claim, "kind": one.kind, "unchanged": one.unchanged, "sentence": one.sentence}
                        for one in stands.claims
                    ],
                },
            }
        )
    else:
        _print_diff(name, scale, [entry.time.isoformat() for entry in entries], found, stands)
    if exit_code and (found or not entries):
        raise typer.Exit(FAILED)


def record(
    name: Name,
    scale: Scale = "small",
    lab: Lab = Path("lab"),
    evidence: Evidence = None,
    registrations: Folder = Path("registrations"),
    out: Annotated[
        Path | None, typer.Option(help="Where the record goes; default: NAME-SCALE.record.json", metavar="FILE")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the record: one JSON document with all verdicts, hashes, environment and registration. Trains nothing.

    Examples:

      refute record layer-criticality --scale small --lab lab --out layer-criticality.json

      refute record layer-criticality --evidence evidence/layer-criticality/small --json
    """
    from refute import catalogue  # noqa: PLC0415
    from refute.evidence import document as text_of  # noqa: PLC0415
    from refute.records.making import make_record  # noqa: PLC0415
    from refute.store.files import write_whole  # noqa: PLC0415

    phenomenon = catalogue.get(name)
    phenomenon.protocol(scale)
    outcome = outcome_of(phenomenon, scale, lab, evidence)
    path = out or Path(f"{name}-{scale}.record.json")
    rows = None if evidence is None else os.path.relpath(evidence / "rows.parquet", path.parent)
    stands = standing_of(phenomenon, scale, registrations, outcome, None if evidence else lab)
    document = make_record(outcome, stands, rows_file=None if rows is None else Path(rows).as_posix())
    if as_json:
        _print_json(document)
        if out is None:
            return
    text = text_of(document)
    write_whole(path, text.encode())
    if not as_json:
        count = len(document["verdicts"])
        typer.echo(f"{path}: {count} verdicts, {len(text.encode()) / 1024:.0f} kB, {document['content_hash']}")
        typer.echo(f"Registration: {stands.sentence}")


def verify(
    file: Annotated[Path, typer.Argument(help="A record, see: refute record --help", metavar="FILE")],
    evidence: Annotated[
        Path | None, typer.Option(help="Folder of the rows; default: the file that the record names")
    ] = None,
    lab: Annotated[Path | None, typer.Option(help="Take the rows from this lab")] = None,
    registrations: Folder = Path("registrations"),
    as_json: Json = False,
) -> None:
    """Verify a record: its schema, its hashes, its rows, and that judging them again gives the same.

    Leaves with 0 when everything is so, 1 when a check failed, 2 when the file can't be read.

    Examples:

      refute verify layer-criticality-small.record.json

      refute verify layer-criticality-small.record.json --lab lab --json
    """
    from refute import catalogue  # noqa: PLC0415
    from refute.records.verifying import verify as check_all  # noqa: PLC0415

    if evidence is not None and lab is not None:
        raise UsageError("rows come from --evidence or from --lab, both came; give one of them")

    def current(name: str) -> "Phenomenon | None":
        return catalogue.get(name) if name in catalogue.names() else None

    checks = check_all(file, evidence=evidence, lab=lab, registrations=registrations, current=current)
    ok = all(check.ok for check in checks)
    if as_json:
        listed = [{"check": check.name, "ok": check.ok, "says": check.says} for check in checks]
        _print_json({"file": str(file), "ok": ok, "checks": listed})
    else:
        for check in checks:
            typer.echo(f"{'ok    ' if check.ok else 'failed'}  {check.name}: {check.says}")
    if not ok:
        raise typer.Exit(FAILED)


# --- what the verbs share -----------------------------------------------------------------------------------------


def outcome_of(phenomenon: "Phenomenon", scale: str, lab: Path, evidence: Path | None) -> "Outcome":
    """What a lab, or the record in a folder, says of the whole protocol of a scale."""
    from refute import flow  # noqa: PLC0415
    from refute.evidence import read_evidence  # noqa: PLC0415

    if evidence is not None:
        outcome = read_evidence(phenomenon, evidence)
        if outcome.scale != scale:
            raise UsageError(f"{evidence} holds scale {outcome.scale}, not {scale}; add --scale {outcome.scale}")
        return outcome
    if not lab.exists():
        raise UsageError(f"there is no lab at {lab.resolve()}; run first: refute run {phenomenon.name} --scale {scale}")
    return flow.stored(phenomenon, scale=scale, lab=lab)


def with_standing(outcome: "Outcome", registrations: Path, lab: Path | None) -> "Outcome":
    """The outcome with what is known of its claims' registration: nothing when there is no file of it."""
    from refute.records.registration import path_of  # noqa: PLC0415

    phenomenon, scale = outcome.phenomenon, outcome.scale
    if not path_of(phenomenon.name, scale, registrations).exists():
        return outcome
    stands = standing_of(phenomenon, scale, registrations, outcome, lab)
    return replace(outcome, standing={one.claim: one.sentence for one in stands.claims})


def standing_of(
    phenomenon: "Phenomenon", scale: str, registrations: Path, outcome: "Outcome | None", lab: Path | None
) -> "Standing":
    """What is known of the registration of a phenomenon's claims, by its file and by when trials were stored."""
    from refute.records.making import first_trial_time, trial_times  # noqa: PLC0415
    from refute.records.registration import path_of, read_registrations  # noqa: PLC0415
    from refute.records.standing import standing  # noqa: PLC0415

    return standing(
        phenomenon,
        scale,
        read_registrations(path_of(phenomenon.name, scale, registrations)),
        None if outcome is None else first_trial_time(outcome),
        () if outcome is None or lab is None else trial_times(lab, outcome.trials),
    )


def _print_diff(name: str, scale: str, times: list[str], found: Any, stands: "Standing") -> None:
    if not times:
        typer.echo(f"{name}, scale {scale}: not registered; do it before the runs with: refute register {name}")
        return
    typer.echo(f"{name}, scale {scale}: registered {', '.join(times)}")
    typer.echo("Since the last registration:" if found else "Nothing has changed since the last registration.")
    for change in found:
        typer.echo(f"  {change.in_words()}")
    for revision in stands.history:
        typer.echo(f"Changed by the registration of {revision.time}:")
        for change in revision.changes:
            typer.echo(f"  {change.in_words()}")
    typer.echo(f"Verdicts: {stands.sentence}")
    for one in stands.claims:
        if one.sentence != stands.sentence:
            typer.echo(f"  {one.claim}: {one.sentence}")


def _change_json(change: Any) -> dict[str, Any]:
    return {
        "item": change.item,
        "field": change.field,
        "before": change.before,
        "after": change.after,
        "only_words": change.only_words,
        "in_words": change.in_words(),
    }


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False))
