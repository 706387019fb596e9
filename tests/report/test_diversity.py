"""Diversity, effort and use of tools: by hand, and what the estimates promise when an experiment is repeated."""

import numpy as np
import pytest

from reported import sampled
from sparkctl import tables
from sparkctl.episode import ACTIONS
from sparkctl.report import diversity
from sparkctl.report.statistics import Estimate, percentile_interval, wilson
from sparkctl.report.summary import entropy_bits

SKEWED = np.array([0.5, 0.2, 0.1, 0.05, 0.05, 0.04, 0.03, 0.02, 0.01])
"""2.15 bits."""


def measured(*rows, **changes):
    return diversity.measures(sampled(*rows, **changes))


@pytest.mark.parametrize(
    ("counts", "miller_madow", "chao_shen"),
    [
        # 1.5 + 2 / (8 ln 2). Two of three seen once: C = 1/2, C p = 1/4 and twice 1/8, seen with 1 - .75^4 = .6836 and
        # 1 - .875^4 = .4138: .5 / .68359 + .75 / .41382.
        ([2, 1, 1], 1.860674, 2.543818),
        # .811278 + 1 / (8 ln 2). C = 3/4: C p = 9/16 and 3/16.
        ([3, 1], 0.991615, 1.287270),
        # 1 + 1 / (4 ln 2). All seen once, so that f = 1: C p = 1/4 both, seen with 1 - .75^2: 2 * .5 / .4375.
        ([1, 1], 1.360674, 2.285714),
        ([7, 0, 0], 0.0, 0.0),
        ([1, 0], 0.0, 0.0),
        ([0, 0], 0.0, 0.0),
        ([1] * 9, np.log2(9), np.log2(9)),  # never more than nine actions can have
    ],
)
def test_corrected_entropies_by_hand(counts, miller_madow, chao_shen):
    assert diversity.corrected_entropy_bits(np.array(counts)) == pytest.approx(miller_madow, abs=1e-6)
    assert diversity.chao_shen_bits(np.array(counts)) == pytest.approx(chao_shen, abs=1e-6)


@pytest.mark.parametrize(
    ("estimate", "n", "of_the_bias"),
    [
        (diversity.corrected_entropy_bits, 20, 0.45),
        (diversity.corrected_entropy_bits, 50, 0.35),
        (diversity.corrected_entropy_bits, 200, 0.35),
        (diversity.chao_shen_bits, 2, 0.5),
        (diversity.chao_shen_bits, 4, 0.35),
        (diversity.chao_shen_bits, 8, 0.3),
    ],
)
@pytest.mark.parametrize("shares", [SKEWED, np.full(9, 1 / 9)])
def test_the_bias_left_is_a_small_part_of_the_plug_ins(estimate, n, of_the_bias, shares):
    # The mean of 20,000 repetitions is good to .01 bits; the plug-in's bias is .03 to 2.3 bits.
    counts = np.random.default_rng(0).multinomial(n, shares, 20_000)
    true = entropy_bits(shares)
    assert abs(estimate(counts).mean() - true) < of_the_bias * abs(entropy_bits(counts).mean() - true) + 0.01


def test_where_many_choices_are_pooled_miller_madow_leaves_less_bias_and_chao_shen_where_few_are():
    few, many = (np.random.default_rng(0).multinomial(n, np.full(9, 1 / 9), 20_000) for n in (2, 100))
    miller_madow, chao_shen = diversity.corrected_entropy_bits, diversity.chao_shen_bits
    assert miller_madow(few).mean() < chao_shen(few).mean() < np.log2(9)
    assert chao_shen(many).mean() < miller_madow(many).mean() < np.log2(9) + 0.005


@pytest.mark.parametrize(("shares", "at_least"), [(SKEWED, 0.84), (np.full(9, 1 / 9), 0.93)])
def test_the_entropys_interval_holds_the_truth(shares, at_least):
    rng, true, held = np.random.default_rng(1), float(entropy_bits(shares)), 0
    for _ in range(150):
        tools = [[ACTIONS[i]] for i in rng.choice(9, 60, p=shares)]
        row = diversity.entropies(sampled(*([(True, taken)] for taken in tools)))[0]
        held += row["entropy_bits_low"] - 1e-9 <= true <= row["entropy_bits_high"] + 1e-9
    # Nominally 95 %; of 60 choices a bootstrap keeps some 90 % (standard error .025). Left where the resamples lie, the
    # interval holds the entropy of nine tools used alike in 85 %.
    assert held / 150 > at_least


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
        [(True, ["search", "search", "calculator"])], [(False, ["cot"])], failed_calls=1, steps=4, tokens=30
    )
    values = {name: estimate and estimate.value for name, estimate in found.items()}
    # Three calls, as cot calls nothing; two tools; two failures among eight turns; one right answer; sixty tokens.
    assert values["calls_per_question"] == 1.5
    assert values["distinct_tools_per_question"] == 1.0
    assert values["failed_share_of_turns"] == 0.25
    assert values["right_answers_per_call"] == pytest.approx(1 / 3)
    assert values["calls_per_right_answer"] == 3.0
    assert (values["tokens_per_question"], values["tokens_per_right_answer"]) == (30.0, 60.0)


def test_what_cannot_be_told_is_none():
    found = measured([(False, [])], [(False, [])])
    assert found["calls_per_right_answer"] is found["right_answers_per_call"] is None
    assert found["tokens_per_question"] is None  # nobody counted
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
    assert tables.check(old, "answers", "f")["tokens"].to_pylist() == [None]
