"""Canonical JSON (RFC 8785): one text for one value, so that a hash of it means something.

Names are sorted by their UTF-16 code units, nothing is indented, and numbers are written as ECMAScript does: the
shortest digits that give the same double again, 1.0 and 1 alike. Any other implementation of RFC 8785 gives the same
hashes. Standard library only.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

LARGEST_INTEGER = 2**53
"""Above it a double does not hold every whole number (RFC 7493, section 2.2)."""
LARGEST_DOUBLE = 2**1024 - 2**970
"""Half a step above the largest double: from here on conversion overflows."""


def canonical(value: Any) -> str:
    """The canonical JSON of a value made of mappings, lists, tuples, text, numbers, booleans and None.

    Raises:
        ValueError: a number is not finite or too large for JSON, or a name is not text.

    >>> canonical({"b": [1.0, 1e-7, True], "a": "é"})
    '{"a":"é","b":[1,1e-7,true]}'
    """
    parts: list[str] = []
    _write(value, parts)
    return "".join(parts)


def content_hash(value: Any) -> str:
    """SHA-256 of the canonical JSON in UTF-8.

    >>> content_hash({})
    'sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a'
    """
    return f"sha256:{hashlib.sha256(canonical(value).encode()).hexdigest()}"


def _write(value: Any, parts: list[str]) -> None:
    match value:
        case str():
            parts.append(json.dumps(value, ensure_ascii=False))
        case None | bool():
            parts.append("null" if value is None else "true" if value else "false")
        case int():
            parts.append(_integer(value))
        case float():
            parts.append(number(value))
        case Mapping():
            opened = "{"
            for name in sorted(value, key=_utf16):
                parts += (opened, json.dumps(name, ensure_ascii=False), ":")
                _write(value[name], parts)
                opened = ","
            parts.append("{}" if opened == "{" else "}")
        case list() | tuple():
            opened = "["
            for part in value:
                parts.append(opened)
                _write(part, parts)
                opened = ","
            parts.append("[]" if opened == "[" else "]")
        case _:
            raise ValueError(f"canonical JSON takes JSON values, {value!r} of type {type(value).__name__} came")


def _utf16(name: Any) -> bytes:
    if not isinstance(name, str):
        raise ValueError(f"names in canonical JSON are text, {name!r} came")
    return name.encode("utf-16-be")


def _integer(value: int) -> str:
    """A whole number; a large one only when a double stands for just it, as JSON knows nothing else."""
    if abs(value) <= LARGEST_INTEGER:
        return str(value)
    if abs(value) < LARGEST_DOUBLE and (str(value) == number(float(value)) or int(float(value)) == value):
        return number(float(value))
    raise ValueError(f"JSON holds every whole number up to 2**53 only, {value} came; write it as text")


def number(value: float) -> str:
    """A finite number as ECMAScript writes it (ECMA-262, Number::toString).

    >>> [number(x) for x in (0.1, -0.0, 1e21, 123456789012345680000.0, 1e-6, 1.5e-7)]
    ['0.1', '0', '1e+21', '123456789012345680000', '0.000001', '1.5e-7']
    """
    if not math.isfinite(value):
        raise ValueError(f"JSON has no {value}; write None")
    if value == 0:
        return "0"
    text = repr(value)
    if "e" not in text:
        return text.removesuffix(".0")
    mantissa, _, exponent = text.partition("e")
    sign = "-" if mantissa.startswith("-") else ""
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    digits, point = whole + fraction, int(exponent) + len(whole)
    if len(digits) <= point <= 21:
        return sign + digits.ljust(point, "0")
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    shown = digits if len(digits) == 1 else f"{digits[0]}.{digits[1:]}"
    return f"{sign}{shown}e{point - 1:+d}"
