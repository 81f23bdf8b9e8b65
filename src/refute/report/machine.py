"""Outcome -> JSON for programs: strict (no NaN), stable keys."""

import math
from typing import Any

from refute.core import CellResult, Outcome, PooledResult, Verdict


def as_json(outcome: Outcome) -> dict[str, Any]:
    """The verdicts of an outcome as a value that `json.dumps(..., allow_nan=False)` takes.

    Numbers that are not defined or not finite are None. Intervals are as computed, not clipped to the effect's range.

    Returns:
        phenomenon, version, scale; claims (id, statement, verdict, bound, cells and more); trials; seconds.
    """
    value = {
        "phenomenon": outcome.phenomenon.name,
        "version": outcome.phenomenon.version,
        "scale": outcome.scale,
        "claims": [_claim(verdict) for verdict in outcome.verdicts],
        "trials": {
            "planned": len(outcome.trials),
            "run": outcome.trials_run,
            "cached": outcome.trials_cached,
            "diverged": outcome.diverged,
            "spared": outcome.spared,
        },
        "looks": outcome.looks,
        "standing": dict(outcome.standing),
        "seconds": outcome.seconds,
        "core_seconds": outcome.core_seconds,
        "warnings": list(outcome.warnings),
        "failures": [
            {"levels": dict(failure.trial.levels), "block": failure.trial.block, "error": failure.error}
            for failure in outcome.failures
        ],
    }
    strict: dict[str, Any] = _strict(value)
    return strict


def _claim(verdict: Verdict) -> dict[str, Any]:
    claim = verdict.claim
    return {
        "id": claim.id,
        "statement": claim.statement,
        "verdict": verdict.verdict,
        "sentence": verdict.sentence,
        "holds": claim.holds.in_words(),
        "in_words": claim.in_words(),
        "bound": {"direction": claim.holds.direction, "value": claim.holds.value, "reason": claim.holds.reason},
        "headline": claim.headline,
        "control": claim.control,
        "cells": [_cell(cell) for cell in verdict.cells],
        "pooled": _pooled(verdict.pooled),
    }


def _cell(cell: CellResult) -> dict[str, Any]:
    return {
        "levels": dict(cell.levels),
        "blocks": cell.planned,
        "looks": cell.looks,
        "decided_at": cell.decided_at,
        "open": cell.open,
        "effect": cell.effect,
        "low": cell.low,
        "high": cell.high,
        "confidence": cell.confidence,
        "verdict": cell.verdict,
        "excluded": cell.excluded,
        "diverged": cell.diverged,
        "sd": cell.sd,
        "p_supported": cell.p_supported,
        "p_refuted": cell.p_refuted,
        "hedges_g": cell.hedges_g,
        "superiority": cell.superiority,
        "seeds_needed": cell.seeds_needed,
        "reason": cell.reason,
        "notes": cell.notes,
    }


def _pooled(pooled: PooledResult | None) -> dict[str, Any] | None:
    if pooled is None:
        return None
    return {
        "mean": pooled.mean,
        "low": pooled.low,
        "high": pooled.high,
        "tau": pooled.tau,
        "i_squared": pooled.i_squared,
        "prediction": pooled.prediction,
        "share_beyond": pooled.share_beyond,
    }


def _strict(value: Any) -> Any:
    """The same value with None for numbers that JSON does not know, and lists for tuples."""
    match value:
        case dict():
            return {str(key): _strict(part) for key, part in value.items()}
        case list() | tuple():
            return [_strict(part) for part in value]
        case float() if not math.isfinite(value):
            return None
        case bool() | int() | float() | str() | None:
            return value
        case _:
            return str(value)
