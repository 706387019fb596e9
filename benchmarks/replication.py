"""Runs of the pipeline on nano, one per seed, and what their policies answered, counted. Used by science.py and doses.py."""

import argparse
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence

import numpy as np

from sparkctl.errors import SparkError
from sparkctl.pipeline.experiment import Workbench
from sparkctl.report.figures.conditional import Counts, counted
from sparkctl.report.figures.statistics import Array, Estimate, difference_over_seeds


def replicate(
    seed: int, asked: argparse.Namespace, policies: Sequence[str], name: str = "", sets: Sequence[str] = ()
) -> Workbench:
    """One seed's run, brought up to date by `sparkctl eval` as a user types it, and opened for reading."""
    settings = [f"{section}.seed={seed}" for section in ("synth", "train", "eval")]
    settings += [f"eval.limit={asked.limit}", f"eval.policies={json.dumps(list(policies))}", *sets, *asked.sets]
    run = f"science-{seed}{name}".replace(".", "_")
    command = [sys.executable, "-m", "sparkctl", "eval", "--json", "--run", run, "--data", str(asked.data)]
    print(f"{run}: sparkctl eval {' '.join(sets)}", file=sys.stderr, flush=True)
    ended = subprocess.run(command + [w for s in settings for w in ("--set", s)], stdout=subprocess.PIPE, check=False)
    if ended.returncode:
        raise SparkError(f"{run}: sparkctl eval ended with {ended.returncode}; what it says is above")
    return Workbench.open("nano", run, tuple(settings), asked.data, None)


def answers_of(
    bench: Workbench, policies: Sequence[str], types: Sequence[str], type_of: dict[int, str]
) -> dict[str, Counts]:
    """Policy -> its answers, counted; refused where the policies were not asked the same."""
    found = {policy: bench.table("answers", policy) for policy in policies}
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


def accuracy_change(one: Sequence[Counts], other: Sequence[Counts]) -> Estimate:
    """Accuracy of `one` minus that of `other`, paired by question, over the seeds."""
    changes: list[Array] = [
        np.asarray(a.correct / a.asked - b.correct / b.asked) for a, b in zip(one, other, strict=True)
    ]
    return difference_over_seeds(changes)
