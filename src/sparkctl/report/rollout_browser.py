"""Single rollouts for a reader to walk through: all that is known of each, from the tables as far as they go."""

from collections import defaultdict
from typing import Any

from sparkctl.method.episode import ACTIONS
from sparkctl.report.run_tables import Material

RIGHT, WRONG, UNANSWERED, FAILED, UNDER_WAY = "right", "wrong", "no answer", "a call failed", "not finished"


def rollouts(run: Material) -> list[dict[str, Any]]:
    """One record per rollout, in the order of the questions; empty where there are no candidates."""
    questions = {row["question_id"]: row for row in run.joined("questions")}
    scores = _by_candidate(run)
    steps = {(row["rollout_id"], row["step_idx"]): row for row in run.joined("steps")}
    found: dict[str, dict[str, Any]] = {}
    for (rollout, step_idx), candidates in _by_step(run).items():
        first = candidates[0]
        if rollout not in found:
            found[rollout] = _opened(rollout, first, questions.get(first["question_id"], {}))
        step = steps.get((rollout, step_idx), {})
        shown = [_candidate(row, scores[rollout, step_idx, row["tool_name"]]) for row in candidates]
        found[rollout]["steps"].append(_step(step, first, shown))
        _note_outcome(found[rollout], step)
    return list(found.values())


def _by_step(run: Material) -> dict[tuple[str, int], list[dict[str, Any]]]:
    """(rollout, step) -> its candidates in the order of the action set; steps in their order."""
    needed = ["rollout_id", "step_idx", "tool_name", "question_id", "sample_id", "thought", "action_query", "error"]
    rows = [row for part in run.parts("candidates").values() for row in part.select(needed).to_pylist()]
    found: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row["step_idx"], ACTIONS.index(row["tool_name"]))):
        found[row["rollout_id"], row["step_idx"]].append(row)
    return found


def _by_candidate(run: Material) -> dict[tuple[str, int, str], list[dict[str, Any]]]:
    """Candidate -> what each judge said of it."""
    found: dict[tuple[str, int, str], list[dict[str, Any]]] = defaultdict(list)
    for row in run.joined("scores"):
        found[row["rollout_id"], row["step_idx"], row["tool_name"]].append(row)
    return found


def _opened(rollout: str, row: dict[str, Any], question: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": rollout,
        "question": question.get("question", f"question {row['question_id']} (its text is not in this run)"),
        "options": question.get("options", []),
        "correct": question.get("answer"),
        "category": question.get("category", ""),
        "answer": None,
        "outcome": UNDER_WAY,
        "steps": [],
    }


def _step(step: dict[str, Any], first: dict[str, Any], candidates: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "thought": step.get("thought") or first["thought"],
        "taken": step.get("tool_name"),
        "rule": step.get("rule"),
        "observation": step.get("observation"),
        "ok": step.get("observation_ok"),
        "error": step.get("error"),
        "candidates": candidates,
    }


def _candidate(row: dict[str, Any], judged: list[dict[str, Any]]) -> dict[str, Any]:
    """With several judges the score is the mean of those that gave one."""
    given = [of["score"] for of in judged if of["score"] is not None]
    said = [of["reason"] or of["error"] for of in judged]
    return {
        "tool": row["tool_name"],
        "query": row["action_query"],
        "error": row["error"],
        "score": round(sum(given) / len(given), 2) if given else None,
        "reason": " / ".join(words for words in said if words) or None,
    }


def _note_outcome(rollout: dict[str, Any], step: dict[str, Any]) -> None:
    if step.get("done"):
        rollout["answer"] = step["final_answer_parsed"]
        ends = {True: RIGHT, False: WRONG if rollout["answer"] else UNANSWERED, None: FAILED}
        rollout["outcome"] = ends[step["is_correct"]]
