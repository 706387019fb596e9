"""Rollouts as the stages see them: the states that the steps so far lead to, and the closing of an episode."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from sparkctl.errors import SparkError
from sparkctl.method.answers import Reading, read_strict
from sparkctl.method.episode import LETTERS, State, Step, read_answer
from sparkctl.method.ids import digest, rollout_id
from sparkctl.method.ports import Reply

PADDING = "N/A"
"""An option of MMLU-Pro that only fills up the list."""
CandidateKey = tuple[str, int, str]
"""(rollout_id, step_idx, tool_name)"""


@dataclass(frozen=True)
class Rollout:
    """One rollout before a step: its question's row, which sample it is, and the state it is in."""

    id: str
    question: Mapping[str, Any]
    sample_id: int
    state: State


def live(questions: pa.Table, steps: pa.Table | None, samples: int) -> list[Rollout]:
    """The rollouts that go on, in the order of the questions: those whose last step is not `done`."""
    taken = by_rollout(steps)
    rollouts = []
    for question in questions.to_pylist():
        for sample in range(samples):
            name = rollout_id(question["question_id"], sample)
            rows = taken.get(name, [])
            if not (rows and rows[-1]["done"]):
                rollouts.append(Rollout(name, question, sample, state_of(question, rows)))
    return rollouts


def by_rollout(steps: pa.Table | None) -> dict[str, list[dict[str, Any]]]:
    """Rows of the steps table per rollout, in step order."""
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in sorted(steps.to_pylist() if steps else [], key=lambda row: row["step_idx"]):
        rows[row["rollout_id"]].append(row)
    return rows


def state_of(question: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> State:
    """The state that these executed steps of a question lead to."""
    done = tuple(Step(r["thought"], r["tool_name"], r["action_query"], r["observation"]) for r in rows)
    return State(question["question"], tuple(question["options"]), done)


def states(candidates: pa.Table) -> list[list[dict[str, Any]]]:
    """The candidates grouped by state, both in the order in which they stand."""
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in candidates.select(
        [c for c in candidates.column_names if not c.endswith(("_ids", "_logprobs"))]
    ).to_pylist():
        groups.setdefault((row["rollout_id"], row["step_idx"]), []).append(row)
    return list(groups.values())


def observed(reply: Reply) -> dict[str, Any]:
    """The columns that a tool's reply fills. A port that failed is an observation too: the policy reads it and goes on."""
    if reply.body is None:
        return {"observation": f"error: {reply.error}", "observation_ok": False, "error": reply.error}
    return {"observation": reply.body["text"], "observation_ok": reply.body["ok"]}


def mean_scores(scores: pa.Table) -> dict[CandidateKey, float | None]:
    """Candidate -> its mean score over the judges; None where no judge scored it."""
    given: dict[CandidateKey, list[float]] = {}
    for row in scores.to_pylist():
        kept = given.setdefault(key_of(row), [])
        if row["score"] is not None:
            kept.append(row["score"])
    return {key: sum(kept) / len(kept) if kept else None for key, kept in given.items()}


def key_of(row: Mapping[str, Any]) -> CandidateKey:
    """What tells one candidate from all others."""
    return row["rollout_id"], row["step_idx"], row["tool_name"]


def answer_of(
    question: Mapping[str, Any], tool_name: str | None, action_query: str | None
) -> tuple[str | None, Reading | None]:
    """What a step answers, as written and as read; (None, None) where it commits to nothing.

    All that the cot says is read, as `sparkctl score` reads an output: the two never differ on the same text.
    """
    written = read_answer(tool_name, action_query)
    return written, None if written is None else read_strict(str(action_query), question["options"])


def is_correct(question: Mapping[str, Any], reading: Reading | None) -> bool:
    """Whether the letter is the right one. `answer` counts, `answer_index` may contradict it (MMLU-Pro 3983)."""
    return reading is not None and reading.letter == question["answer"]


def clean(question: Mapping[str, Any]) -> dict[str, Any] | None:
    """The question without blanks around its texts and without options that only say "N/A"; None where no correct
    option is left."""
    index = LETTERS.find(question["answer"]) if len(question["answer"]) == 1 else -1
    if not 0 <= index < len(question["options"]):
        return None
    options = [(i, option.strip()) for i, option in enumerate(question["options"])]
    kept = [(i, text) for i, text in options if text != PADDING or i == index][: len(LETTERS)]
    place = next((n for n, (i, _) in enumerate(kept) if i == index), None)
    if place is None:
        return None
    texts = [text for _, text in kept]
    return {
        **question,
        "options": texts,
        "answer_index": place,
        "answer": LETTERS[place],
        "question": question["question"].strip(),
    }


def content(question: Mapping[str, Any]) -> str:
    """What makes two questions the same: text and options, whatever their blanks, case, order of options, and padding."""
    texts = [question["question"], *sorted(o for o in question["options"] if o.strip() != PADDING)]
    return digest([" ".join(text.split()).casefold() for text in texts])


def question_of(questions: Mapping[int, Any], question_id: int, where: str) -> Any:
    """The row of a question, or a SparkError that names where the unknown id stands."""
    if question_id not in questions:
        raise SparkError(
            f"{where}: question_id {question_id} is not in the questions table; give the table it was made from"
        )
    return questions[question_id]
