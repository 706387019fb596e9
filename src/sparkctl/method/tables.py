"""THE CONTRACT: every table that passes between stages, its columns, types, units and null rules, and `check`.

A stage may be swapped for any program that reads and writes Parquet files of these schemas. `sparkctl schema` prints
this module. Names follow MMLU-Pro's files and the paper's published data set where these have one.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from sparkctl.errors import SparkError, did_you_mean
from sparkctl.method.episode import ACTIONS, CATEGORIES, TOOLS

TEXT, WHOLE, REAL, BOOL = pa.string(), pa.int64(), pa.float64(), pa.bool_()


@dataclass(frozen=True)
class Column:
    """One column: its Arrow type, what it means (unit included), what null means ('' = never null), its allowed values.

    Of a list, the allowed values are those of its items.
    """

    name: str
    type: pa.DataType
    meaning: str
    null: str = ""
    among: tuple[str, ...] = ()
    within: tuple[float, float] | None = None
    """Lowest and highest value."""
    optional: bool = False
    """Tables made before there was this column may lack it: it is then null."""


@dataclass(frozen=True)
class Table:
    """One table of the contract. `key` columns together are unique."""

    name: str
    made_by: str
    row: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema, without metadata."""
        return pa.schema([pa.field(c.name, c.type, nullable=bool(c.null)) for c in self.columns])


_ROLLOUT = Column("rollout_id", TEXT, "id of the rollout: q<question_id>-s<sample_id>")
_STEP = Column("step_idx", WHOLE, "step within the rollout, from 1")
_TOOL = Column("tool_name", TEXT, "the action: one of eight tools, or cot", among=ACTIONS)
_QUESTION = Column("question_id", WHOLE, "id of the question")
_SAMPLE = Column("sample_id", WHOLE, "which of the rollouts of this question, from 0")
_ERROR = Column("error", TEXT, "why the call failed", null="it did not fail")

