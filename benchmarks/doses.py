"""Doses of a weight of `spark`: does the entropy of its tool choice follow, does accuracy hold? Called by science.py.

A course raises one weight by `--set train.variant.spark.NAME=VALUE` and nothing else. Entropy follows if it moves the right
way from each dose to the next, by LEAST_BITS or more from end to end, and the interval of that is clear of 0.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from replication import accuracy_change, answers_of, replicate, types_of
from rich.console import Console
from rich.table import Table

from sparkctl.report.figures.conditional import MEASURES, Counts, Sums, difference, draws, estimate, summed
from sparkctl.report.figures.statistics import Estimate, not_worse

MARGIN = 0.02
"""A loss of accuracy that counts as none. Issue 11."""
LEAST_BITS = 0.1
"""From end to end. Issue 11."""
CONTROLS = ("base", "sft_selected")
POLICIES = (*CONTROLS, "spark")


@dataclass(frozen=True)
class Course:
    """One weight in rising doses."""

    name: str
    values: tuple[float, ...]
    rises: bool
    """Whether entropy should rise with it, or fall."""
    sets: tuple[str, ...] = ()
    """What else is set for all doses."""
    title: str = ""


_CRITIC = tuple(f"train.variant.spark.{setting}" for setting in ("critic=value", "group=none"))
COURSES = {
    "rarity": Course("rarity", (0.0, 0.3, 1.0), rises=True, title="Doses of rarity"),
    "kl": Course("kl", (0.05, 0.5, 2.0), rises=False, title="Doses of KL"),
    "critic": Course("rarity", (0.0, 0.3, 1.0), rises=True, sets=_CRITIC, title="Doses of rarity under a critic"),
}
"""Part of science.py -> course. Its first dose is what the others are compared with."""


@dataclass(frozen=True)
class Point:
    """A policy in the plane of accuracy and entropy; all seeds together."""

    label: str
    entropy: Estimate
    within: Estimate
    """Entropy within question types."""
    accuracy: float
    change: Estimate | None
    """Accuracy minus that of the first dose; None for the controls."""
    from_base: Estimate
    by_seed: list[tuple[float, float]]
    """(entropy, accuracy) of each seed."""


def measured(course: Course, asked: argparse.Namespace) -> dict[str, Any]:
    """Run the doses, count, print; everything as a JSON value."""
    found = {value: [_counted(course, value, seed, asked) for seed in asked.seeds] for value in course.values}
    first = found[course.values[0]]
    policies = {name: [seed[name] for seed in first] for name in CONTROLS}
    policies |= {_label(course, value): [seed["spark"] for seed in of] for value, of in found.items()}
    weights = draws([len(seed["base"].asked) for seed in first])
    sums = {label: summed(counts, weights) for label, counts in policies.items()}
    points = [_point(label, policies, sums, course) for label in policies]
    verdicts = _verdicts(course, sums, points)
    _say(course, points, verdicts)
    return {"course": asdict(course), "points": [asdict(p) for p in points], "verdicts": verdicts}


def _label(course: Course, value: float) -> str:
    return f"spark, {course.name} {value:g}"


def _counted(course: Course, value: float, seed: int, asked: argparse.Namespace) -> dict[str, Counts]:
    sets = [*course.sets, f"train.variant.spark.{course.name}={value}"]
    critic = "-critic" if course.sets else ""
    bench = replicate(seed, asked, POLICIES, f"{critic}-{course.name}-{value:g}", sets)
    type_of = types_of(bench)
    return answers_of(bench, POLICIES, sorted(set(type_of.values())), type_of)


def _point(label: str, policies: dict[str, list[Counts]], sums: dict[str, Sums], course: Course) -> Point:
    counts, of = policies[label], sums[label]
    entropy, accuracy = MEASURES["entropy_bits"], MEASURES["accuracy"]
    alone = [of.of_seed(i) for i in range(len(counts))]
    change = None if label in CONTROLS else accuracy_change(counts, policies[_label(course, course.values[0])])
    return Point(
        label,
        estimate(entropy(of)),
        estimate(MEASURES["entropy_within_type_bits"](of)),
        float(accuracy(of)[0]),
        change,
        accuracy_change(counts, policies["base"]),
        [(float(entropy(one)[0]), float(accuracy(one)[0])) for one in alone],
    )


def _verdicts(course: Course, sums: dict[str, Sums], points: Sequence[Point]) -> list[dict[str, str]]:
    """What was to be shown: "holds", "does not hold" or "not shown", and by which figures."""
    doses = [point for point in points if point.change is not None]
    sign, word = (1, "rises") if course.rises else (-1, "falls")
    ends = difference(MEASURES["entropy_bits"], sums[doses[-1].label], sums[doses[0].label])
    low, high = sorted((sign * ends.low, sign * ends.high))
    steps = [sign * (b.entropy.value - a.entropy.value) for a, b in pairwise(doses)]
    shown = min(steps) > 0 and sign * ends.value >= LEAST_BITS and low > 0
    seeds = [sign * (last[0] - first[0]) for first, last in zip(doses[0].by_seed, doses[-1].by_seed, strict=True)]
    entropy = {
        "claim": f"entropy {word} with {course.name}, by {LEAST_BITS} bits or more from end to end",
        "verdict": "holds" if shown else "does not hold" if high < LEAST_BITS else "not shown",
        "says": f"{ends.value:+.2f} ({ends.low:+.2f}, {ends.high:+.2f}) bits, from dose to dose "
        f"{', '.join(f'{sign * step:+.2f}' for step in steps)}; by seed {', '.join(f'{sign * s:+.2f}' for s in seeds)}",
    }
    first = {"than at the first dose": [p.change for p in doses[1:]], "than base": [p.from_base for p in doses]}
    return [entropy, *(_held(against, [e for e in changes if e]) for against, changes in first.items())]


def _held(against: str, changes: Sequence[Estimate]) -> dict[str, str]:
    verdicts = [not_worse(change, MARGIN) for change in changes]
    worst = next(v for v in ("does not hold", "not shown", "holds") if v in verdicts)
    says = "; ".join(_points(change) for change in changes)
    claim = f"accuracy at no dose more than {100 * MARGIN:.0f} points lower {against}"
    return {"claim": claim, "verdict": worst, "says": f"points, by dose: {says}"}


def _points(e: Estimate) -> str:
    return f"{100 * e.value:+.1f} ({100 * e.low:+.1f}, {100 * e.high:+.1f})"


def _say(course: Course, points: Sequence[Point], verdicts: Sequence[dict[str, str]]) -> None:
    """The frontier: accuracy against entropy, the least diverse first; and what follows."""
    console, seeds = Console(highlight=False), len(points[0].by_seed)
    title = f"{course.title}: entropy and accuracy, the frontier beside SFT on selected ({seeds} seeds)"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for heading in ("policy", "entropy, bits", "within type", "accuracy, %", "minus base, points"):
        table.add_column(heading, justify="left" if heading == "policy" else "right", no_wrap=True)
    for p in sorted(points, key=lambda p: p.entropy.value):
        bits = f"{p.entropy.value:.2f} ({p.entropy.low:.2f}-{p.entropy.high:.2f})"
        base = "" if p.label == "base" else _points(p.from_base)
        table.add_row(p.label, bits, f"{p.within.value:.2f}", f"{100 * p.accuracy:.1f}", base)
    console.print(table)
    for p in points:
        each = ", ".join(f"{bits:.2f} at {100 * accuracy:.1f} %" for bits, accuracy in p.by_seed)
        console.print(f"  {p.label}, by seed: {each}", soft_wrap=True)
    for verdict in verdicts:
        console.print(f"{verdict['verdict']}: {verdict['claim']}", style="bold", soft_wrap=True)
        console.print(f"  {verdict['says']}", soft_wrap=True)
