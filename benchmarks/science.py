"""The paper's claim on nano, replicated: is the choice of tools more diverse, and does accuracy hold?

Run: python benchmarks/science.py [--seeds 0,1,2] [--limit 1000] [--json FILE] [--data FOLDER] [--set S.NAME=VALUE ...]
Each seed is the whole pipeline once more (synth.seed = train.seed = eval.seed), through `sparkctl run` as a user types
it; `limit` unseen questions are asked of every policy. A second run finds all of that by key and only counts again.
Statistics: sparkctl.report.conditional. Their intervals say how sure the figures are for these training runs, not for
another seed, and take a question that two seeds drew for two questions; how many those are is printed.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from sparkctl.errors import SparkError
from sparkctl.report.conditional import (
    MEASURES,
    RESAMPLES,
    SEED,
    Counts,
    Estimate,
    Sums,
    counted,
    difference,
    draws,
    estimate,
    summed,
)
from sparkctl.report.statistics import wilson
from sparkctl.workbench import Workbench

CONTROLS = ("base", "sft_best", "sft_selected")
METHODS = ("spark", "expected")
POLICIES = (*CONTROLS, *METHODS)
ACCURACY_MARGIN = 0.01
"""Accuracy "holds" if it is not more than this below base. Issue 3."""
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


# ---- runs --------------------------------------------------------------------------------------------------------


def overrides(seed: int, asked: argparse.Namespace) -> list[str]:
    """The settings of one replication."""
    seeds = [f"{section}.seed={seed}" for section in ("synth", "train", "eval")]
    return [*seeds, f"eval.limit={asked.limit}", f"eval.policies={json.dumps(POLICIES)}", *asked.sets]


def replicate(seed: int, asked: argparse.Namespace) -> Workbench:
    """One seed's run, brought up to date, and opened for reading."""
    settings, name = overrides(seed, asked), f"science-{seed}"
    command = [sys.executable, "-m", "sparkctl", "run", "--json", "--run", name, "--data", str(asked.data)]
    print(f"{name}: sparkctl run", file=sys.stderr, flush=True)
    ended = subprocess.run(command + [w for s in settings for w in ("--set", s)], stdout=subprocess.PIPE, check=False)
    if ended.returncode:
        raise SparkError(f"{name}: sparkctl run ended with {ended.returncode}; what it says is above")
    return Workbench.open("nano", name, tuple(settings), asked.data, None)


def answers_of(bench: Workbench, types: Sequence[str], type_of: dict[int, str]) -> dict[str, Counts]:
    """Policy -> its answers, counted; refused where the policies were not asked the same."""
    found = {policy: bench.table("answers", policy) for policy in POLICIES}
    for policy, answers in found.items():
        if Counter(answers["question_id"].to_pylist()).keys() != type_of.keys():
            raise SparkError(
                f"{bench.store.run}: {policy} was asked other questions than eval_questions holds; run again"
            )
    return {policy: counted(answers, type_of, types) for policy, answers in found.items()}


def types_of(bench: Workbench) -> dict[int, str]:
    """Question id -> its type, such as nano-sum."""
    questions = bench.table("eval_questions", None)
    return dict(zip(questions["question_id"].to_pylist(), questions["src"].to_pylist(), strict=True))


# ---- statistics --------------------------------------------------------------------------------------------------


def scope_of(sums: dict[str, Sums]) -> Scope:
    """Every figure and difference of these sums."""
    asked = int(sums["base"].asked[0].sum())
    policies = {p: {name: estimate(measure(s)) for name, measure in MEASURES.items()} for p, s in sums.items()}
    for policy, s in sums.items():
        right = int(s.correct[0].sum())
        policies[policy]["accuracy"] = Estimate(right / asked, *wilson(right, asked))
    between = {
        method: {
            control: {name: difference(measure, sums[method], sums[control]) for name, measure in MEASURES.items()}
            for control in CONTROLS
        }
        for method in METHODS
    }
    return Scope(asked, policies, between)


def claims(pooled: Scope, seeds: Sequence[Scope]) -> list[dict[str, Any]]:
    """Each claim for each method: whether it holds, and why, in plain words."""
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
    holds = all(against[control][measure].low > 0 for control in controls)
    return _claim(method, claim, holds, f"{says}; both intervals clear of 0 in {seeds} of {len(alone)} seeds alone")


def _accuracy_held(method: str, against: dict[str, Estimates], alone: Sequence[dict[str, Estimates]]) -> dict[str, Any]:
    d, holds = against["base"]["accuracy"], _within_margin(against["base"]["accuracy"].value)
    seeds = sum(_within_margin(one["base"]["accuracy"].value) for one in alone)
    interval = "all of the interval too" if _within_margin(d.low) else "but the interval reaches further down"
    interval = interval if holds else "further below already by the point estimate"
    says = f"{_signed(d, 'accuracy')} points, {interval}; the point estimate so in {seeds} of {len(alone)} seeds"
    return _claim(method, "accuracy not more than 1 point below base", holds, says)


def _within_margin(difference: float) -> bool:
    """Rounded, as 0.914 - 0.924 is a hair below -0.01 in floating point."""
    return round(difference, 9) >= -ACCURACY_MARGIN


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
    return _claim(method, "better accuracy than SFT on selected at equal entropy", accuracy.low > 0 and equal, says)


def _claim(method: str, claim: str, holds: bool, says: str) -> dict[str, Any]:
    return {"policy": method, "claim": claim, "holds": holds, "says": says}


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
    if asked.json and not asked.json.resolve().parent.is_dir():
        raise SparkError(f"--json {asked.json}: its folder does not exist; make it first")
    return asked


def measured(asked: argparse.Namespace) -> dict[str, Any]:
    """Run, count, print; everything as a JSON value."""
    benches = [replicate(seed, asked) for seed in asked.seeds]
    type_of = [types_of(bench) for bench in benches]
    types = sorted({kind for of_seed in type_of for kind in of_seed.values()})
    counts = [answers_of(bench, types, known) for bench, known in zip(benches, type_of, strict=True)]
    weights = draws([len(known) for known in type_of])
    sums = {policy: summed([c[policy] for c in counts], weights) for policy in POLICIES}
    pooled = scope_of(sums)
    alone = [scope_of({p: s.of_seed(i) for p, s in sums.items()}) for i in range(len(asked.seeds))]
    distinct = len({question for known in type_of for question in known})
    result = {
        "seeds": asked.seeds,
        "limit": asked.limit,
        "set": asked.sets,
        "n_questions": [len(known) for known in type_of],
        "n_distinct_questions": distinct,
        "types": types,
        "resamples": RESAMPLES,
        "bootstrap_seed": SEED,
        "pooled": asdict(pooled),
        "per_seed": {str(seed): asdict(scope) for seed, scope in zip(asked.seeds, alone, strict=True)},
        "claims": claims(pooled, alone),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
    }
    _say(result, pooled, alone)
    return result


def _say(result: dict[str, Any], pooled: Scope, alone: Sequence[Scope]) -> None:
    """Every seed, then all together, then what follows for the claims."""
    console, seeds = Console(highlight=False), result["seeds"]
    for seed, scope in zip(seeds, alone, strict=True):
        show(console, f"Seed {seed}", scope)
    show(console, f"Seeds {', '.join(map(str, seeds))} together", pooled)
    for claim in result["claims"]:
        verdict = "holds" if claim["holds"] else "DOES NOT HOLD"
        console.print(f"{verdict}: {claim['policy']}, {claim['claim']}", style="bold", soft_wrap=True)
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
