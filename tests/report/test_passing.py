"""pass@k against every choice of k samples, the vote by hand."""

from itertools import combinations

import pytest

from helpers.finished_runs import sampled
from sparkctl.report.figures.passing import majority, pass_at_k, passing


@pytest.mark.parametrize("n", [1, 2, 5])
def test_pass_at_k_is_the_share_of_choices_with_a_right_one(n):
    for right in range(n + 1):
        for k in range(1, n + 1):
            choices = list(combinations([True] * right + [False] * (n - right), k))
            assert pass_at_k(n, right, k) == pytest.approx(sum(map(any, choices)) / len(choices))


@pytest.mark.parametrize(
    ("given", "voted"),
    [
        (["A", "B", "B"], "B"),
        (["B", "A", "A", "B"], "B"),
        (["C", "A", "B"], "C"),
        ([None, None, "A"], "A"),
        ([None, None], None),
        ([], None),
    ],
)
def test_the_majority_is_of_answers_given_and_ties_go_to_the_first(given, voted):
    assert majority(given) == voted


def test_samples_by_hand():
    found = passing(
        sampled(
            # Right are A's. Of three samples one, two and none are right.
            [(False, [], "B"), (False, [], "B"), (True, [], "A")],
            [(False, [], "B"), (True, [], "A"), (True, [], "A")],
            [(False, [], "B"), (False, [], None), (False, [], "C")],
            [(True, [], "A"), (False, [], "C"), (False, [], "B")],
        )
    )
    assert list(found) == ["pass@1", "pass@2", "pass@3", "majority_vote"]
    assert found["pass@1"].value == pytest.approx((1 / 3 + 2 / 3 + 0 + 1 / 3) / 4)
    assert found["pass@2"].value == pytest.approx((2 / 3 + 1 + 0 + 2 / 3) / 4)
    assert found["pass@3"].value == 0.75
    assert found["majority_vote"].value == 0.5
    # Four questions of .33, .67, 0, .33: the interval lies between the least and the largest.
    assert 0 <= found["pass@1"].low < found["pass@1"].value < found["pass@1"].high <= 2 / 3


def test_votes_are_counted_in_the_order_of_the_samples_not_of_the_rows():
    answers = sampled([(True, [], "A"), (False, [], "B")])
    assert passing(answers)["majority_vote"].value == 1.0
    assert passing(answers.take([1, 0]))["majority_vote"].value == 1.0


def test_one_sample_gives_no_figures_and_the_fewest_bound_k():
    assert passing(sampled([(True, [])])) == {}
    assert passing(sampled([(True, [])] * 1, [(True, []), (True, [])])) == {}
    assert "pass@3" not in passing(sampled([(True, [])] * 2, [(True, [])] * 3))


def test_guesses_may_hit_but_do_not_vote():
    rows = [(True, [], "A"), (False, [], "C"), (False, [], "C")]
    answers = sampled(rows)
    assert passing(answers)["majority_vote"].value == 0.0
    at = answers.column_names.index("extracted_by")
    guessed = answers.set_column(at, "extracted_by", [["official", "guess", "guess"]])
    assert passing(guessed)["majority_vote"].value == 1.0
    assert passing(guessed)["pass@1"].value == pytest.approx(1 / 3)
