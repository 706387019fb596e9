"""Diversity, effort and use of tools: by hand, and what the estimates promise when an experiment is repeated."""

import numpy as np
import pytest

from helpers.finished_runs import sampled
from sparkctl.method import checks
from sparkctl.method.episode import ACTIONS
from sparkctl.report.figures import diversity
from sparkctl.report.figures.statistics import Estimate, percentile_interval, wilson

SKEWED = np.array([0.5, 0.2, 0.1, 0.05, 0.05, 0.04, 0.03, 0.02, 0.01])


def measured(*rows, **changes):
    return diversity.measures(sampled(*rows, **changes))


def test_entropies_in_all_by_category_and_by_step():
    answers = sampled(
        [(True, ["search", "cot"])],
        [(True, ["search"])],
        [(True, ["calculator", "search"])],
        [(True, [])],
        category=lambda question: "law" if question < 3 else "math",
    )
    rows = {(row["of"], row["group"]): row for row in diversity.entropies(answers)}
    assert list(rows) == [("all", ""), ("category", "law"), ("category", "math"), ("step", "1"), ("step", "2")]
    everything = rows["all", ""]
    # search 3, cot 1, calculator 1; the question without a choice takes no part.
    assert (everything["choices"], everything["questions"]) == (5, 3)
    assert everything["plug_in_bits"] == pytest.approx(1.370951)
    assert everything["entropy_bits"] == pytest.approx(1.370951 + 2 / (10 * np.log(2)))
    assert everything["effective_tools"] == pytest.approx(2 ** everything["entropy_bits"])
    assert rows["category", "law"]["plug_in_bits"] == pytest.approx(0.918296)
    assert rows["step", "1"]["choices"] == 3
    assert rows["step", "2"]["plug_in_bits"] == 1.0
    # One question: nothing to resample, and no interval is made up.
    assert (rows["category", "math"]["questions"], rows["category", "math"]["entropy_bits_low"]) == (1, None)


def test_measures_by_hand():
    found = measured(
        [(True, ["search", "search", "calculator"])],
        [(False, ["cot"])],
        tokens=30,
        prompt_tokens=500,
        cost_usd=0.002,
    )
    values = {name: estimate and estimate.value for name, estimate in found.items()}
    # Three calls, as cot calls nothing; two tools; one right answer; sixty tokens.
    assert values["calls_per_question"] == 1.5
    assert values["distinct_tools_per_question"] == 1.0
    assert values["right_answers_per_call"] == pytest.approx(1 / 3)
    assert values["calls_per_right_answer"] == 3.0
    assert (values["tokens_per_question"], values["tokens_per_right_answer"]) == (30.0, 60.0)
    assert (values["prompt_tokens_per_question"], values["usd_per_right_answer"]) == (500.0, 0.004)


def test_failed_calls_and_unreadable_turns_are_told_apart():
    rows = [(True, ["search", "search", "cot", "search"])], [(False, ["cot", "search"])]
    found = measured(*rows, failed_calls=1, unreadable_turns=1, steps=8)
    # Two of four calls, as cot calls nothing; two of sixteen turns. The shares differ no more between the two questions
    # than between independent calls: the effective number is all of them.
    assert found["failed_share_of_calls"] == Estimate(0.5, *wilson(2, 4))
    assert found["unreadable_share_of_turns"] == Estimate(0.125, *wilson(2, 16))
    # Of two questions without a failure a bootstrap would be certain.
    assert measured(*rows)["failed_share_of_calls"] == Estimate(0.0, *wilson(0, 2))
    assert measured([(True, ["cot"])])["failed_share_of_calls"] is None


def test_tables_that_counted_both_as_failed_calls_tell_neither_share():
    old = sampled([(True, [])], failed_calls=2).drop_columns(["unreadable_turns"])
    found = diversity.measures(checks.check(old, "answers", "f"))
    assert found["failed_share_of_calls"] is found["unreadable_share_of_turns"] is None


def test_what_cannot_be_told_is_none():
    found = measured([(False, [])], [(False, [])])
    assert found["calls_per_right_answer"] is found["right_answers_per_call"] is None
    assert found["tokens_per_question"] is None  # nobody counted
    assert found["usd_per_right_answer"] is None  # nor said a price
    assert found["same_question_differs"] is found["mutual_information_bits"] is None
    assert "pass@1" not in found


