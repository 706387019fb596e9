"""The fuzzer: python tests/hostile/fuzz.py [--seed N] [--count N] [--kinds WORDS]; `make hostile` runs 10,000 in two workers.

Each mutant is made from its own number alone, and is made again by `--seed NUMBER --count 1`. Exit code 1 where one ended
badly: with a traceback, a refusal that says too little, or another result without a word.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

from hostile.answers import ANSWER_KINDS
from hostile.files import TABLE_KINDS, Kind
from hostile.folders import FOLDER_KINDS
from hostile.kept import KEPT_KINDS
from hostile.world import World, make

KINDS: list[type[Kind]] = [*TABLE_KINDS, *FOLDER_KINDS, *ANSWER_KINDS, *KEPT_KINDS]
OUTCOMES = ("refused", "same", "other", "bad")


class Told(NamedTuple):
    """A mutant: its number, kind, what was done, and what came of it."""

    seed: int
    kind: str
    what: str
    outcome: str
    why: str
    seconds: float


def mutants(seeds: Sequence[int], root: Path, made: Path | None, kinds: Sequence[type[Kind]]) -> Iterator[Told]:
    """Try them in this process. Without a run only the kinds that need none."""
    world = World(root, made or root / "none")
    usable = [kind for kind in kinds if made or not kind.needs_run]
    opened: dict[type[Kind], Kind] = {}
    for seed in seeds:
        rng = random.Random(seed)
        chosen = rng.choices(usable, [kind.weight for kind in usable])[0]
        if chosen not in opened:
            opened[chosen] = chosen(world)
        begun = time.monotonic()
        what, verdict = opened[chosen].attempt(rng)
        yield Told(seed, chosen.name, what, verdict.outcome, verdict.why, time.monotonic() - begun)


def table(found: Sequence[Told]) -> str:
    """kind, tried, refused, same, other, bad; and the slowest of each."""
    lines = [f"{'kind':<24}{'tried':>7}{'refused':>9}{'same':>7}{'other':>7}{'bad':>6}{'s each':>8}{'most':>6}"]
    names = sorted({told.kind for told in found})
    for name in [*names, "all"]:
        of = [told for told in found if name in (told.kind, "all")]
        counted = Counter(told.outcome for told in of)
        seconds = [told.seconds for told in of]
        counts = f"{counted['refused']:>9}{counted['same']:>7}{counted['other']:>7}{counted['bad']:>6}"
        lines.append(f"{name:<24}{len(of):>7}{counts}{sum(seconds) / len(of):>8.2f}{max(seconds):>6.1f}")
    return "\n".join(lines)


def _work(args: argparse.Namespace) -> None:
    """A worker: a line for each mutant on standard output."""
    import json

    import torch

    torch.set_num_threads(1)
    out = os.fdopen(os.dup(1), "w")
    seeds = range(args.seed + args.worker, args.seed + args.count, args.workers)
    root = args.root / f"worker-{args.worker}"
    for told in mutants(seeds, root, args.root / "made", _named(args.kinds)):
        print(json.dumps(told), file=out, flush=True)


def _named(words: str) -> list[type[Kind]]:
    return [kind for kind in KINDS if words in kind.name]


def _all(args: argparse.Namespace) -> list[Told]:
    import json

    if any(kind.needs_run for kind in _named(args.kinds)) and not (args.root / "made").exists():
        make(args.root / "made")
    command = [
        sys.executable,
        __file__,
        *("--seed", str(args.seed)),
        *("--count", str(args.count)),
        "--kinds",
        args.kinds,
    ]
    command += ["--workers", str(args.workers), "--root", str(args.root)]
    started = [
        subprocess.Popen([*command, "--worker", str(n)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for n in range(args.workers)
    ]
    found = []
    for process in started:
        out, err = process.communicate()
        found += [Told(*json.loads(line)) for line in out.splitlines()]
        if process.returncode:
            print(err[-3000:], file=sys.stderr)
            raise SystemExit(f"a worker ended with {process.returncode}")
    return sorted(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="number of the first mutant")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--kinds", default="", help="only kinds whose name holds these words")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--root", type=Path, help="folder to work in, which is kept; its `made` is used if it is there")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--all", action="store_true", help="print each mutant")
    args = parser.parse_args()
    if args.worker is not None:
        return _work(args)
    kept, args.root = args.root, args.root or Path(tempfile.mkdtemp(prefix="sparkctl-hostile-"))
    args.root.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    try:
        found = _all(args)
    finally:
        if not kept:
            shutil.rmtree(args.root)
        else:
            for n in range(args.workers):
                shutil.rmtree(args.root / f"worker-{n}", ignore_errors=True)
    bad = [told for told in found if told.outcome == "bad"]
    for told in found if args.all else bad:
        print(f"{told.seed}: {told.kind}: {told.what}: {told.outcome} {told.why}")
    print(table(found))
    print(
        f"seeds {args.seed} to {args.seed + args.count - 1}, {time.monotonic() - begun:.0f} s in {args.workers} workers"
    )
    raise SystemExit(bool(bad))


if __name__ == "__main__":
    main()
