"""The credit table in a few figures: how much of what was judged will teach anything, and why the rest will not."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

_TERMS = ("quality", "rarity", "correctness", "reward", "advantage")


def audit(credit: pa.Table, spreads: Mapping[str, float], least: float) -> dict[str, Any]:
    """Figures of a credit table, for programs; `signal` is the share of its actions with an advantage other than 0.
    `spreads`: how much each term of the reward differs among the trained actions, after its baseline; one that differs by
    less than `least` is not acting."""
    rows = credit.to_pylist()
    kept = [row for row in rows if row["dropped_because"] is None]
    with_signal = sum(1 for row in kept if row["advantage"])
    return {
        "actions": len(rows),
        "trained": len(kept),
        "signal": with_signal / len(rows) if rows else 0.0,
        "trained_tokens": sum(row["trained_tokens"] for row in kept),
        "sums": {name: _total(kept, name) for name in _TERMS},
        "spreads": dict(spreads),
        "not_acting": [term for term, spread in spreads.items() if spread < least],
        "by_action": _by_action(kept),
        "dropped": dict(Counter(row["dropped_because"] for row in rows if row["dropped_because"]).most_common()),
    }


def _total(rows: list[dict[str, Any]], name: str) -> float | None:
    values = [row[name] for row in rows if row[name] is not None]
    return sum(values) if values else None


def _by_action(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Action -> how often it is trained on, and its mean advantage."""
    found: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        found[row["tool_name"]].append(row["advantage"])
    return {
        name: {"trained": len(given), "advantage": sum(given) / len(given)}
        for name, given in sorted(found.items(), key=lambda item: -len(item[1]))
    }
