"""Writes oracle.json from oracle.txt, the text block of docs/statistics.md section 10; run it when that changes."""

import json
import re
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
NUMBER = r"-?\d+(?:\.\d+)?(?:e-?\d+)?"


def transcribe(text: str) -> list[dict[str, Any]]:
    """The oracle's sets: region, looks, quantum, cells and the overall line."""
    sets: list[dict[str, Any]] = []
    for line in text.splitlines():
        if line.startswith("# "):
            sets.append(_set(line))
        elif " x = " in line:
            name, _, blocks = line.partition(" x = ")
            sets[-1]["cells"][name] = {"effects": _effects(blocks, sets[-1]["share"])}
            cell = sets[-1]["cells"][name]
        elif line.strip().startswith("->"):
            cell.update(_cell(line.strip()[3:]))
        elif line.strip().startswith("=>"):
            sets[-1]["overall"] = _overall(line.strip()[3:])
    return sets


def _set(line: str) -> dict[str, Any]:
    bound = re.search(rf"(at_least|at_most|within) ({NUMBER})", line)
    looks = re.search(r"looks ([\d ]+)", line)
    assert bound
    assert looks
    quantum = re.search(rf"quantum ({NUMBER}),", line)
    return {
        "name": line[2:].partition(":")[0],
        "kind": bound[1],
        "bound": float(bound[2]),
        "looks": [int(look) for look in looks[1].split()],
        "quantum": float(quantum[1]) if quantum else 0.0,
        "share": "share claim" in line,
        "cells": {},
    }


def _effects(blocks: str, share: bool) -> list[float | None]:
    """None where the block failed."""
    parts = list(blocks) if share else blocks.split()
    return [None if part == "NA" else float(part) for part in parts]


def _cell(line: str) -> dict[str, Any]:
    verdict, looks, p, *hedges = line.split(" | ")
    word, _, decided = verdict.partition(" at ")
    numbers = [float(x) for x in re.findall(NUMBER, p)]
    return {
        "verdict": word,
        "decided_at": int(decided) if decided else None,
        "looks": [_look(look) for look in looks.split("; ")],
        "p": numbers[:2],
        "holm": numbers[2:],
        "hedges": [float(x) for x in re.findall(NUMBER, hedges[0])] if hedges else None,
    }


def _look(text: str) -> dict[str, Any]:
    named = {key: float(value) for key, value in re.findall(rf"(\w+)=({NUMBER})", text)}
    low, high = re.findall(rf"\[({NUMBER}), ({NUMBER})\]", text)[0]
    return {**named, "low": float(low), "high": float(high), "blocked": "blocked" in text}


def _overall(line: str) -> dict[str, Any]:
    word, _, numbers = line.partition(" | ")
    named: dict[str, Any] = {key: float(value) for key, value in re.findall(rf"(\w+)=({NUMBER})", numbers)}
    for interval in ("CI", "PI"):
        found = re.search(rf"{interval} \[({NUMBER}), ({NUMBER})\]", numbers)
        if found:
            named[interval] = [float(found[1]), float(found[2])]
    return {"verdict": word.strip(), "pooled": named or None}


if __name__ == "__main__":
    sets = transcribe((HERE / "oracle.txt").read_text())
    (HERE / "oracle.json").write_text(json.dumps(sets, indent=1) + "\n")
