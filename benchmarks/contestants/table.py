"""The tables of a page, from the results of the race."""

import statistics
from pathlib import Path
from typing import Any, NamedTuple

from contestants import CONTESTANTS

OURS = "ours"
CLOSE = 0.95
"""How much slower than the best contestant is still as fast."""
QUIET = 0.15
"""Cores that other programs may use without a warning."""
AIMS: dict[str, dict[str, float]] = {
    "dense": {"plain": 4.0, "torch_func": 2.0, "jax_scan": 1.2},
    "conv": {"plain": 2.5, "pool": 1.3},
    "sequence": {},
}
"""Kind of net -> least ratio to a contestant."""
FLOOR_AIMS = {"mlp-256": 0.6}
FLOOR_AIM_CONV = 1 / 2.5
"""Least share of the floor."""


class Ratio(NamedTuple):
    """Of medians, and the least and largest of the rounds."""

    value: float
    least: float
    largest: float


def ratio(rates: dict[str, list[float]], to: str) -> Ratio | None:
    """Ours to another's; None if one of them is missing. A single turn is compared with all of the other's."""
    ours, theirs = rates.get(OURS), rates.get(to)
    if not ours or not theirs:
        return None
    rounds = max(len(ours), len(theirs))
    pairs = zip(*(each if len(each) == rounds else each[:1] * rounds for each in (ours, theirs)), strict=True)
    each = [a / b for a, b in pairs]
    return Ratio(statistics.median(ours) / statistics.median(theirs), min(each), max(each))


def share_of_floor(rates: dict[str, list[float]], floors: list[float]) -> Ratio | None:
    """Ours as a share of the floor, with the range over rounds."""
    return ratio({**rates, "floor": floors}, "floor")


def missed(result: dict[str, Any]) -> list[str]:
    """What our aims ask for and this result does not give, in words; in brackets what the floor itself would reach."""
    rates, found = result["rates"], []
    if not rates.get(OURS):
        return ["no result"]
    for name, least in AIMS[result["kind"]].items():
        reached = ratio(rates, name)
        if reached is not None and reached.value < least:
            floor = statistics.median(result["floor"]) / statistics.median(rates[name])
            found.append(f"{least:g}x {CONTESTANTS[name]} (floor: {floor:.1f})")
    others = {name: statistics.median(each) for name, each in rates.items() if name != OURS}
    best = max(others, key=lambda name: others[name], default=None)
    if best is not None and statistics.median(rates[OURS]) < CLOSE * others[best]:
        found.append(f"slower than {CONTESTANTS[best]}")
    least = FLOOR_AIMS.get(result["net"], FLOOR_AIM_CONV if result["kind"] == "conv" else 0.0)
    reached = share_of_floor(rates, result["floor"])
    if reached is not None and reached.value < least:
        found.append(f"{least:.2f} of the floor")
    return found


def write(page: Path, machines: list[dict[str, Any]]) -> None:
    """Replace what stands between the page's marks by the tables of these machines' results."""
    put_between(
        page, "results", "\n\n".join(f"#### {each['machine']['processor']}\n\n{both(each)}" for each in machines)
    )


def put_between(page: Path, name: str, text: str) -> None:
    """Replace what stands between `<!-- name: begin -->` and `<!-- name: end -->`."""
    first, last = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, begin, rest = page.read_text(encoding="utf-8").partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise SystemExit(f"{page} has no place for the tables: {first} ... {last}")
    page.write_text(f"{before}{first}\n{text}\n{last}{after}", encoding="utf-8")


def speeds(machines: list[dict[str, Any]]) -> str:
    """Markdown: ours as a multiple of each contestant's, the least and the largest of all results of a net."""
    others = {name: title for name, title in CONTESTANTS.items() if name != OURS}
    results = [result for machine in machines for result in machine["results"]]
    lines = [f"| net | {' | '.join(others.values())} |", "|---" * (1 + len(others)) + "|"]
    for title in dict.fromkeys(result["title"] for result in results):
        of_net = [result["rates"] for result in results if result["title"] == title]
        found = [[each.value for rates in of_net if (each := ratio(rates, name))] for name in others]
        cells = [f"{min(values):.2g} to {max(values):.2g}" if values else "-" for values in found]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def both(results: dict[str, Any]) -> str:
    """Markdown: the ratios, then what they were made of."""
    machine = results["machine"]
    facts = f"{machine['processor']}, {machine['cores']} cores; " + ", ".join(
        f"{name} {number}" for name, number in machine["versions"].items()
    )
    settings = results["settings"]
    parts = [
        f"{facts}. {settings['rounds']} rounds; the median turn took about {settings['seconds']:g} s.",
        "refute's speed as a multiple of the others', least and largest of the rounds in brackets:",
        "\n".join(ratios(results["results"])),
        "Replica-steps per second (median), seconds to start [and to compile], peak memory in MB:",
        "\n".join(rates(results["results"])),
    ]
    reasons = sorted(
        {
            f"- {CONTESTANTS[name]}, {result['title']}: {why}"
            for result in results["results"]
            for name, why in {**result["left_out"], **result["remarks"]}.items()
        }
    )
    notes = [f"- {note}" for result in results["results"] for note in disturbed(result)]
    return "\n\n".join([*parts, "\n".join(reasons + notes)]).rstrip()


def disturbed(result: dict[str, Any]) -> list[str]:
    """A warning if other programs were at work meanwhile."""
    used = result["neighbours"]
    return [f"{result['title']}, {_task(result)}: other programs used {used:.1f} cores"] if used > QUIET else []


def ratios(results: list[dict[str, Any]]) -> list[str]:
    others = [name for name in CONTESTANTS if name != OURS]
    lines = _head(["net", "batch x replicas", *(CONTESTANTS[name] for name in others), "of the floor", "missed aims"])
    for result in results:
        cells = [_ratio(ratio(result["rates"], name)) for name in others]
        cells.append(_ratio(share_of_floor(result["rates"], result["floor"])))
        lines.append(_row([result["title"], _task(result), *cells, "; ".join(missed(result)) or "none"]))
    return lines


def rates(results: list[dict[str, Any]]) -> list[str]:
    lines = _head(["net", "batch x replicas", "steps", *CONTESTANTS.values(), "floor"])
    for result in results:
        cells = [_speed(result, name) for name in CONTESTANTS]
        floor = f"{statistics.median(result['floor']):,.0f}" if result["floor"] else "-"
        lines.append(_row([result["title"], _task(result), str(result["steps"]), *cells, floor]))
    return lines


def _speed(result: dict[str, Any], name: str) -> str:
    if not result["rates"].get(name):
        return "-"
    compiling = result["compile_s"].get(name, 0.0)
    start = f"{result['start_s'][name]:.1f}" + (f"+{compiling:.1f}" if compiling >= 0.05 else "")
    memory = result["peak_mb"].get(name)
    told = f"{start} s" + (f", {memory:,.0f} MB" if memory else "")
    return f"{statistics.median(result['rates'][name]):,.0f} ({told})"


def _task(result: dict[str, Any]) -> str:
    return f"{result['batch']} x {result['replicas']}"


def _ratio(found: Ratio | None) -> str:
    return "-" if found is None else f"{found.value:.2f} ({found.least:.2f}-{found.largest:.2f})"


def _head(names: list[str]) -> list[str]:
    return [_row(names), "|---" * len(names) + "|"]


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