def test_the_same_question_by_hand():
    found = measured(
        [(True, ["search"]), (True, ["search", "cot"])],
        [(True, ["search"]), (True, ["calculator"])],
        [(True, ["wikipedia"]), (True, [])],  # answered at once: one first choice tells nothing of a pair
    )
    # Of the same question no pair and the one pair differ. Of two: search, search against search, calculator.
    assert found["same_question_differs"].value == 0.5
    assert found["other_question_differs"].value == 0.5
    # 0 and 2.285714 bits; in all search 3, calculator 1.
    assert found["entropy_within_question_bits"].value == pytest.approx(2.285714 / 2, abs=1e-6)
    assert found["mutual_information_bits"].value == pytest.approx(0.991615 - 2.285714 / 2, abs=1e-6)


def test_a_tool_that_the_question_decides_differs_only_between_questions():
    found = measured(*([(True, [tool]), (True, [tool, "search"])] for tool in ACTIONS))
    assert (found["same_question_differs"].value, found["other_question_differs"].value) == (0.0, 1.0)
    assert found["entropy_within_question_bits"].value == 0.0
    assert found["mutual_information_bits"].value == pytest.approx(np.log2(9))


def test_a_tool_that_the_question_does_not_decide_differs_as_often_within_as_between():
    rng = np.random.default_rng(0)
    draws = rng.choice(9, (400, 2), p=SKEWED)
    found = measured(*([(True, [ACTIONS[i]]) for i in pair] for pair in draws))
    true = 1 - (SKEWED**2).sum()
    for name in ("same_question_differs", "other_question_differs"):
        # Two samples suffice: standard error .023 of the one, .012 of the other.
        assert found[name].value == pytest.approx(true, abs=0.06)
        assert found[name].low < true < found[name].high


def test_use_of_a_tool_by_hand():
    rows = {
        row["action"]: row
        for row in diversity.by_tool(
            sampled(
                [(True, ["search", "search"])], [(False, ["search"])], [(True, ["cot"])], [(True, [])], [(False, [])]
            )
        )
    }
    search = rows["search"]
    assert (search["count"], search["share"], search["rollouts_with"]) == (3, 0.75, 2)
    assert search["right_per_use"] == pytest.approx(1 / 3)
    assert (search["accuracy_with"], search["accuracy_without"]) == (0.5, pytest.approx(2 / 3))
    assert (search["accuracy_with_low"], search["accuracy_with_high"]) == pytest.approx(wilson(1, 2))
    assert search["difference"] == pytest.approx(0.5 - 2 / 3)
    assert rows["wikipedia"]["accuracy_with"] is rows["wikipedia"]["difference"] is None
    assert diversity.by_tool(sampled([(True, [])])) == []


def test_the_difference_of_proportions_is_newcombes():
    # His first example (1998, table II): 56 of 70 less 48 of 80, by method 10 .0524 to .3339.
    one, other = Estimate(56 / 70, *wilson(56, 70)), Estimate(48 / 80, *wilson(48, 80))
    found = diversity._difference(one, other)
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_the_same_answers_give_the_same_figures():
    answers = sampled(*([(i % 3 > 0, [ACTIONS[i]]), (True, ["search"])] for i in range(9)))
    assert diversity.as_json(answers) == diversity.as_json(answers)
    assert diversity.as_json(answers)["bootstrap"] == {"resamples": 2000, "seed": 0}


def test_intervals_are_over_questions_not_samples():
    rng = np.random.default_rng(2)
    each = [[(True, ["search"] * calls)] for calls in rng.integers(0, 5, 80)]
    once, thrice = (measured(*(rows * n for rows in each))["calls_per_question"] for n in (1, 3))
    # The same answer three times over says nothing more.
    assert (thrice.value, thrice.low, thrice.high) == pytest.approx((once.value, once.low, once.high))
    assert percentile_interval(np.array([once.low, once.high]))[0] > 1.0


def test_tables_made_before_tokens_were_counted_are_read():
    old = sampled([(True, ["search"])], tokens=3).drop_columns(["tokens"])
    assert checks.check(old, "answers", "f")["tokens"].to_pylist() == [None]
