"""Judging a large table: 100,000 rows, 50 cells, 10 claims of one kind after the other.

python benchmarks/judging.py [--rows 100000] [--json out.json]
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from refute.core import Claim
from refute.tables import judge_table, make_claim

DATASETS, NETS, LEVELS, CLAIMS = 5, 10, 8, 10


def table(rows: int) -> dict[str, list[object]]:
    """Columns seed, data, net, width (eight levels), accuracy, loss and event of so many rows."""
    generator = np.random.default_rng(0)
    seeds = rows // (DATASETS * NETS * LEVELS)
    seed, data, net, width = (axis.ravel() for axis in np.meshgrid(*map(np.arange, (seeds, DATASETS, NETS, LEVELS))))
    accuracy = 0.8 + 0.01 * width + 0.02 * generator.normal(size=seed.size)
    return {
        "seed": seed.tolist(),
        "data": [f"data-{one}" for one in data],
        "net": [f"net-{one}" for one in net],
        "width": (2.0**width).tolist(),
        "accuracy": accuracy.tolist(),
        "loss": np.exp(-3 * accuracy).tolist(),
        "event": (accuracy > 0.85).astype(int).tolist(),
    }


CELLS = ("data", "net")
KINDS: dict[str, Callable[[float], Claim]] = {
    "difference": lambda x: make_claim(of="accuracy", across="width=1,128", within=CELLS, at_least=x, reason="b"),
    "log ratio": lambda x: make_claim(
        of="loss", effect="log-ratio", across="width=1,128", within=CELLS, at_most=-x, reason="b"
    ),
    "rank correlation": lambda x: make_claim(of="accuracy", along="width", within=CELLS, at_least=x, reason="b"),
    "kendall": lambda x: make_claim(
        of="accuracy", effect="kendall", along="width", within=CELLS, at_least=x, reason="b"
    ),
    "slope": lambda x: make_claim(
        of="accuracy", effect="slope", along="width", within=CELLS, at_least=x / 1e3, reason="b"
    ),
    "share": lambda x: make_claim(
        of="event", effect="share", within=(*CELLS, "width"), at_least=0.1 + x / 100, reason="b"
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    made = table(options.rows)
    found = {}
    for kind, claim in KINDS.items():
        claims = [claim(0.001 * number) for number in range(1, CLAIMS + 1)]
        started = time.perf_counter()
        judge_table(made, claims, block="seed", looks=(5, 10, 20, 40))
        found[kind] = round(time.perf_counter() - started, 2)
        print(f"{kind:18} {found[kind]:6.2f} s for {len(claims)} claims on {options.rows:,} rows")
    if options.json:
        options.json.write_text(json.dumps({"rows": options.rows, "claims": CLAIMS, "seconds": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
