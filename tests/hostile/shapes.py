"""Ways to damage what JSON says, in its shape and its values; and the bytes that hold it."""

import copy
import json
import random
from typing import Any, NamedTuple

from hostile.damage import ODD_TEXTS, damaged

DEEP = 100_000
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**63, 10**400, 0.5, float("nan"), float("inf"), -float("inf"), 1e308),
    *("", "0", "x", "\ud800", "\x00", "x" * 100_000, [], [[]], [None], ["x"], {}, {"": {}}, {"x": [1]}),
)


class Shape(NamedTuple):
    """Damaged JSON. `read`: what it says, None where it is none; `at`: the keys that lead to what was changed."""

    what: str
    data: bytes
    at: tuple[Any, ...] = ()


def written(value: Any) -> bytes:
    """As others write JSON: with NaN, and with halves of surrogate pairs as escapes."""
    return json.dumps(value).encode()


def said(data: bytes) -> Any:
    """What the bytes say, comparable; None where they are no JSON."""
    try:
        return repr(json.loads(data))
    except (ValueError, RecursionError):
        return None


def spoilt(rng: random.Random, value: Any) -> Shape:
    """Its bytes, damaged."""
    what, data = damaged(rng, written(value))
    return Shape(what, data)


def reshaped(rng: random.Random, value: Any) -> Shape:
    """One place of it changed."""
    value = copy.deepcopy(value)
    at = rng.choice(_places(value))
    holder: Any = value
    for key in at[:-1]:
        holder = holder[key]
    how = rng.choice(("odd", "odd", "odd", "gone", "renamed", "wrapped", "deep", "text"))
    if not at:
        return Shape("the whole is another", written(rng.choice(ODD)))
    last, name = at[-1], "/".join(map(str, at))
    if how == "gone":
        del holder[last]
    elif how == "renamed" and isinstance(holder, dict):
        holder[rng.choice((f"{last}s", str(last).upper(), "", "\x1b[2J"))] = holder.pop(last)
    elif how == "wrapped":
        holder[last] = rng.choice(([holder[last]], {"value": holder[last]}, [holder[last]] * 2))
    elif how == "deep":
        holder[last] = "@deep@"
        return Shape(f"{name} nested deep", written(value).replace(b'"@deep@"', b"[" * DEEP + b"]" * DEEP), at)
    elif how == "text" and isinstance(holder[last], str):
        holder[last] = rng.choice(ODD_TEXTS)
    else:
        how, holder[last] = "odd", rng.choice(ODD)
    now = "" if how in ("gone", "renamed") else f" = {repr(holder[last])[:40]}"
    return Shape(f"{name} {how}{now}", written(value), at)


def _places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The keys that lead to each part."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, part in parts for place in _places(part, (*at, key)))]
