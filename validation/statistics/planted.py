"""Planted truths through the whole flow: does a catalogue of known phenomena get the verdicts it should?

A catalogue entry is made up whose trials draw numbers instead of training nets, so that what is true of every claim is
known: exactly on its bound in every cell (the worst place), above it, below it, above in half of the cells. It is run
again and again with other seeds by `refute.flow.run`: plan, cohorts, store, looks, judge. Counted is how often each
verdict came out, and what looking early saved. Run: python validation/statistics/planted.py --write docs/planted.md
"""

import argparse
import math
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

from refute import flow
from refute.core import (
    Claim,
    Cohort,
    Condition,
    Grid,
    Phenomenon,
    Protocol,
    Quantity,
    RankCorrelation,
    Share,
    Source,
    Value,
    at_least,
    difference,
    looped,
    stacked,
)
from refute.randomness import stream

WORLDS = ("a", "b", "c", "d", "e", "f")
DOSES = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)
LOOKS = (5, 10, 20, 40)
MEASURED = ("on_the_bound", "skewed", "above", "below", "half", "paired", "flat", "rising")
DOSE_TREND = 0.4
"""Rise of a quantity per dose, in sd of its noise."""


def planted_trial(cohort: Cohort) -> dict[str, Any]:
    """Numbers with a known mean for every world and dose; noise of sd 1 from the seed and the dose."""
    noise: dict[str, list[float]] = {"normal": [], "skewed": [], "shared": []}
    for seed, dose in zip(cohort.seeds, cohort["dose"], strict=True):
        own, common = stream(seed, f"dose {dose}"), stream(seed, "block")
        noise["normal"].append(float(torch.randn((), generator=own, dtype=torch.float64)))
        noise["skewed"].append(-math.log(1 - float(torch.rand((), generator=own, dtype=torch.float64))) - 1)
        noise["shared"].append(3 * float(torch.randn((), generator=common, dtype=torch.float64)))
    normal, skewed, shared = (torch.tensor(noise[name], dtype=torch.float64) for name in ("normal", "skewed", "shared"))
    dose = torch.tensor(cohort["dose"], dtype=torch.float64)
    half = 1.0 if cohort["world"] in WORLDS[: len(WORLDS) // 2] else -1.0
    return {
        "on_the_bound": normal,
        "skewed": skewed,
        "above": normal + 1,
        "below": normal - 1,
        "half": normal + half,
        "paired": shared + normal / math.sqrt(2) + dose,
        "flat": normal + shared,
        "rising": normal + shared + DOSE_TREND * dose,
    }


def claim(name: str, effect: Any, bound: float, **more: Any) -> Claim:
    fields = {"id": name, "statement": name, "within": ("world",), "among": {"dose": (0.0,)}}
    return Claim(**{**fields, **more}, effect=effect, holds=at_least(bound, reason="planted"))


ALL = {"dose": DOSES}
CLAIMS = (
    claim("on the bound", Value("on_the_bound"), 0.0),
    claim("on the bound, skewed (exponential)", Value("skewed"), 0.0),
    claim("on the bound, paired difference", difference("paired", "dose", 0.0, 1.0), 1.0, among={"dose": (0.0, 1.0)}),
    claim("on the bound, share of seeds", Share(Condition("on_the_bound", at_least=0.0)), 0.5),
    claim("on the bound, rank correlation", RankCorrelation("dose", "flat", ("dose",)), 0.0, among=ALL),
    claim("1 sd above", Value("above"), 0.0),
    claim("1 sd below", Value("below"), 0.0),
    claim("1 sd above in half of the cells, 1 sd below in the others", Value("half"), 0.0),
    claim("rank correlation of a rising quantity", RankCorrelation("dose", "rising", ("dose",)), 0.0, among=ALL),
)
TRUTH: Mapping[str, str] = {
    "1 sd above": "supported",
    "1 sd below": "refuted",
    "1 sd above in half of the cells, 1 sd below in the others": "limited",
    "rank correlation of a rising quantity": "supported",
}
"""What is so; every other claim lies exactly on its bound, where both words are wrong."""


def phenomenon(number: int, claims: tuple[Claim, ...]) -> Phenomenon:
    """One made-up entry; the number is in its name, hence in its seeds."""
    doses = tuple(dict.fromkeys(dose for one in claims for dose in one.among["dose"]))
    return Phenomenon(
        name=f"planted-{number}",
        statement="What is planted comes out.",
        source=Source(authors="nobody", title="none", year=2026),
        factors={"world": looped("one place in which the claim is tested"), "dose": stacked("how much")},
        quantities={name: Quantity(definition=f"a made-up number, {name.replace('_', ' ')}") for name in MEASURED},
        protocols={
            "small": Protocol(
                grids=(Grid(levels={"world": WORLDS, "dose": doses}, seeds=LOOKS[-1]),), looks=LOOKS, cohort=1000
            )
        },
        trial=planted_trial,
        claims=claims,
        cell=("world",),
    )


def one_run(number: int) -> dict[str, tuple[str, int, int, float]]:
    """Claim -> overall verdict, cells falsely supported and refuted, and share of planned trials that was trained."""
    found = {}
    for one in CLAIMS:
        with tempfile.TemporaryDirectory() as lab:
            made = phenomenon(number, (one,))
            outcome = flow.run(made, lab=Path(lab), workers=0)
        (verdict,) = outcome.verdicts
        words = Counter(
            cell.verdict for cell in verdict.cells if cell.verdict != _truth(one.id, str(cell.levels["world"]))
        )
        share = outcome.trials_run / len(outcome.trials)
        found[one.id] = (verdict.verdict, words["supported"], words["refuted"], share)
    return found


def _truth(name: str, world: str) -> str:
    if TRUTH.get(name) != "limited":
        return TRUTH.get(name, "")
    return "supported" if world in WORLDS[: len(WORLDS) // 2] else "refuted"


def page(runs: int, found: list[dict[str, tuple[str, int, int, float]]]) -> str:
    lines = [
        "# Planted truths through the whole flow",
        "",
        f"`validation/statistics/planted.py`: {runs} catalogues of {len(CLAIMS)} made-up phenomena with {len(WORLDS)} "
        f"cells each, run by `refute.flow.run` with looks at {', '.join(map(str, LOOKS))} seeds. "
        "What is true of each claim (at least the bound) is known. Standard error of a share p: sqrt(p (1 - p) / N).",
        "",
        "| what is planted | right word | supported | refuted | limited | inconclusive | a cell falsely supported "
        "| a cell falsely refuted | trials saved |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in CLAIMS:
        words = Counter(run[one.id][0] for run in found)
        cells = len(found) * len(WORLDS)
        wrong = [sum(run[one.id][place] for run in found) / cells for place in (1, 2)]
        saved = 1 - math.fsum(run[one.id][3] for run in found) / len(found)
        shares = " | ".join(f"{words[word] / len(found):.3f}" for word in WORDS)
        errors = " | ".join(f"{share:.3f}" for share in wrong)
        lines.append(f"| {one.id} | {TRUTH.get(one.id, 'none')} | {shares} | {errors} | {saved:.0%} |")
    nulls = [one.id for one in CLAIMS if one.id not in TRUTH]
    wrong_claims = sum(run[name][0] in ("supported", "refuted", "limited") for run in found for name in nulls)
    right = sum(run[name][0] == word for run in found for name, word in TRUTH.items())
    lines += [
        "",
        f"Over the whole catalogue: {wrong_claims / (len(found) * len(nulls)):.3f} of the claims on their bound got a "
        f'verdict at all (both directions and "limited" counted), and {right / (len(found) * len(TRUTH)):.3f} of the '
        "others got the right one.",
    ]
    return "\n".join(lines) + "\n"


WORDS = ("supported", "refuted", "limited", "inconclusive")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--write", type=Path, help="file for the table; printed in any case")
    options = parser.parse_args()
    torch.set_num_threads(1)
    started = time.perf_counter()
    with ProcessPoolExecutor(options.workers) as pool:
        found = list(pool.map(one_run, range(options.runs), chunksize=10))
    text = page(options.runs, found)
    print(text)
    print(f"{time.perf_counter() - started:.0f} s")
    if options.write:
        options.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
