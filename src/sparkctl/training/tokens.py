"""Judged states in tokens: the prompt exactly as `synth` put it to the policy, and each candidate as it was sampled."""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sparkctl.errors import SparkError
from sparkctl.method import chat, rollouts
from sparkctl.method.episode import ACTIONS, INPUT, flat, messages, system_prompt
from sparkctl.method.ports import Inputs

_SAMPLE = 64
"""Candidates whose tokens are read back as text: enough to notice another tokenizer."""


@dataclass(frozen=True)
class Reader:
    """What it takes to read a policy's tokens."""

    tokenizer: Any
    longest: int
    """Positions that the model has."""
    vocabulary: int
    """Token ids that the model knows."""
    system: str

    @classmethod
    def of(cls, learner: Any, settings: Any) -> "Reader":
        """The reader for a stage's settings (`prompt`, `descriptions`)."""
        system = system_prompt(settings.prompt, settings.descriptions)
        return cls(learner.tokenizer, learner.longest, learner.vocabulary, system)

    def prompt(
        self, question: Mapping[str, Any], before: list[dict[str, Any]], thought_ids: list[int], thought: str
    ) -> list[int]:
        """Everything before the action: the state, the opening of the turn, the thought as it was sampled."""
        state = chat.encode_chat(self.tokenizer, messages(rollouts.state_of(question, before), self.system))
        turn = chat.thought_prefix(self.tokenizer) + thought_ids
        return state + turn + chat.action_prefix(self.tokenizer, thought_ids, thought)

    def names(self) -> list[list[int]]:
        """The nine actions' names as `synth` forces them."""
        return [chat.encode_text(self.tokenizer, f" {action}{INPUT}") for action in ACTIONS]


@dataclass(frozen=True)
class Candidate:
    """A candidate in tokens, or why it has none to train on."""

    ids: list[int]
    error: str | None = None
    logprobs: Sequence[float] = ()
    """Of each token under the policy that wrote it; empty where the table has none."""
    cut: bool = False
    """Whether its writing ended at the token limit, not by itself."""


@dataclass(frozen=True)
class State:
    """A state and its candidates, by action."""

    rollout_id: str
    step_idx: int
    question_id: int
    prompt_ids: Sequence[int]
    candidates: dict[str, Candidate]


def states(inputs: Inputs, reader: Reader, policy: str) -> Iterator[State]:
    """The states of the candidates table, in its order. Raises SparkError where its tokens are not this policy's.

    A candidate that failed, or is longer than the model's context together with its state, carries an error.
    """
    questions = {q["question_id"]: q for q in inputs["questions"].to_pylist()}
    history = rollouts.by_rollout(inputs.get("steps"))
    _check_tokens(inputs["candidates"], reader, policy)
    for rows in _by_state(inputs["candidates"]):
        first = rows[0]
        question = rollouts.question_of(questions, first["question_id"], "candidates")
        before = [row for row in history[first["rollout_id"]] if row["step_idx"] < first["step_idx"]]
        _check_history(first, before)
        said = next(((row["thought_ids"], row["thought"]) for row in rows if row["thought_ids"] is not None), None)
        # Four bytes a token: a list of Python's integers takes nine times as much, and there are thousands of states.
        prompt = array("i", [] if said is None else reader.prompt(question, before, *said))
        candidates = {row["tool_name"]: _candidate(row, len(prompt), reader.longest) for row in rows}
        yield State(first["rollout_id"], first["step_idx"], first["question_id"], prompt, candidates)


def _check_history(row: Mapping[str, Any], before: list[dict[str, Any]]) -> None:
    """Refuse a state whose steps are not all there: its prompt would be another one."""
    there = [step["step_idx"] for step in before]
    missing = next((i for i in range(1, row["step_idx"]) if i not in there), None)
    if missing is not None:
        raise SparkError(
            f"steps: no row for {row['rollout_id']}, step {missing}, which its step {row['step_idx']} follows; give the "
            f"steps of all rounds"
        )


def _candidate(row: Mapping[str, Any], before: int, longest: int) -> Candidate:
    if row["error"] is not None or not row["action_ids"] or row["thought_ids"] is None:
        return Candidate([], "the candidate failed")
    if before + len(row["action_ids"]) > longest:
        return Candidate([], f"longer than the model's context of {longest} tokens")
    logprobs = array("f", row["action_logprobs"] or ())
    return Candidate(row["action_ids"], logprobs=logprobs, cut=row["finish"] == "length")


def _by_state(candidates: pa.Table) -> list[list[dict[str, Any]]]:
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    whose = ["rollout_id", "step_idx", "tool_name", "question_id"]
    written = ["thought", "thought_ids", "action_ids", "action_logprobs", "finish", "error"]
    for row in candidates.select(whose + written).to_pylist():
        groups.setdefault((row["rollout_id"], row["step_idx"]), []).append(row)
    return list(groups.values())


def _check_tokens(candidates: pa.Table, reader: Reader, policy: str) -> None:
    """Refuse tokens that another policy or tokenizer made: they would train without a word on something else."""
    for other in pc.unique(candidates["policy"]).to_pylist():
        if other != policy:
            raise SparkError(f"candidates: written by policy '{other}', whose tokens are not those of '{policy}'")
    size = reader.vocabulary
    for column in ("thought_ids", "action_ids"):
        ids = pc.list_flatten(candidates[column])
        if len(ids) and (pc.max(ids).as_py() >= size or pc.min(ids).as_py() < 0):
            raise SparkError(
                f"candidates: column '{column}' holds token ids outside the vocabulary of '{policy}' (0 to {size - 1}); "
                f"run synth again with this policy"
            )
    good = candidates.filter(pc.is_null(candidates["error"]))
    for row in good.slice(0, _SAMPLE).to_pylist():
        read = flat(reader.tokenizer.decode(row["action_ids"] or []))
        said = f"{row['tool_name']}{INPUT}{row['action_query']}"  # its query is stored without the space around it
        if row["action_ids"] and "".join(said.split()) not in "".join(read.split()):
            raise SparkError(
                f"candidates: the token ids of {row['rollout_id']}, step {row['step_idx']}, {row['tool_name']} read "
                f"'{read[:40]}' with the tokenizer of '{policy}', not what its text says; run synth again with this policy"
            )
