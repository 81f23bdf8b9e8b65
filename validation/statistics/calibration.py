"""How far verdicts can be trusted: simulated with the shipped functions, written to docs/calibration.md.

One cell under many kinds of effects; failed blocks; whole claims over several cells, trained look by look as
`train_on` says; coverage of pooled and prediction intervals. Every number of the page comes from here.
Run: python validation/statistics/calibration.py --replications 4000 --write docs/calibration.md
"""

import argparse
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from error_rates import EFFECTS, Draw

from refute.statistics import Region, judge_cell, judge_cells, pool, train_on

LOOKS = (5, 10, 20, 40)
AT_LEAST = Region("at_least", 0.0)


def two_points(chance: float) -> Draw:
    """An effect with two values, the rarer with this chance; mean 0 and standard deviation 1."""
    spread = math.sqrt(chance * (1 - chance))
    return lambda rng, size: ((rng.uniform(size=size) < chance) - chance) / spread


def rounded(sd: float) -> Draw:
    """A normal effect with this standard deviation, in whole quanta (quantum 1)."""
    return lambda rng, size: np.round(rng.normal(0, sd, size))


def outliers(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """20 % of the blocks 5 standard deviations away."""
    drawn = rng.normal(0, 1, size) + 5 * (rng.uniform(size=size) < 0.2)
    return (drawn - 1) / math.sqrt(1 + 25 * 0.2 * 0.8)


# --- one cell -------------------------------------------------------------------------------------------------------


def share_of(words: Sequence[str], word: str) -> float:
    return words.count(word) / len(words)


def cell_errors(rng: np.random.Generator, replications: int) -> Iterator[list[str]]:
    rows: list[tuple[str, Draw, tuple[int, ...], float]] = [
        *((name, draw, LOOKS, 0.0) for name, draw in EFFECTS.items()),
        ("20 % of blocks 5 sd away", outliers, LOOKS, 0.0),
        ("rounded normal, sd 0.3 quanta", rounded(0.3), LOOKS, 1.0),
        ("rounded normal, sd 1 quantum", rounded(1.0), LOOKS, 1.0),
        ("two values, the rarer in 20 %, quantum 1e-6", two_points(0.2), LOOKS, 1e-6),
        ("normal, fixed n = 5", EFFECTS["normal"], (5,), 0.0),
        ("normal, fixed n = 10", EFFECTS["normal"], (10,), 0.0),
        ("normal, fixed n = 20", EFFECTS["normal"], (20,), 0.0),
        ("exponential, fixed n = 20", EFFECTS["exponential"], (20,), 0.0),
        ("normal, looks 5-10-20", EFFECTS["normal"], (5, 10, 20), 0.0),
    ]
    for name, draw, looks, quantum in rows:
        effects = draw(rng, (replications, looks[-1]))
        words = [judge_cell(row, region=AT_LEAST, looks=looks, quantum=quantum).verdict for row in effects]
        yield [name, f"{share_of(words, 'supported'):.3f}", f"{share_of(words, 'refuted'):.3f}"]
    same = np.full((10, 40), 0.7)
    words = [judge_cell(row, region=AT_LEAST, looks=LOOKS).verdict for row in same]
    yield ["all blocks identical (no spread at all)", *(f"{share_of(words, w):.3f}" for w in ("supported", "refuted"))]


def cell_power(rng: np.random.Generator, replications: int) -> Iterator[list[str]]:
    fixed = {n: (n,) for n in (20, 40)}
    for distance in (0.25, 0.5, 0.75, 1.0, 2.0):
        effects = rng.normal(distance, 1, (replications, LOOKS[-1]))
        cells = [judge_cell(row, region=AT_LEAST, looks=LOOKS) for row in effects]
        spent = float(np.mean([cell.decided_at or LOOKS[-1] for cell in cells]))
        power = share_of([cell.verdict for cell in cells], "supported")
        row = [f"{distance:g}", f"{power:.3f}", f"{spent:.1f}"]
        for n, looks in fixed.items():
            words = [judge_cell(each[:n], region=AT_LEAST, looks=looks).verdict for each in effects]
            row += [f"{share_of(words, 'supported'):.3f}", f"{100 * (1 - spent / n):+.0f} %"]
        yield row


def failures(rng: np.random.Generator, replications: int) -> Iterator[list[str]]:
    for lost in (0.025, 0.05, 0.1, 0.15, 0.2):
        effects = rng.normal(0, 1, (replications, 20))
        failed = effects < np.quantile(rng.normal(0, 1, 1_000_000), lost)
        ours = [
            judge_cell(row, region=AT_LEAST, looks=(5, 10, 20)).verdict for row in np.where(failed, np.nan, effects)
        ]
        dropped = []
        for row, bad in zip(effects, failed, strict=True):
            kept = row[~bad]
            dropped.append(judge_cell(kept, region=AT_LEAST, looks=(len(kept),)).verdict)
        yield [
            f"{100 * lost:g} %",
            f"{share_of(ours, 'supported'):.3f}",
            f"{share_of(ours, 'untested'):.3f}",
            f"{share_of(dropped, 'supported'):.3f}",
        ]


# --- over cells -----------------------------------------------------------------------------------------------------

Truth = Callable[[np.random.Generator, int], np.ndarray]

TRUTHS: dict[str, tuple[Truth, str]] = {
    "all exactly on the bound": (lambda _, k: np.zeros(k), "none of the three is true"),
    "all 0.1 sd below": (lambda _, k: np.full(k, -0.1), "refuted"),
    "all 0.5 sd below": (lambda _, k: np.full(k, -0.5), "refuted"),
    "all 1 sd above": (lambda _, k: np.ones(k), "supported"),
    "half 1 sd above, half 1 sd below": (lambda _, k: np.where(np.arange(k) < k / 2, 1.0, -1.0), "limited"),
    "one 1 sd below, the others 1 sd above": (lambda _, k: np.where(np.arange(k) < 1, -1.0, 1.0), "limited"),
    "half on the bound, half 1 sd above": (lambda _, k: np.where(np.arange(k) < k / 2, 0.0, 1.0), "not limited"),
    "cells spread by 0.5 sd about the bound": (lambda rng, k: rng.normal(0, 0.5, k), "limited"),
}


def overall(rng: np.random.Generator, truth: np.ndarray) -> tuple[str, int]:
    """The verdict of a claim whose cells are trained look by look, and the blocks that were spent."""
    effects = truth[:, None] + rng.normal(0, 1, (len(truth), LOOKS[-1]))
    taken: dict[int, list[int]] = {cell: [] for cell in range(len(truth))}
    going = set(taken)
    cells = {}
    for look in LOOKS:
        for cell in going:
            taken[cell].append(look)
            cells[cell] = judge_cell(effects[cell, :look], region=AT_LEAST, looks=LOOKS, looks_taken=tuple(taken[cell]))
        going = train_on(cells)
    return judge_cells(cells, region=AT_LEAST).verdict, sum(looks[-1] for looks in taken.values())


def over_cells(rng: np.random.Generator, replications: int) -> Iterator[list[str]]:
    for name, (truth, true) in TRUTHS.items():
        for k in (2, 4, 8):
            found = [overall(rng, truth(rng, k)) for _ in range(replications)]
            counts = Counter(word for word, _ in found)
            spent = np.mean([blocks for _, blocks in found]) / k
            shares = [f"{counts[w] / replications:.3f}" for w in ("supported", "refuted", "limited", "inconclusive")]
            yield [name, true, str(k), *shares, f"{spent:.1f}"]


def coverage(rng: np.random.Generator, replications: int) -> Iterator[list[str]]:
    for k in (3, 5, 8, 12):
        for n in (5, 20):
            for tau in (0.0, 0.3, 1.0):
                inside = predicted = 0
                for _ in range(replications):
                    true = rng.normal(0.4, tau, k)
                    blocks = true[:, None] + rng.normal(0, 1, (k, n))
                    found = pool(blocks.mean(axis=1), blocks.var(axis=1, ddof=1) / n)
                    inside += found.low < 0.4 < found.high
                    new = rng.normal(0.4, tau)
                    predicted += k >= 4 and found.prediction_low < new < found.prediction_high
                share = f"{predicted / replications:.3f}" if k >= 4 else "none below 4 cells"
                yield [str(k), str(n), f"{tau:g}", f"{inside / replications:.3f}", share]


# --- the page -------------------------------------------------------------------------------------------------------

Rows = Callable[[np.random.Generator, int], Iterator[list[str]]]

SECTIONS: tuple[tuple[str, str, tuple[str, ...], Rows, float], ...] = (
    (
        "One cell: how often is its verdict wrong?",
        "The true mean lies exactly on the bound of an `at least` claim, the worst place; a cell is judged at 5, 10, "
        "20 and 40 blocks unless said otherwise. The aim is at most 0.05. Skewed effects exceed it toward their short "
        "tail, which the page of such a cell says.",
        ("effects", "false supported", "false refuted"),
        cell_errors,
        1.0,
    ),
    (
        "One cell: power, and blocks saved by looking early",
        "Normal effects whose mean lies this far beyond the bound. Saved: blocks not trained, against a fixed number.",
        ("distance, sd", "supported", "mean blocks", "fixed 20: supported", "saved", "fixed 40: supported", "saved"),
        cell_power,
        1.0,
    ),
    (
        "Replicas that fail",
        "Mean on the bound; the lowest effects fail (diverge), so what is left looks better than the truth. Looks 5, "
        "10, 20. Last column: what dropping them silently would do.",
        ("blocks that fail", "false supported", "untested", "false supported if dropped"),
        failures,
        1.0,
    ),
    (
        "Over cells: how often is the overall verdict what?",
        "Cells trained look by look, as long as they are undecided or the claim is contested.",
        ("truth", "right verdict", "cells", "supported", "refuted", "limited", "inconclusive", "blocks per cell"),
        over_cells,
        0.15,
    ),
    (
        "Pooled intervals",
        "Nominal 95 %; pages call the prediction interval 'about 90 %'. tau: spread of the cells' true effects.",
        ("cells", "blocks", "tau, sd", "mean inside", "new cell inside"),
        coverage,
        0.5,
    ),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--replications", type=int, default=4000, help="simulated cells of a row; fewer where a row is dear"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path, help="the page")
    options = parser.parse_args()
    pieces = [
        "# How far verdicts can be trusted\n",
        "Simulated with the functions that judge real runs (`validation/statistics/calibration.py`, part of "
        f"`make validate`), seed {options.seed}. Rules: [statistics.md](statistics.md). The standard error of a share "
        "p over N simulations is sqrt(p (1 - p) / N).\n",
    ]
    for title, text, columns, rows, share in SECTIONS:
        started, number = time.perf_counter(), max(1, round(options.replications * share))
        print(f"{title} ({number} simulations a row)", flush=True)
        lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
        for row in rows(np.random.default_rng(options.seed), number):
            lines.append(f"| {' | '.join(row)} |")
            print("  ", *row, sep="  ", flush=True)
        pieces += [f"## {title}\n", f"{text} {number} simulations a row.\n", "\n".join(lines) + "\n"]
        print(f"   {time.perf_counter() - started:.0f} s")
    if options.write:
        options.write.write_text("\n".join(pieces), encoding="utf-8")


if __name__ == "__main__":
    main()
