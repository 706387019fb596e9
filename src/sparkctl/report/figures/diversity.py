"""How diverse the choice of tools is, whether that depends on the question, and what the calls achieve and cost. Pure.

Given the question, only rollouts of the same question can tell, by their first choices: nothing comes before these,
so that they are independent draws in one state. Entropy within a question is of a few choices, for which the estimate
of Chao and Shen is the less biased one: it makes up for actions not seen by how many were seen just once. With
two samples it is still too low where many actions are in use, and the mutual information too high by as much. The
shares of pairs that differ have no such bias; they are the figures to go by.

A call is that of a tool: `cot` calls nothing. Answers that a failed call of the policy ended are in no figure.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sparkctl.method.episode import ACTIONS, CATEGORIES, COT
from sparkctl.report.figures.entropy import about, chao_shen_bits, entropy, miller_madow_bits, plug_in_bits, tool_counts
from sparkctl.report.figures.finished import finished
from sparkctl.report.figures.passing import passing
from sparkctl.report.figures.statistics import (
    RESAMPLES,
    SEED,
    Array,
    Estimate,
    percentile_interval,
    proportion,
    ratio,
    resampled_totals,
)

Row = dict[str, Any]


def as_json(answers: pa.Table) -> Row:
    """All figures of this module, for programs."""
    figures = {name: found and asdict(found) for name, found in measures(answers).items()}
    drawn = {"resamples": RESAMPLES, "seed": SEED}
    return {"measures": figures, "entropies": entropies(answers), "by_tool": by_tool(answers), "bootstrap": drawn}


def entropies(answers: pa.Table) -> list[Row]:
    """Entropy of the choices in all, per category and per step (the first, second, ... choice), where there were any.

    `effective_tools` is 2^entropy: as many tools, used equally often, would have that entropy.
    """
    return [row for of, group, part in _groups(finished(answers)) if (row := _entropy_row(of, group, part)) is not None]


def _groups(answers: pa.Table) -> Iterator[tuple[str, str, tuple[list[Any], list[Any]]]]:
    """(of what, which, (tools taken, question) by rollout)."""
    questions, taken = answers["question_id"].to_pylist(), answers["tools"].to_pylist()
    yield "all", "", (taken, questions)
    for category in CATEGORIES:
        some = answers.filter(pc.equal(answers["category"], category))
        yield "category", category, (some["tools"].to_pylist(), some["question_id"].to_pylist())
    for step in range(max(map(len, taken), default=0)):
        yield "step", str(step + 1), ([tools[step : step + 1] for tools in taken], questions)


def _entropy_row(of: str, group: str, part: tuple[Sequence[Any], Sequence[Any]]) -> Row | None:
    counts = tool_counts(*part)
    choosing, total = int((counts.sum(1) > 0).sum()), counts.sum(0)
    found = entropy(counts)
    if found is None:
        return None
    low, high = (found.low, found.high) if choosing > 1 else (None, None)
    return {
        "of": of,
        "group": group,
        "choices": int(total.sum()),
        "questions": choosing,
        "entropy_bits": found.value,
        "entropy_bits_low": low,
        "entropy_bits_high": high,
        "plug_in_bits": float(plug_in_bits(total)),
        "effective_tools": 2**found.value,
        "effective_tools_low": None if low is None else 2**low,
        "effective_tools_high": None if high is None else 2**high,
    }


def measures(answers: pa.Table) -> dict[str, Estimate | None]:
    """Use and cost of tools, and what samples are worth, by question; None where it cannot be told. Intervals are
    bootstraps over questions; of the two proportions Wilson's: of no failure in ten calls a bootstrap is certain.

    Per question means per question and sample. Tokens are those sampled, prompt tokens
    those of every turn's prompt, as a model without a prefix cache reads them.
    """
    samples, answers = passing(answers), finished(answers)
    taken = answers["tools"].to_pylist()
    calls = [sum(tool != COT for tool in tools) for tools in taken]
    distinct = [len({*tools} - {COT}) for tools in taken]
    right, each = answers["is_correct"].to_pylist(), [1] * len(taken)
    tokens, asked, usd = (
        None if answers[name].null_count else answers[name].to_pylist()
        for name in ("tokens", "prompt_tokens", "cost_usd")
    )
    pairs = {
        "distinct_tools_per_question": (distinct, each),
        "calls_per_question": (calls, each),
        "right_answers_per_call": (right, calls),
        "calls_per_right_answer": (calls, right),
        "tokens_per_question": (tokens, each),
        "tokens_per_right_answer": (tokens, right),
        "prompt_tokens_per_question": (asked, each),
        "usd_per_right_answer": (usd, right),
    }
    row = np.unique(answers["question_id"].to_numpy(), return_inverse=True)[1]
    found = {
        name: None if top is None else ratio(np.bincount(row, top), np.bincount(row, bottom))
        for name, (top, bottom) in pairs.items()
    }
    return found | _failures(answers, row, calls) | within_questions(answers) | samples


def _failures(answers: pa.Table, row: Array, calls: Sequence[int]) -> dict[str, Estimate | None]:
    """Shares of calls that failed and of turns that could not be read. None of tables that count the two together."""
    if answers["unreadable_turns"].null_count:
        return dict.fromkeys(("failed_share_of_calls", "unreadable_share_of_turns"))
    failed, unreadable, turns = (
        np.bincount(row, answers[name].to_pylist()) for name in ("failed_calls", "unreadable_turns", "steps")
    )
    return {
        "failed_share_of_calls": proportion(failed, np.bincount(row, calls)),
        "unreadable_share_of_turns": proportion(unreadable, turns),
    }


def within_questions(answers: pa.Table) -> dict[str, Estimate | None]:
    """Whether the same question gets different tools: see the module's docstring. None without two samples to a question."""
    first = tool_counts([tools[:1] for tools in answers["tools"].to_pylist()], answers["question_id"].to_pylist())
    first = first[first.sum(1) > 1].astype(float)
    if len(first) < 2:
        return dict.fromkeys(_WITHIN)
    m = first.sum(1)
    shares = first / m[:, None]
    same = 1 - (first * (first - 1)).sum(1) / (m * (m - 1))
    columns = (first, m * chao_shen_bits(first), m, same, shares, (shares**2).sum(1), np.ones(len(first)))
    table = np.column_stack(columns)
    value, drawn = _within(table.sum(0)), _within(resampled_totals(table, RESAMPLES, SEED))
    name = "mutual_information_bits"  # has the bias of the entropy that it is part of
    drawn[name] = about(float(value[name]), drawn[name])
    return {name: Estimate(float(value[name]), *percentile_interval(drawn[name])) for name in _WITHIN}


