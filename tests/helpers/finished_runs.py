"""A run made by hand, small or large, for the tests of the report."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from helpers.tables_and_fakes import fork_rows, question, step_row
from sparkctl.method import checks, tables
from sparkctl.method.episode import ACTIONS
from sparkctl.method.ids import digest
from sparkctl.storage.files import write_table
from sparkctl.storage.store import Store

Rows = list[dict[str, Any]]
HOSTILE = "</script><script>document.title='taken'</script><img src=x onerror=alert(1)>"
"""What a model may write."""


def answers(policy: str, right: Sequence[bool], tools: Callable[[int], Sequence[str]]) -> pa.Table:
    """One answer to each of the questions 1, 2, ..."""
    rows = [
        {
            "policy": policy,
            "question_id": i + 1,
            "sample_id": 0,
            "category": question(i + 1)["category"],
            "tools": list(tools(i)),
            "failed_calls": 0,
            "unreadable_turns": 0,
            "steps": 2,
            "output": "",
            "answer": "A" if correct else "B",
            "is_correct": bool(correct),
        }
        for i, correct in enumerate(right)
    ]
    return tables.from_rows("answers", rows)


def sampled(*questions: Sequence[tuple], category: Callable[[int], str] = lambda q: "math", **columns: Any) -> pa.Table:
    """Answers of one policy: per question its samples as (right, tools) or (right, tools, answer)."""
    rows = [
        {
            "policy": "p",
            "question_id": i + 1,
            "sample_id": k,
            "category": category(i + 1),
            "tools": list(of[1]),
            "failed_calls": 0,
            "unreadable_turns": 0,
            "steps": len(of[1]) + 1,
            "output": "",
            "answer": of[2] if len(of) > 2 else "A" if of[0] else "B",
            "is_correct": bool(of[0]),
        }
        | columns
        for i, samples in enumerate(questions)
        for k, of in enumerate(samples)
    ]
    return checks.check(tables.from_rows("answers", rows), "answers", "by hand")


def updates(n: int = 5) -> pa.Table:
    """A training that moves."""
    rows = [
        {
            "update": i + 1,
            "epoch": 1,
            "policy_loss": -1.0 - i,
            "approx_kl": 0.01 * i,
            "clip_frac": 0.1 * i,
            "entropy": 0.1,
            "reward": 0.5 + 0.01 * i,
        }
        | {"tool_entropy": 2.0 + 0.1 * i, "grad_norm": 1.0, "lr": 1e-3, "tokens": 100}
        for i in range(n)
    ]
    return tables.from_rows("updates", rows)


def credit() -> pa.Table:
    """Two actions paid, one dropped."""
    paid = {"quality": 0.8, "rarity": 0.3, "correctness": None, "reward": 1.1, "advantage": 0.5, "trained_tokens": 4}
    base = {"rollout_id": "q1-s0", "step_idx": 1}
    rows = [
        base | paid | {"tool_name": "search"},
        base | paid | {"tool_name": "cot", "correctness": 0.4, "reward": 1.5, "advantage": -0.5},
        base | {"tool_name": "wikipedia", "trained_tokens": 0, "dropped_because": "it failed"},
    ]
    return tables.from_rows("credit", rows)


def rollouts(n: int, steps: int = 2, text: str = "", reason: str = "because") -> Mapping[str, pa.Table]:
    """n rollouts: even ones end right; the k-th takes the k-th action first and ends by a cot. `text` is in what the
    policy wrote of the first one."""
    made: dict[str, Rows] = {}
    for i, step_idx in itertools.product(range(n), range(1, steps + 1)):
        last, tool = step_idx == steps, ACTIONS[-1] if step_idx == steps else ACTIONS[i % len(ACTIONS)]
        rollout = {"rollout_id": f"q{i + 1}-s0", "question_id": i + 1}
        scores = {action: float((i + k) % 10) for k, action in enumerate(ACTIONS)}
        candidates, judged = fork_rows("q1-s0", scores, step_idx, {"search": f"{text if i == 0 else ''}{i}"})
        ended = {"done": last, "final_answer_parsed": "A" if last else None, "is_correct": i % 2 == 0 if last else None}
        taken = step_row("q1-s0", step_idx=step_idx, tool_name=tool, chosen_score=9.0 if i % 2 == 0 else 3.0, **ended)
        taken |= {
            "thought": text if i == 0 and text else f"thought {i}",
            "observation": f"seen {i} {text if i == 0 else ''}",
        }
        made.setdefault(f"candidates.{step_idx}", []).extend(row | rollout for row in candidates)
        spoken = [
            {k: v for k, v in row.items() if k != "question_id"} | {"rollout_id": rollout["rollout_id"]}
            for row in judged
        ]
        made.setdefault(f"scores.{step_idx}", []).extend(row | {"reason": reason, "cost_usd": 0.001} for row in spoken)
        made.setdefault(f"steps.{step_idx}", []).append(taken | rollout)
    return {artifact: tables.from_rows(artifact.partition(".")[0], rows) for artifact, rows in made.items()}


def evaluated(n: int = 200) -> Mapping[str, pa.Table]:
    """Answers of three policies: base takes one tool, spark two; sft_best loses one question in four."""
    return {
        "answers.base": answers("base", [True] * n, lambda i: ["search"]),
        "answers.sft_best": answers("sft_best", [i % 4 != 0 for i in range(n)], lambda i: ["search"]),
        "answers.spark": answers("spark", [i != 0 for i in range(n)], lambda i: ["search" if i % 2 else "calculator"]),
    }


def whole(n: int = 12, text: str = "") -> dict[str, pa.Table]:
    """The tables of a finished run of n rollouts."""
    asked = [question(i + 1, question=f"{text} what is {i}?" if i == 0 else f"what is {i}?") for i in range(n)]
    trained = {"updates.spark": updates(), "credit.spark": credit(), "updates.sft_best": updates()}
    return {"questions": tables.from_rows("questions", asked), **rollouts(n, text=text), **trained, **evaluated()}


def kept(data: Path, made: Mapping[str, pa.Table], run: str = "default", policy: str = "nano") -> Store:
    """These tables as a run on disk."""
    store = Store(data, run)
    for artifact, table in made.items():
        name = artifact.partition(".")[0]
        of = {
            "stage": name,
            "version": 1,
            "settings": {"policy": policy, "seed": 7},
            "inputs": {"questions": ["ab" * 32]},
        }
        path = store.place(artifact, digest([artifact, table.to_pylist()]))
        write_table(table, name, path, of)
        store.link(artifact, path)
    store.log(node="judge.1", why="not made yet", seconds=2.5, asked=3, remembered=1)
    return store
