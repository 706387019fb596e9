"""The paper's claim on nano, replicated: is the choice of tools more diverse, does accuracy hold, do the weights act?

Run: python benchmarks/science.py [--seeds 0,1,2] [--limit 1000] [--only claims,rarity,kl,critic] [--json FILE]
     [--data FOLDER] [--set S.NAME=VALUE ...]
Each seed is the whole pipeline once more (synth.seed = train.seed = eval.seed), through `sparkctl eval` as a user types
it; `limit` unseen questions are asked of every policy. A second run finds all of that by key and only counts again.
`claims` compares five policies; `rarity`, `kl` and `critic` give `spark` doses of a weight (doses.py).
Statistics: sparkctl.report.figures.conditional and statistics. Intervals of entropy, and of one seed, say how sure the figures are
for these trainings, not for another seed; that of the difference in accuracy over seeds takes in how far they are apart.
A question that two seeds drew is taken for two questions; how many those are is printed.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import doses
from replication import accuracy_change, answers_of, replicate, types_of
from rich.console import Console
from rich.table import Table

from sparkctl.errors import SparkError
from sparkctl.report.figures.conditional import (
    MEASURES,
    RESAMPLES,
    SEED,
    Counts,
    Estimate,
    Sums,
    difference,
    draws,
    estimate,
    summed,
)
from sparkctl.report.figures.statistics import not_worse, wilson

CONTROLS = ("base", "sft_best", "sft_selected")
METHODS = ("spark", "expected")
POLICIES = (*CONTROLS, *METHODS)
PARTS = ("claims", *doses.COURSES)
EQUAL_BITS = 0.1
"""Entropies are called equal if the whole interval of their difference is within this. Ours: 3 % of log2(9) bits."""
COLUMNS = {"accuracy": ("accuracy, %", 100, 1), "entropy_bits": ("entropy, bits", 1, 2)} | {
    "entropy_within_type_bits": ("within type, bits", 1, 2)
}
"""Measure -> heading, factor and decimals in the terminal."""

Estimates = dict[str, Estimate]
"""Measure -> estimate."""


@dataclass(frozen=True)
class Scope:
    """What is known about all seeds together, or one of them."""

    answers: int
    """Of each policy."""
    policies: dict[str, Estimates]
    differences: dict[str, dict[str, Estimates]]
    """Method -> control -> method minus control."""


# ---- statistics --------------------------------------------------------------------------------------------------


def scope_of(sums: dict[str, Sums], counts: Sequence[Mapping[str, Counts]]) -> Scope:
    """Every figure and difference of these sums; `counts`, per seed, are what they were made of."""
    asked = int(sums["base"].asked[0].sum())
    policies = {p: {name: estimate(measure(s)) for name, measure in MEASURES.items()} for p, s in sums.items()}
    for policy, s in sums.items():
        right = int(s.correct[0].sum())
        policies[policy]["accuracy"] = Estimate(right / asked, *wilson(right, asked))
    between = {
        method: {
            control: {name: difference(measure, sums[method], sums[control]) for name, measure in MEASURES.items()}
            | {"accuracy": accuracy_change([c[method] for c in counts], [c[control] for c in counts])}
            for control in CONTROLS
        }
        for method in METHODS
    }
    return Scope(asked, policies, between)


def claims(pooled: Scope, seeds: Sequence[Scope]) -> list[dict[str, Any]]:
    """Each claim for each method: "holds", "does not hold" or "not shown", and why, in plain words."""
    found = []
    for method in METHODS:
        against, alone = pooled.differences[method], [scope.differences[method] for scope in seeds]
        entropies = ("entropy_bits", "entropy_within_type_bits")
        found += [_more_diverse(method, measure, against, alone) for measure in entropies]
        found += [_accuracy_held(method, against, alone), _better_than_selected(method, against)]
    return found


def _more_diverse(
    method: str, measure: str, against: dict[str, Estimates], alone: Sequence[dict[str, Estimates]]
) -> dict[str, Any]:
    controls = ("base", "sft_best")
    seeds = sum(all(d[control][measure].low > 0 for control in controls) for d in alone)
    claim = "entropy" + (" within question type" if "within" in measure else "") + " above base and above SFT on best"
    says = "; ".join(f"{_signed(against[c][measure], measure)} bits over {c}" for c in controls)
    shown = all(against[control][measure].low > 0 for control in controls)
    refuted = any(against[control][measure].high < 0 for control in controls)
    verdict = "holds" if shown else "does not hold" if refuted else "not shown"
    return _claim(method, claim, verdict, f"{says}; both intervals clear of 0 in {seeds} of {len(alone)} seeds alone")


def _accuracy_held(method: str, against: dict[str, Estimates], alone: Sequence[dict[str, Estimates]]) -> dict[str, Any]:
    d = against["base"]["accuracy"]
    seeds = ", ".join(f"{100 * one['base']['accuracy'].value:+.1f}" for one in alone)
    says = f"{_signed(d, 'accuracy')} points; by seed {seeds}"
    claim = f"accuracy not more than {100 * doses.MARGIN:.0f} points below base"
    return _claim(method, claim, not_worse(d, doses.MARGIN), says)


def _better_than_selected(method: str, against: dict[str, Estimates]) -> dict[str, Any]:
    accuracy, entropy = (against["sft_selected"][name] for name in ("accuracy", "entropy_bits"))
    better = "better" if accuracy.low > 0 else "worse" if accuracy.high < 0 else "not distinguishable"
    equal = max(abs(entropy.low), abs(entropy.high)) <= EQUAL_BITS
    within = f"equal within {EQUAL_BITS} bits" if equal else f"not shown to be equal within {EQUAL_BITS} bits"
    clear = "clear of 0" if entropy.low > 0 or entropy.high < 0 else "0 is in the interval"
    says = (
        f"accuracy {better}, {_signed(accuracy, 'accuracy')} points; "
        f"entropy {within}, {_signed(entropy, 'entropy_bits')} bits, {clear}"
    )
    refuted = accuracy.high < 0 or min(abs(entropy.low), abs(entropy.high)) > EQUAL_BITS
    verdict = "holds" if accuracy.low > 0 and equal else "does not hold" if refuted else "not shown"
    return _claim(method, "better accuracy than SFT on selected at equal entropy", verdict, says)


def _claim(method: str, claim: str, verdict: str, says: str) -> dict[str, Any]:
    return {"policy": method, "claim": claim, "verdict": verdict, "says": says}


# ---- terminal ----------------------------------------------------------------------------------------------------


def _plain(e: Estimate, measure: str) -> str:
    _, factor, places = COLUMNS[measure]
    return f"{factor * e.value:.{places}f} ({factor * e.low:.{places}f}-{factor * e.high:.{places}f})"


def _signed(e: Estimate, measure: str) -> str:
    _, factor, places = COLUMNS[measure]
    return f"{factor * e.value:+.{places}f} ({factor * e.low:+.{places}f}, {factor * e.high:+.{places}f})"


def show(console: Console, title: str, scope: Scope) -> None:
    """One table: the policies, then each method minus each control. It fits 80 columns."""
    title = f"{title}, {scope.answers} answers of each policy (95 % intervals)"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("policy", no_wrap=True)
    for heading, _, _ in COLUMNS.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for policy, figures in scope.policies.items():
        table.add_row(policy, *(_plain(figures[name], name) for name in COLUMNS))
    for method, controls in scope.differences.items():
        table.add_row(f"\n{method} minus")
        for control, figures in controls.items():
            table.add_row(f" {control}", *(_signed(figures[name], name) for name in COLUMNS))
    console.print(table)


# ---- command -----------------------------------------------------------------------------------------------------


def parsed() -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--limit", type=int, default=1000, help="unseen questions per seed")
    parser.add_argument("--only", default=",".join(PARTS), help=f"of {', '.join(PARTS)}, with commas")
    parser.add_argument("--json", type=Path, help="write everything here too")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the store, as of sparkctl")
    parser.add_argument(
        "--set", dest="sets", action="append", default=[], help="override for every seed, as of sparkctl"
    )
    asked = parser.parse_args()
    try:
        asked.seeds = [int(seed) for seed in asked.seeds.split(",")]
    except ValueError:
        raise SparkError(f"--seeds {asked.seeds}: write whole numbers with commas, such as 0,1,2") from None
    if len(set(asked.seeds)) < len(asked.seeds) or min(asked.seeds) < 0:
        raise SparkError(f"--seeds {asked.seeds}: must be 0 or more, and each only once")
    asked.only = asked.only.split(",")
    if unknown := [part for part in asked.only if part not in PARTS]:
        raise SparkError(f"--only {unknown[0]}: is none of {', '.join(PARTS)}")
    if asked.json and not asked.json.resolve().parent.is_dir():
        raise SparkError(f"--json {asked.json}: its folder does not exist; make it first")
    return asked


def measured(asked: argparse.Namespace) -> dict[str, Any]:
    """Run, count, print; everything as a JSON value."""
    result: dict[str, Any] = {"seeds": asked.seeds, "limit": asked.limit, "set": asked.sets}
    result["machine"] = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    for part in asked.only:
        result |= compared(asked) if part == "claims" else {part: doses.measured(doses.COURSES[part], asked)}
    return result


def compared(asked: argparse.Namespace) -> dict[str, Any]:
    """The five policies side by side, and what follows for the claims."""
    benches = [replicate(seed, asked, POLICIES) for seed in asked.seeds]
    type_of = [types_of(bench) for bench in benches]
    types = sorted({kind for of_seed in type_of for kind in of_seed.values()})
    counts = [answers_of(bench, POLICIES, types, known) for bench, known in zip(benches, type_of, strict=True)]
    weights = draws([len(known) for known in type_of])
    sums = {policy: summed([c[policy] for c in counts], weights) for policy in POLICIES}
    pooled = scope_of(sums, counts)
    alone = [scope_of({p: s.of_seed(i) for p, s in sums.items()}, counts[i : i + 1]) for i in range(len(asked.seeds))]
    distinct = len({question for known in type_of for question in known})
    result = {
        "n_questions": [len(known) for known in type_of],
        "n_distinct_questions": distinct,
        "types": types,
        "resamples": RESAMPLES,
        "bootstrap_seed": SEED,
        "pooled": asdict(pooled),
        "per_seed": {str(seed): asdict(scope) for seed, scope in zip(asked.seeds, alone, strict=True)},
        "claims": claims(pooled, alone),
    }
    _say(result, asked.seeds, pooled, alone)
    return result


def _say(result: dict[str, Any], seeds: Sequence[int], pooled: Scope, alone: Sequence[Scope]) -> None:
    """Every seed, then all together, then what follows for the claims."""
    console = Console(highlight=False)
    for seed, scope in zip(seeds, alone, strict=True):
        show(console, f"Seed {seed}", scope)
    show(console, f"Seeds {', '.join(map(str, seeds))} together", pooled)
    for claim in result["claims"]:
        console.print(f"{claim['verdict']}: {claim['policy']}, {claim['claim']}", style="bold", soft_wrap=True)
        console.print(f"  {claim['says']}", soft_wrap=True)
    asked = sum(result["n_questions"])
    console.print(f"Of {asked} questions {asked - result['n_distinct_questions']} were drawn by an earlier seed too.")


def main() -> None:
    """Measure, print, and write JSON where told; a fault that a user can mend is one line and exit code 2."""
    try:
        asked = parsed()
        result = measured(asked)
        if asked.json:
            asked.json.write_text(json.dumps(result, indent=1))
    except (SparkError, OSError) as fault:
        print(f"science: {fault}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