QUESTIONS = Table(
    "questions",
    "user",
    "question",
    ("question_id",),
    (
        _QUESTION,
        Column("question", TEXT, "the question's text"),
        Column("options", pa.list_(TEXT), "the options in order A, B, C, ...; at most ten"),
        Column("answer", TEXT, "letter of the correct option"),
        Column(
            "answer_index", WHOLE, "index of the correct option from 0; where it contradicts `answer`, `answer` counts"
        ),
        Column("cot_content", TEXT, "reference solution; may be empty"),
        Column("category", TEXT, "one of MMLU-Pro's fourteen", among=CATEGORIES),
        Column("src", TEXT, "where the question comes from"),
    ),
)
CANDIDATES = Table(
    "candidates",
    "synth",
    "rollout x action",
    ("rollout_id", "step_idx", "tool_name"),
    (
        _ROLLOUT,
        _STEP,
        _TOOL,
        _QUESTION,
        _SAMPLE,
        Column("policy", TEXT, "the policy model that wrote the row"),
        Column("thought", TEXT, "the step's thought, the same for its nine candidates", null="the call failed"),
        Column("action_query", TEXT, "the action's input", null="the call failed"),
        Column("thought_ids", pa.list_(pa.int32()), "token ids of the thought as sampled", null="the call failed"),
        Column(
            "thought_logprobs",
            pa.list_(pa.float32()),
            "natural-log probability of each, temperature 1",
            null="the call failed",
        ),
        Column("action_ids", pa.list_(pa.int32()), "token ids of name, input and end of turn", null="the call failed"),
        Column(
            "action_logprobs",
            pa.list_(pa.float32()),
            "natural-log probability of each, temperature 1",
            null="the call failed",
        ),
        Column("finish", TEXT, "why writing ended", null="the call failed", among=("stop", "length")),
        _ERROR,
    ),
)
SCORES = Table(
    "scores",
    "judge",
    "candidate x judge",
    ("rollout_id", "step_idx", "tool_name", "judge"),
    (
        _ROLLOUT,
        _STEP,
        _TOOL,
        Column("judge", TEXT, "the judge model"),
        Column(
            "score",
            REAL,
            "0 (harmful) to 10 (ideal), mean over votes",
            null="not judged; never counted as 0",
            within=(0.0, 10.0),
        ),
        Column("reason", TEXT, "the judge's words", null="none given"),
        Column("votes", WHOLE, "how many votes are in the score"),
        Column("cost_usd", REAL, "share of the call's price in US dollars", null="price unknown"),
        _ERROR,
    ),
)
STEPS = Table(
    "steps",
    "select",
    "rollout",
    ("rollout_id", "step_idx"),
    (
        _ROLLOUT,
        _STEP,
        _QUESTION,
        _SAMPLE,
        Column("thought", TEXT, "the step's thought", null="nothing could be selected"),
        Column("tool_name", TEXT, "the action taken", null="nothing could be selected", among=ACTIONS),
        Column("action_query", TEXT, "its input", null="nothing could be selected"),
        Column("observation", TEXT, "what came back, on one line", null="nothing could be selected"),
        Column("observation_ok", BOOL, "whether the call succeeded"),
        Column("chosen_score", REAL, "judge score of the action taken", null="not judged"),
        Column("best_score", REAL, "highest judge score of the nine", null="none was judged"),
        Column("viable", WHOLE, "how many of the nine were viable"),
        Column(
            "rule",
            TEXT,
            "the rule that chose; `none_viable:...` where nothing was viable, `last_step:answer` where the answer went first",
        ),
        Column(
            "usage",
            pa.list_(WHOLE),
            "how often each action had been selected before this choice, in the order of the action set",
        ),
        Column("done", BOOL, "whether the rollout ended with this step"),
        Column("final_answer_parsed", TEXT, "letter of the answer given", null="none given or not readable"),
        Column(
            "is_correct",
            BOOL,
            "whether that letter is right; no answer by the last step is not right",
            null="the rollout goes on, or failed calls of the policy or the judge ended it",
        ),
        _ERROR,
    ),
)
REFERENCE = Table(
    "reference",
    "reference",
    "candidate",
    ("rollout_id", "step_idx", "tool_name"),
    (
        _ROLLOUT,
        _STEP,
        _TOOL,
        Column(
            "logprobs",
            pa.list_(pa.float32()),
            "natural-log probability of each token of `action_ids` under the policy without an adapter",
            null="there is nothing to score",
        ),
        Column("prompt_tokens", WHOLE, "tokens before the action", null="there is nothing to score"),
        _ERROR,
    ),
)
UPDATES = Table(
    "updates",
    "train",
    "optimiser update",
    ("update",),
    (
        Column("update", WHOLE, "number of the update, from 1"),
        Column("epoch", WHOLE, "pass over the steps, from 1"),
        Column("policy_loss", REAL, "what the objective minimises, without KL"),
        Column(
            "reward",
            REAL,
            "mean reward of the update's actions, each weighed by how much likelier it is than under the frozen start, every "
            "state alike: sum(w r) / sum(w); where nothing has moved their plain mean. The start did not choose which actions "
            "were tried, so it is not what the policy would earn by itself",
            null="SFT has no reward, or made before it was recorded",
            optional=True,
        ),
        Column("value_loss", REAL, "loss of the critic", null="no critic"),
        Column(
            "approx_kl",
            REAL,
            "mean of r - 1 - log r over trained tokens, r against the frozen start, in nats; never negative",
        ),
        Column("clip_frac", REAL, "share of trained tokens outside the clip range", null="the objective has no ratio"),
        Column("entropy", REAL, "entropy of the next-token distribution on trained tokens, in nats"),
        Column(
            "tool_entropy",
            REAL,
            "entropy in bits of the nine actions' names as the policy would choose in the update's states, over all",
            null="packed as rows, and the names share tokens",
        ),
        Column("tool_entropy_within", REAL, "the same within a state, mean over states", null="as for tool_entropy"),
        Column("explained_variance", REAL, "of the returns by the critic", null="no critic"),
        Column("grad_norm", REAL, "norm of the gradient before clipping"),
        Column("lr", REAL, "learning rate"),
        Column("tokens", WHOLE, "trained tokens in the update"),
    ),
)
CREDIT = Table(
    "credit",
    "train",
    "step x action trained on",
    ("rollout_id", "step_idx", "tool_name"),
    (
        _ROLLOUT,
        _STEP,
        Column("tool_name", TEXT, "the action", null="nothing could be selected", among=ACTIONS),
        Column("quality", REAL, "weighted quality term of the reward", null="dropped, or SFT"),
        Column("rarity", REAL, "weighted rarity term of the reward", null="dropped, or SFT"),
        Column(
            "correctness",
            REAL,
            "weighted correctness term of the reward",
            null="dropped, SFT, not executed, or the outcome is not known",
        ),
        Column("reward", REAL, "sum of the terms", null="dropped, or SFT"),
        Column(
            "advantage", REAL, "what weighs the action; with a critic that of the first update; SFT: 1", null="dropped"
        ),
        Column("trained_tokens", WHOLE, "tokens that carry loss"),
        Column("dropped_because", TEXT, "why the action was not trained on", null="it was"),
    ),
)
ANSWERS = Table(
    "answers",
    "eval",
    "policy x question x sample",
    ("policy", "question_id", "sample_id"),
    (
        Column("policy", TEXT, "the policy's name in the recipe, or what its adapter's folder is called"),
        _QUESTION,
        _SAMPLE,
        Column("category", TEXT, "the question's category", among=CATEGORIES),
        Column(
            "tools", pa.list_(TEXT), "the actions taken in order, without the cot that gave the answer", among=ACTIONS
        ),
        Column("failed_calls", WHOLE, "how many calls of tools failed"),
        Column(
            "unreadable_turns",
            WHOLE,
            "how many turns named no known action",
            null="not counted: `failed_calls` then holds them too",
            optional=True,
        ),
        Column("steps", WHOLE, "steps taken, the answering one included"),
        Column("tokens", WHOLE, "tokens the policy sampled in all its turns", null="not counted", optional=True),
        Column("prompt_tokens", WHOLE, "tokens of the prompts of all its turns", null="not counted", optional=True),
        Column("cost_usd", REAL, "price of both in US dollars", null="price unknown", optional=True),
        Column("output", TEXT, "the policy's last turn as written"),
        Column("answer", TEXT, "letter of the option answered", null="no answer, or none that can be read"),
        Column(
            "extracted_by",
            TEXT,
            "how the letter was found: by an option's text or a letter (strict), by the official patterns, or it is a guess",
            null="it was not",
            among=("text", "letter", "official", "guess"),
        ),
        Column(
            "is_correct",
            BOOL,
            "whether the letter is the correct one; no answer is not right",
            null="a failed call of the policy ended the rollout",
        ),
        _ERROR,
    ),
)
RECORDINGS = Table(
    "recordings",
    "sparkctl recordings export",
    "tool x query",
    ("tool_name", "query"),
    (
        Column("tool_name", TEXT, "the tool", among=TOOLS),
        Column("query", TEXT, "what it was asked, without blanks around it"),
        Column("observation", TEXT, "what it answered, on one line"),
        Column("observation_ok", BOOL, "whether that is a result; the text says why it is none"),
        Column("backend", TEXT, "what served the tool: offline, live or mcp"),
        Column("recorded_at", TEXT, "when, in UTC, as 2026-01-31T12:00:00Z", null="it does not depend on the day"),
    ),
)
TABLES = {t.name: t for t in (QUESTIONS, CANDIDATES, SCORES, STEPS, REFERENCE, UPDATES, CREDIT, ANSWERS, RECORDINGS)}


def named(name: str) -> Table:
    """The table of this name, or a SparkError with the nearest known one."""
    if name not in TABLES:
        raise SparkError(f"unknown table '{name}'{did_you_mean(name, tuple(TABLES))}")
    return TABLES[name]


def from_rows(name: str, rows: Iterable[dict]) -> pa.Table:
    """A table of the contract from rows as dicts; columns that a row lacks are null. Half of a surrogate pair, which
    JSON can hold and UTF-8 cannot, becomes a question mark."""
    schema, rows = _nullable(TABLES[name].schema), list(rows)
    try:
        return pa.Table.from_pylist(rows, schema=schema)
    except UnicodeEncodeError:
        return pa.Table.from_pylist([_sendable(row) for row in rows], schema=schema)


def _sendable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {key: _sendable(part) for key, part in value.items()}
    return [_sendable(part) for part in value] if isinstance(value, list | tuple) else value


def empty(name: str) -> pa.Table:
    """The table of this name with no rows."""
    return from_rows(name, [])


def _nullable(schema: pa.Schema) -> pa.Schema:
    # Null rules are checked by `check`, which can name the column; Arrow's own flag would only say "invalid".
    return pa.schema([field.with_nullable(True) for field in schema])
