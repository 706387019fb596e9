"""How long selection takes: a million states x nine candidates under every rule, on one core.

Run: python benchmarks/select_scale.py [--states N] [--json FILE]
The peer, measured in the same run on a share of the states: the rule written as a plain loop over rows.
"""

import argparse
import json
import os
import platform
import resource
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

from sparkctl.method.episode import ACTIONS
from sparkctl.method.selection import select

PEER_SHARE = 20
"""The plain loop is timed on one in this many states, and its time multiplied."""


def plain_loop(scores: np.ndarray, threshold: float) -> list[int]:
    """rarest_viable as one would first write it."""
    counts = [0] * len(ACTIONS)
    chosen = []
    for row in scores:
        viable = [a for a in range(len(ACTIONS)) if row[a] >= threshold]
        pick = min(viable, key=lambda a: (counts[a], -row[a], a)) if viable else int(np.nanargmax(row))
        counts[pick] += 1
        chosen.append(pick)
    return chosen


def main() -> None:
    """Measure, print, and write JSON where told."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--states", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    scores = np.random.default_rng(0).integers(0, 11, (asked.states, len(ACTIONS))).astype(float)
    usage = np.zeros(len(ACTIONS), np.int64)
    seconds = {}
    for rule in ("rarest_viable", "lowest_viable", "best", "softmax"):
        begun = time.perf_counter()
        chosen = select(scores, usage, rule=rule, threshold=6.0).chosen  # type: ignore[arg-type]
        seconds[rule] = round(time.perf_counter() - begun, 3)
        if rule == "rarest_viable":
            few = scores[: asked.states // PEER_SHARE]
            begun = time.perf_counter()
            assert plain_loop(few, 6.0) == chosen[: len(few)].tolist()
            peer = (time.perf_counter() - begun) * len(scores) / len(few)
    result = {
        "states": asked.states,
        "seconds": seconds,
        "slowest_seconds": max(seconds.values()),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 3),
        "plain_loop_seconds": round(peer, 3),
        "over_plain_loop": round(peer / seconds["rarest_viable"], 2),
        "machine": f"{platform.machine()}, one core of {os.cpu_count()}, Python {platform.python_version()}",
    }
    print(json.dumps(result, indent=1))
    if asked.json:
        asked.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
