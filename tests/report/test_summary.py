"""Summary statistics against hand-computed values and scipy."""

import pytest
from scipy.stats import binomtest

from sparkctl.errors import SparkError
from sparkctl.method import checks, tables
from sparkctl.report.figures.statistics import wilson
from sparkctl.report.figures.summary import summarise
from sparkctl.report.figures.verdict import scored


def answer(question_id, correct, tools, **changes):
    row = {
        "policy": "p",
        "question_id": question_id,
        "sample_id": 0,
        "category": "math",
        "tools": tools,
        "failed_calls": 0,
        "unreadable_turns": 0,
    }
    return row | {"steps": len(tools) + 1, "output": "", "answer": "A", "is_correct": correct} | changes


def test_a_summary_by_hand():
    rows = [
        answer(1, True, ["search"]),
        answer(2, False, ["search", "cot"], category="law"),
        answer(3, True, ["calculator"], failed_calls=1, unreadable_turns=2),
        answer(4, False, [], answer=None),
        answer(5, None, ["wikipedia"], answer=None, error="too long", steps=2, category="law"),
        # What eval wrote of an outage up to version 3.
        answer(6, False, ["wikipedia"], answer=None, error="too long", steps=2),
    ]
    s = summarise(tables.from_rows("answers", rows))
    assert (s.accuracy.value, s.n, s.extraction_failed, s.errors) == (0.5, 4, 1, 2)
    assert (s.failed_calls, s.unreadable_turns) == (1, 2)
    # Counts 2, 1, 1: 0.5 * 1 + 2 * 0.25 * 2 = 1.5 bits, and 2 / (8 ln 2) for three actions among four choices.
    assert s.tool_entropy_bits.value == pytest.approx(1.860674)
    assert [s.tool_share[action].value for action in ("search", "cot", "wikipedia")] == [0.5, 0.25, 0.0]
    assert {c: e.value for c, e in s.accuracy_by_category.items()} == {"law": 0.0, "math": pytest.approx(2 / 3)}
    assert s.n_by_category == {"law": 1, "math": 3}
    assert s.accuracy_macro.value == pytest.approx(1 / 3)
    assert s.steps_per_question == pytest.approx((2 + 3 + 2 + 1) / 4)


def test_a_category_of_outages_alone_has_no_accuracy_and_no_part_in_the_macro_average():
    rows = [answer(1, True, []), answer(2, None, [], category="law", error="down")]
    s = summarise(tables.from_rows("answers", rows))
    assert (list(s.accuracy_by_category), s.accuracy_macro.value, s.accuracy.value, s.errors) == (["math"], 1.0, 1.0, 1)


def test_answers_of_which_failed_calls_ended_all_have_no_summary():
    with pytest.raises(
        SparkError, match="answers: a failed call ended each of 2; `sparkctl eval --retry-failed` asks again"
    ):
        summarise(tables.from_rows("answers", [answer(i, None, [], error="down") for i in (1, 2)]))


def test_answers_that_cannot_be_read_are_told_apart_from_none_and_from_failed_calls():
    none, no_option = " t\nAction: search\nInput: x", " t\nAction: cot\nInput: Answer: a hat"
    rows = [
        answer(1, True, [], output=" t\nAction: cot\nInput: Answer: A"),
        answer(2, False, [], output=no_option, answer=None),
        answer(3, False, ["search"] * 5, output=none, answer=None),
        answer(4, False, [], output="gibberish", answer=None),
        answer(5, None, [], output=none, answer=None, error="too long"),
    ]
    found = summarise(tables.from_rows("answers", rows)).as_json()
    assert (found["extraction_failed"], found["named_no_option"], found["errors"], found["n"]) == (3, 1, 1, 4)


def test_a_guess_is_an_answer_that_no_rule_read():
    no_option = " t\nAction: cot\nInput: Answer: a hat"
    rows = [
        answer(1, True, [], extracted_by="official"),
        answer(2, True, [], extracted_by="guess"),
        answer(3, False, [], extracted_by="guess", output=no_option),
        answer(4, False, [], answer=None),
        answer(5, None, [], answer=None, error="too long"),
    ]
    s = summarise(tables.from_rows("answers", rows))
    assert (s.accuracy.value, s.extraction_failed, s.named_no_option) == (0.5, 3, 1)


def test_tables_that_do_not_count_unreadable_turns_say_so():
    old = tables.from_rows("answers", [answer(1, True, [], failed_calls=2)]).drop_columns(["unreadable_turns"])
    assert summarise(checks.check(old, "answers", "f")).unreadable_turns is None


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 10), (10, 10), (651, 700)])
def test_wilson_equals_scipy(k, n):
    theirs = binomtest(k, n).proportion_ci(method="wilson")
    assert wilson(k, n) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_several_samples_of_a_question_are_not_independent_answers():
    rows = [answer(q, q % 2 == 0, ["search"], sample_id=k) for q in range(1, 11) for k in range(4)]
    s = summarise(tables.from_rows("answers", rows))
    # Four times the same answer to ten questions: as sure as ten answers.
    assert (s.accuracy.value, s.n) == (0.5, 40)
    assert (s.accuracy.low, s.accuracy.high) == pytest.approx(wilson(5, 10))
    # So are their tools: forty times one tool, by ten questions.
    assert (s.tool_share["search"].low, s.tool_share["search"].high) == pytest.approx(wilson(10, 10))


def test_programs_get_values_and_intervals():
    found = summarise(tables.from_rows("answers", [answer(1, True, ["search"]), answer(2, True, [])])).as_json()
    assert (found["accuracy"], found["n"]) == (1.0, 2)
    assert found["accuracy_ci"] == pytest.approx(wilson(2, 2))
    assert found["accuracy_by_category"] == {"math": 1.0}
    assert found["accuracy_by_category_ci"]["math"] == pytest.approx(wilson(2, 2))
    assert (found["tool_entropy_bits"], found["tool_entropy_ci"]) == (0.0, [0.0, 0.0])
    assert found["tool_share"]["search"] == 1.0


def test_who_takes_no_tool_has_no_entropy():
    found = summarise(tables.from_rows("answers", [answer(1, True, []), answer(2, False, [])]))
    assert (found.tool_entropy_bits, found.tool_share) == (None, {})
    assert found.shown()["entropy, bits"] == "no choices"
    assert (found.as_json()["tool_entropy_bits"], found.as_json()["tool_entropy_ci"]) == (None, None)


def test_what_scored_the_answers_is_said():
    read = [answer(1, True, [], extracted_by="text"), answer(2, False, [], answer=None)]
    official = [answer(1, True, [], extracted_by="official"), answer(2, False, [], extracted_by="guess")]
    strict, other = (summarise(tables.from_rows("answers", rows)) for rows in (read, official))
    assert (strict.scoring, other.scoring) == ("strict", "official")
    assert scored({"base": strict}).startswith("Scored strictly")
    assert "rules: an answer that cannot be read is guessed" in scored({"base": other})
    assert "rules (of spark): " in scored({"base": strict, "spark": other})