_WITHIN = ("same_question_differs", "other_question_differs", "entropy_within_question_bits", "mutual_information_bits")


def _within(totals: Array) -> dict[str, Array]:
    """The figures from the sums over questions of the columns laid out in `within_questions`."""
    k = len(ACTIONS)
    tools, within, m, same = totals[..., :k], totals[..., k], totals[..., k + 1], totals[..., k + 2]
    shares, squares, n = totals[..., k + 3 : 2 * k + 3], totals[..., 2 * k + 3], totals[..., 2 * k + 4]
    agree = ((shares**2).sum(-1) - squares) / (n * (n - 1))
    figures = (same / n, 1 - agree, within / m, miller_madow_bits(tools) - within / m)
    return dict(zip(_WITHIN, figures, strict=True))


def by_tool(answers: pa.Table) -> list[Row]:
    """For each action how often it is taken, and the accuracy of the rollouts with and without it.

    That is association, not effect: a policy takes a tool on certain questions, which may be harder or easier.
    """
    answers = finished(answers)
    taken, right = answers["tools"].to_pylist(), np.array(answers["is_correct"].to_pylist(), dtype=bool)
    row = np.unique(answers["question_id"].to_numpy(), return_inverse=True)[1]
    choices = sum(map(len, taken))
    return [_tool_row(action, taken, right, row, choices) for action in ACTIONS] if choices else []


def _tool_row(action: str, taken: list[list[str]], right: Array, row: Array, choices: int) -> Row:
    times = np.array([tools.count(action) for tools in taken])
    used = times > 0
    hits = np.bincount(row, right & used)
    with_it = proportion(hits, np.bincount(row, used))
    without = proportion(np.bincount(row, right & ~used), np.bincount(row, ~used))
    return {
        "action": action,
        "count": int(times.sum()),
        "share": float(times.sum()) / choices,
        "rollouts_with": int(used.sum()),
        **as_row("right_per_use", ratio(hits, np.bincount(row, times))),
        **as_row("accuracy_with", with_it),
        **as_row("accuracy_without", without),
        **as_row("difference", _difference(with_it, without)),
    }


def _difference(one: Estimate | None, other: Estimate | None) -> Estimate | None:
    """`one` less `other` from their Wilson intervals (Newcombe 1998, method 10).

    A bootstrap would say of eleven right out of eleven that nothing is uncertain.
    """
    if one is None or other is None:
        return None
    value = one.value - other.value
    down = math.hypot(one.value - one.low, other.high - other.value)
    return Estimate(value, value - down, value + math.hypot(one.high - one.value, other.value - other.low))


def as_row(name: str, found: Estimate | None) -> Row:
    """An estimate as three columns, null where there is none."""
    value, low, high = (found.value, found.low, found.high) if found else (None, None, None)
    return {name: value, f"{name}_low": low, f"{name}_high": high}
