"""select, step t: take one viable candidate per state, rare tools first, run its tool, and see whether the rollout ends.

reads   candidates and scores of step t; questions; steps of the rounds before
writes  steps: one row per state of step t, in the order of the candidates
asks    the tools: once per choice that is not `cot`

Usage is counted over all rollouts and all rounds so far, in the order of the rows. A rollout ends when `cot` commits
to an answer, after the last step, or where nothing could be selected; what fails is a row with its error. Unanswered at
the last step is wrong; ended because no candidate has a score, which is an outage, is neither right nor wrong.
"""

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from sparkctl.config import outages
from sparkctl.config.outages import USUAL, MaxFailed
from sparkctl.config.settings import Settings, Use
from sparkctl.errors import SparkError
from sparkctl.method import judging, rollouts, selection, tables
from sparkctl.method.episode import ACTIONS, COT, COT_OBSERVATION
from sparkctl.method.ids import seed_of
from sparkctl.method.ports import Inputs
from sparkctl.stages.stage import Context, Outputs, Stage
from sparkctl.tools.settings import Tools


class Select(Settings):
    """What decides the choice."""

    knobs: ClassVar[frozenset[str]] = frozenset({"max_failed"})
    uses = (Use(("temperature", "seed"), lambda s: s.rule == "softmax", 'without rule = "softmax"', keyed=True),)

    step: int = 1
    """Which step is selected, from 1. Set by the pipeline."""
    steps: int = 5
    """Steps after which a rollout ends, answered or not. From synth.toml."""
    rule: selection.Rule = "rarest_viable"
    threshold: float = Field(6.0, ge=0, le=10)
    """What makes a score viable. The paper: "above 6.0"."""
    viable: selection.Viable = "at_least"
    """Whether the threshold itself is viable: at_least, it is; above, it is not."""
    when_none_viable: Literal["best", "end"] = "best"
    """Take the best score all the same, or end the rollout."""
    cot_competes: bool = True
    """False: `cot` is left out wherever a tool is viable."""
    last_step: Literal["answer", "rule"] = "rule"
    """At the last step. answer: a viable `cot` whose answer names an option is taken, whatever the rule and cot_competes, for
    a tool there leads nowhere; without such a `cot`, and with "rule", all is as at any other step."""
    temperature: float = Field(1.0, gt=0)
    """Of the rule `softmax`, in points of the score."""
    seed: int = 0
    max_failed: MaxFailed = USUAL
    """Knob: share of the states without any score, of the policy's or the judge's outages, above which the stage ends."""
    tools: Tools

    @property
    def answer_first(self) -> bool:
        """Whether an answer goes before a tool: nothing comes after this step."""
        return self.last_step == "answer" and self.step >= self.steps

    def identity(self) -> dict[str, Any]:
        """What does not act here makes nothing stale: the last step's rule elsewhere, viable as it always was."""
        idle = {"last_step": not self.answer_first, "viable": self.viable == "at_least"}
        return {k: v for k, v in super().identity().items() if not idle.get(k)}

    @model_validator(mode="after")
    def _something_can_be_viable(self) -> "Select":
        if self.viable == "above" and self.threshold >= judging.HIGHEST:
            raise ValueError(
                f'viable = "above" with threshold = {self.threshold:g}: no score is above {judging.HIGHEST:g}'
            )
        return self


def run(inputs: Inputs, settings: Select, context: Context) -> Outputs:
    """See the module's docstring."""
    questions = {q["question_id"]: q for q in inputs["questions"].to_pylist()}
    groups = rollouts.states(inputs["candidates"])
    _check_step(groups, settings.step)
    scores = _matrix(groups, inputs["scores"])
    chosen = selection.select(
        scores,
        _usage(inputs.get("steps")),
        rule=settings.rule,
        threshold=settings.threshold,
        viable=settings.viable,
        answers=_answers(groups, questions) if settings.answer_first else None,
        when_none_viable=settings.when_none_viable,
        cot_competes=settings.cot_competes,
        temperature=settings.temperature,
        seed=seed_of(settings.seed, settings.step),
    )
    faults = _faults(inputs["scores"])
    rows = [_row(group, scores, chosen, i, faults, settings) for i, group in enumerate(groups)]
    _settle(rows, settings, context)
    calls = [row for row in rows if row["tool_name"] not in (None, COT)]
    assert context.tools is not None
    replies = context.tools([{"tool_name": row["tool_name"], "query": row["action_query"]} for row in calls])
    for row, reply in zip(calls, replies, strict=True):
        row |= rollouts.observed(reply)
    for row in rows:
        row |= _closing(row, questions, settings)
    return {"steps": tables.from_rows("steps", rows)}


def _settle(rows: list[dict[str, Any]], settings: Select, context: Context) -> None:
    outages.settle(
        "select",
        "states have no candidate with a score",
        len(rows),
        [row["error"] for row in rows if _is_lost(row)],
        settings.max_failed,
        context.warn,
        then="these rollouts end, neither right nor wrong",
        mend="`sparkctl select --retry-failed` asks policy and judge again",
    )


