"""What changed between two definitions, item by item."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from refute.records.canonical import canonical
from refute.records.definition import Definition

WORDS = frozenset({"statement", "paper", "reason", "definition", "unit"})
"""Fields that a reader sees and the judge does not use."""

ABSENT = "(absent)"


@dataclass(frozen=True)
class Change:
    """One difference; a side is None where the item does not exist."""

    item: str
    """"claim C1", "grid 2", "quantity accuracy", or "" for the phenomenon itself."""
    field: str
    """"holds.value", "seeds"; "" when the whole item was added or removed."""
    before: Any
    after: Any

    @property
    def only_words(self) -> bool:
        """Whether no verdict can move by it."""
        return self.field.rpartition(".")[2] in WORDS

    @property
    def claim(self) -> str | None:
        """Identifier of the claim that changed, None when it is not a claim."""
        return self.item.removeprefix("claim ") if self.item.startswith("claim ") else None

    def in_words(self) -> str:
        """For example: bound of claim C1: 0.5 -> 0.3."""
        if not self.field:
            return f"{self.item} {'added' if self.before is None else 'removed'}"
        name = {"holds.value": "bound", "holds.direction": "direction of the bound"}.get(
            self.field, self.field.replace("_", " ").replace("holds.reason", "reason of the bound")
        )
        whole = f"{name} of {self.item}" if self.item else name
        return f"{whole}: {_shown(self.before)} -> {_shown(self.after)}"


def changes(before: Definition, after: Definition) -> tuple[Change, ...]:
    """Every difference between two definitions, claims first; empty when their hashes are equal.

    Claims, factors and quantities are matched by name, grids by their levels and then by their order. A changed order
    of claims or grids, which changes the hash and nothing else, is one change of its own.
    """
    if before.hash == after.hash:
        return ()
    old, new = before.model_dump(mode="json"), after.model_dump(mode="json")
    found = [
        *_items("claim", _by_id(old["claims"]), _by_id(new["claims"])),
        *_grids(old["protocol"]["grids"], new["protocol"]["grids"]),
        *_fields("protocol", "", {**old["protocol"], "grids": None}, {**new["protocol"], "grids": None}),
        *_items("factor", old["factors"], new["factors"]),
        *_items("quantity", old["quantities"], new["quantities"]),
    ]
    rest = ("phenomenon", "version", "scale", "statement", "cell")
    found += _fields("", "", {name: old[name] for name in rest}, {name: new[name] for name in rest})
    if not found:
        orders = [[claim.id for claim in one.claims] for one in (before, after)]
        return (Change("", "order of claims" if orders[0] != orders[1] else "order of grids", *orders),)
    return tuple(found)


def _by_id(claims: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {claim["id"]: claim for claim in claims}


def _items(kind: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    found = []
    for name in dict.fromkeys((*old, *new)):
        item = f"{kind} {name}"
        if name not in old or name not in new:
            found.append(Change(item, "", old.get(name), new.get(name)))
        else:
            found += _fields(item, "", old[name], new[name])
    return found


def _grids(old: Sequence[Any], new: Sequence[Any]) -> list[Change]:
    """Grids with the same levels belong together, whatever their place; what is left is paired in order."""
    left, right = list(range(len(old))), list(range(len(new)))
    pairs = []
    for i in list(left):
        same = next((j for j in right if canonical(old[i]["levels"]) == canonical(new[j]["levels"])), None)
        if same is not None:
            pairs.append((i, same))
            left.remove(i)
            right.remove(same)
    paired = min(len(left), len(right))
    pairs += zip(left[:paired], right[:paired], strict=True)
    found = [change for i, j in sorted(pairs) for change in _fields(f"grid {i + 1}", "", old[i], new[j])]
    found += [Change(f"grid {i + 1}", "", old[i], None) for i in left[paired:]]
    found += [Change(f"grid {j + 1}", "", None, new[j]) for j in right[paired:]]
    return found


def _fields(item: str, path: str, old: Any, new: Any) -> list[Change]:
    """Differences of two values; mappings are entered, everything else, and another kind of effect, is one value."""
    other_effect = path == "effect" and old["kind"] != new["kind"]
    if isinstance(old, Mapping) and isinstance(new, Mapping) and not other_effect:
        found = []
        for name in dict.fromkeys((*old, *new)):
            found += _fields(item, f"{path}.{name}" if path else name, old.get(name), new.get(name))
        return found
    return [] if canonical(old) == canonical(new) else [Change(item, path, old, new)]


def _shown(value: Any) -> str:
    if value is None:
        return ABSENT
    return value if isinstance(value, str) else canonical(value)
