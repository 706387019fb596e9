"""The comparison of two policies, on tables small enough to count by hand."""

import numpy as np
import pyarrow as pa
import pytest

from sparkctl.errors import SparkError
from sparkctl.method import tables
from sparkctl.report.figures.comparison import compare

NAMES = ("base", "spark")


def answers(policy, right, category="math", tools=("search",), first=1, samples=1):
    """One row per entry of `right`; `samples` of them in a row belong to one question."""
    rows = [
        {
            "policy": policy,
            "question_id": first + i // samples,
            "sample_id": i % samples,
            "category": category if isinstance(category, str) else category[i // samples],
            "tools": list(tools),
            "failed_calls": 0,
            "steps": 1,
            "output": "",
            "is_correct": bool(correct),
        }
        for i, correct in enumerate(right)
    ]
    return tables.from_rows("answers", rows)


def test_a_comparison_by_hand():
    # Questions 1-10: 1 is lost, 2-10 are gained; 11-20 are right under both.
    base = answers("base", [1] + [0] * 9 + [1] * 10)
    spark = answers("spark", [0] + [1] * 9 + [1] * 10)
    found = compare(base, spark, NAMES, 500, 0)
    assert (found.accuracy.n, found.accuracy.a, found.accuracy.b) == (20, 0.55, 0.95)
    assert found.accuracy.difference == pytest.approx(0.4)
    assert found.accuracy.p == pytest.approx(22 / 1024)
    assert found.accuracy.evidence
    assert found.accuracy.only_a == [1]
    assert found.accuracy.only_b == list(range(2, 11))
    assert found.discordance == pytest.approx(0.5)
    # Change -1 (1 question), +1 (9), 0 (10), and one more either way: mean 8 / 22, variance 12 / 22 - .3636^2 = .4132.
    assert found.accuracy.difference_ci == pytest.approx((0.363636 - 0.268614, 0.363636 + 0.268614), abs=1e-6)
    assert (found.averaged, found.test) == (False, "McNemar's exact test")


def test_rows_are_paired_by_question_not_by_position():
    base, spark = answers("base", [1, 0, 1, 0, 0, 1]), answers("spark", [1, 0, 1, 0, 0, 1])
    found = compare(base, spark.take([5, 3, 0, 1, 4, 2]), NAMES, 100, 0)
    assert (found.accuracy.only_a, found.accuracy.only_b, found.accuracy.p) == ([], [], 1.0)
    # None of six flipped, which says little: 1.96 sqrt(2 / 8 / 8) to either side.
    assert found.accuracy.difference_ci == pytest.approx((-0.346476, 0.346476), abs=1e-6)
    assert not found.accuracy.evidence
    assert found.questions_for_one_point is None


def test_a_category_needs_evidence_after_holm():
    # law: 6 gained of 6, p = 2/64 = .031; math and physics: nothing. Three tests: .094, no evidence any more.
    category = ["law"] * 6 + ["math"] * 4 + ["physics"] * 4
    found = compare(answers("base", [0] * 6 + [1] * 8, category), answers("spark", [1] * 14, category), NAMES, 100, 0)
    law = found.categories["law"]
    assert (law.n, law.p, law.p_holm) == (6, pytest.approx(2 / 64), pytest.approx(6 / 64))
    assert not law.evidence
    assert found.accuracy.evidence
    assert found.accuracy.p_holm is None
    assert (found.categories["math"].difference, found.categories["math"].p_holm) == (0.0, 1.0)


def test_samples_of_a_question_are_no_further_questions():
    """Ten questions of eight like samples: the interval is that of ten questions, not of eighty answers."""
    right = np.repeat([1, 0, 0, 0, 0, 1, 1, 1, 1, 1], 8)
    base, many = answers("base", [0] * 80, samples=8), answers("spark", right, samples=8)
    one = compare(answers("base", [0] * 10), answers("spark", right[::8]), NAMES, 500, 0)
    found = compare(base, many, NAMES, 500, 0)
    assert found.accuracy == one.accuracy
    assert (found.accuracy.n, found.accuracy.p) == (10, pytest.approx(2 / 2**6))


def test_samples_are_averaged_within_their_question():
    base, spark = answers("base", [1, 1, 0, 0], samples=2), answers("spark", [1, 0, 0, 0], samples=2)
    found = compare(base, spark, NAMES, 100, 0)
    assert found.accuracy.difference == pytest.approx(-0.25)
    assert (found.accuracy.only_a, found.accuracy.only_b) == ([1], [])
    # Question 1 differs by 1/2, question 2 not: mean square 1/8.
    assert found.discordance == pytest.approx(0.125)
    assert (found.averaged, found.test) == (True, "exact sign test of the questions' averages")


def test_entropy_differs_where_the_tools_do():
    base = answers("base", [1] * 40, tools=("search",))
    both = answers("spark", [1] * 40, tools=("search", "calculator"))
    entropy = compare(base, both, NAMES, 200, 0).tool_entropy_bits
    # Every question has one of each: 1 bit in every resample, 1 / (2 * 80 ln 2) for two actions in 80; base has 0.
    assert (entropy.a, entropy.b, entropy.difference) == pytest.approx((0.0, 1.009017, 1.009017), abs=1e-6)
    assert entropy.difference_ci == pytest.approx((1.009017, 1.009017), abs=1e-6)
    assert entropy.evidence
    none = compare(base, base, NAMES, 200, 0).tool_entropy_bits
    assert (none.difference, none.difference_ci, none.evidence) == (0.0, (0.0, 0.0), False)


def test_the_interval_of_the_entropy_is_paired():
    """Both policies take the same tools on each question but for one more: their entropies move together."""
    rng = np.random.default_rng(0)
    taken = [[["search"], ["calculator"]][pick] for pick in rng.integers(0, 2, 200)]
    base, spark = (answers(name, [1] * 200) for name in NAMES)
    at = base.column_names.index("tools")
    base = base.set_column(at, "tools", [taken])
    spark = spark.set_column(at, "tools", [[["search", "calculator"], *taken[1:]]])
    low, high = compare(base, spark, NAMES, 500, 0).tool_entropy_bits.difference_ci
    # Unpaired, each entropy alone (near 1 bit, n = 200) has an interval about .03 wide.
    assert high - low < 0.005
    assert compare(base, spark.take(rng.permutation(200)), NAMES, 500, 0) == compare(base, spark, NAMES, 500, 0)


def test_the_same_seed_gives_the_same_and_another_seed_another_interval():
    base = answers("base", [1] * 40)
    spark = base.set_column(base.column_names.index("tools"), "tools", [[["search"], ["calculator"]] * 20])
    found = [compare(base, spark, NAMES, 200, seed) for seed in (0, 0, 1)]
    assert found[0] == found[1]
    assert found[0].tool_entropy_bits.difference_ci != found[2].tool_entropy_bits.difference_ci


def test_who_chose_nothing_is_not_compared_in_diversity():
    """No choice is not the same choice every time: 0 bits would be a claim."""
    idle, spark = answers("base", [1] * 40, tools=()), answers("spark", [1] * 40, tools=("search", "calculator"))
    for a, b, bits in ((idle, spark, (None, 1.009017)), (spark, idle, (1.009017, None)), (idle, idle, (None, None))):
        found = compare(a, b, NAMES, 100, 0).tool_entropy_bits
        assert (found.difference, found.difference_ci, found.evidence) == (None, None, False)
        assert (found.a, found.b) == pytest.approx(bits, abs=1e-6)


def test_questions_that_are_known_to_differ_are_not_paired_by_their_ids():
    base, spark = answers("base", [1, 0]), answers("spark", [1, 1])
    with pytest.raises(SparkError, match="base and spark were asked different questions; evaluate both on one set"):
        compare(base, spark, NAMES, asked=(["ab"], ["cd"]))
    for asked in ((["ab"], ["ab"]), (None, ["cd"]), (["ab"], None)):
        assert compare(base, spark, NAMES, asked=asked).accuracy.n == 2


@pytest.mark.parametrize(
    ("b", "says"),
    [
        (
            answers("spark", [1] * 5, first=3),
            "2 in both, 2 only in the first, 3 only in the second .such as question_id 1",
        ),
        (answers("spark", [1] * 6), "4 in both, 0 only in the first, 2 only in the second .such as question_id 5"),
        (answers("spark", [1] * 4, "law"), "column 'category' of question_id 1 is 'math' in the first, 'law' in the"),
    ],
)
def test_other_questions_are_refused(b, says):
    with pytest.raises(SparkError, match=says):
        compare(answers("base", [1] * 4), b, NAMES, 100, 0)


def test_a_file_of_several_policies_is_refused():
    both = pa.concat_tables([answers("base", [1]), answers("spark", [1])])
    with pytest.raises(SparkError, match="base: column 'policy' names 2 policies: base, spark"):
        compare(both, both, NAMES, 100, 0)