def _is_lost(row: dict[str, Any]) -> bool:
    """Whether an outage ended the rollout here: of no candidate there is a score."""
    return row["best_score"] is None


def _check_step(groups: list[list[dict[str, Any]]], step: int) -> None:
    if found := {group[0]["step_idx"] for group in groups} - {step}:
        raise SparkError(
            f"candidates: are of step {min(found)}, not of step {step}; give those of step {step}, or another --step"
        )


def _matrix(groups: list[list[dict[str, Any]]], scores: Any) -> NDArray[np.float64]:
    """(state, action): mean score over the judges, NaN where there is none."""
    given = rollouts.mean_scores(scores)
    matrix = np.full((len(groups), len(ACTIONS)), np.nan)
    for i, group in enumerate(groups):
        for row in group:
            rollout, step, tool = key = rollouts.key_of(row)
            if key not in given:
                raise SparkError(
                    f"scores: no row for rollout_id={rollout}, step_idx={step}, tool_name={tool}; judge it first"
                )
            if row["error"] is None and given[key] is not None:
                matrix[i, ACTIONS.index(tool)] = given[key]
    return matrix


def _usage(steps: Any) -> NDArray[np.int64]:
    """How often each action was selected in the rounds before."""
    taken = steps["tool_name"].to_pylist() if steps else []
    return np.array([taken.count(action) for action in ACTIONS], dtype=np.int64)


def _answers(groups: list[list[dict[str, Any]]], questions: dict[int, Any]) -> NDArray[np.bool_]:
    """(state,): whether its `cot` commits to an answer that names an option."""
    found = np.zeros(len(groups), bool)
    for i, group in enumerate(groups):
        question = rollouts.question_of(questions, group[0]["question_id"], "candidates")
        readings = [rollouts.answer_of(question, row["tool_name"], row["action_query"])[1] for row in group]
        found[i] = any(readings)
    return found


def _faults(scores: Any) -> dict[tuple[str, int], str]:
    """State -> why a candidate of it has no score."""
    rows = scores.select(["rollout_id", "step_idx", "error"]).to_pylist()
    return {(row["rollout_id"], row["step_idx"]): row["error"] for row in reversed(rows) if row["error"]}


def _row(
    group: list[dict[str, Any]],
    scores: NDArray[np.float64],
    chosen: selection.Selection,
    i: int,
    faults: dict[tuple[str, int], str],
    settings: Select,
) -> dict[str, Any]:
    first, pick = group[0], int(chosen.chosen[i])
    judged = scores[i][~np.isnan(scores[i])]
    fallback = f"none_viable:{settings.when_none_viable}"
    row = {
        **{name: first[name] for name in ("rollout_id", "step_idx", "question_id", "sample_id")},
        "observation_ok": True,
        "best_score": float(judged.max()) if len(judged) else None,
        "viable": int(chosen.viable[i]),
        "rule": "last_step:answer" if chosen.answered[i] else settings.rule if chosen.viable[i] else fallback,
        "usage": chosen.usage[i].tolist(),
    }
    if pick == selection.NONE:
        return row | {"tool_name": None, "observation_ok": False, "error": _why_nothing(row, first, faults, settings)}
    taken = next(c for c in group if c["tool_name"] == ACTIONS[pick])
    return row | {
        **{name: taken[name] for name in ("tool_name", "thought", "action_query")},
        "chosen_score": float(scores[i, pick]),
        "observation": COT_OBSERVATION,
    }


def _why_nothing(
    row: dict[str, Any], first: dict[str, Any], faults: dict[tuple[str, int], str], settings: Select
) -> str:
    if not _is_lost(row):
        passing = "is above" if settings.viable == "above" else "reaches"
        return f"no score {passing} the threshold {settings.threshold}"
    judge = faults.get((row["rollout_id"], row["step_idx"]))
    return first["error"] or "no candidate has a score" + (f": {judge}" if judge else "")


def _closing(row: dict[str, Any], questions: dict[int, Any], settings: Select) -> dict[str, Any]:
    """Whether the rollout ends here, and with which answer."""
    question = rollouts.question_of(questions, row["question_id"], "candidates")
    written, reading = rollouts.answer_of(question, row["tool_name"], row.get("action_query"))
    done = written is not None or row["tool_name"] is None or row["step_idx"] >= settings.steps
    return {
        "done": done,
        "final_answer_parsed": reading.letter if reading else None,
        "is_correct": rollouts.is_correct(question, reading) if done and not _is_lost(row) else None,
    }


STAGE = Stage(
    "select",
    3,
    Select,
    run,
    "take one viable candidate per state and run its tool",
    ("candidates", "scores", "questions"),
    ("steps",),
    ("steps",),
)
