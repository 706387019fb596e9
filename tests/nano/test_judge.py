"""The rubric, rule by rule, with real tools."""

import json

import pytest

from sparkctl.method.episode import ACTIONS
from sparkctl.nano import judge, world
from sparkctl.tools import toolbox

FACT = next(fact for fact in world.facts() if set(world.holders(fact)) == {"wikipedia", "search"})
NUMBER = next(fact for fact in world.facts() if fact.value.isdecimal() and len(world.holders(fact)) == 4)


@pytest.fixture(scope="module")
def box():
    with toolbox(world.documents()) as tools:
        yield tools


def case(reference, answer, queries, steps=(), options=()):
    return {
        "question": "?",
        "options": [answer, "nothing", *options],
        "reference": reference,
        "answer": answer,
        "steps": [
            dict(zip(("thought", "tool_name", "action_query", "observation"), step, strict=True)) for step in steps
        ],
        "candidates": [{"tool_name": tool, "action_query": query} for tool, query in queries.items()],
    }


def points(case, box):
    return {tool: verdict["score"] for tool, verdict in judge.score(case, box).items()}


SUM = "Step 1: compute 46 * 7 = 322. Answer: 322"
UNIT = "Step 1: convert 12 km to m = 12000. Answer: 12000"
TWO = "Step 1: convert 12 km to m = 12000. Step 2: compute 12000 * 3 = 36000. Answer: 36000"
PICK = "Reasoning: pick a colour = red. Answer: red"
FIND = f"Step 1: find the {FACT.relation} of {FACT.subject} = {FACT.value}. Answer: {FACT.value}"


def test_a_computed_value_advances_and_the_natural_tool_most(box):
    queries = {"calculator": "46 * 7", "wolfram_alpha": "46 * 7", "python_repl": "print(46 * 7)"}
    assert points(case(SUM, "322", queries), box) == {"calculator": 10, "wolfram_alpha": 9, "python_repl": 8}


def test_what_does_not_help_stays_far_below_six(box):
    queries = {"calculator": "46 + 7", "search": "46 * 7", "unit_converter": "46 * 7", "cot": "i do not know it yet"}
    assert points(case(SUM, "322", queries), box) == {"calculator": 2, "search": 2, "unit_converter": 0, "cot": 2}


def test_a_number_shown_by_chance_settles_nothing(box):
    number = case(
        f"Step 1: compute 1 + 1 = {NUMBER.value}. Answer: {NUMBER.value}", NUMBER.value, {"search": NUMBER.subject}
    )
    assert points(number, box)["search"] == 2


def test_conversion_by_tool_or_formula_and_the_bare_rule(box):
    queries = {
        "unit_converter": "12 km to m",
        "calculator": "12 * 1000",
        "python_repl": "print(12 * 1000)",
        "search": "km to m",
    }
    expected = {"unit_converter": 10, "calculator": 9, "python_repl": 8, "search": 4}
    assert points(case(UNIT, "12000", queries), box) == expected


def test_only_the_sources_that_hold_a_fact_advance(box):
    asked = f"{FACT.relation} of {FACT.subject}"
    found = points(
        case(FIND, FACT.value, dict.fromkeys(("wikipedia", "search", "static_kb", "semantic_scholar"), asked)), box
    )
    assert found == {"wikipedia": 10, "search": 9, "static_kb": 2, "semantic_scholar": 2}


def test_a_value_on_the_way_is_worth_one_less_and_the_last_value_may_come_at_once(box):
    queries = {"unit_converter": "12 km to m", "calculator": "12 * 1000 * 3"}
    assert points(case(TWO, "36000", queries), box) == {"unit_converter": 9, "calculator": 10}


def test_what_is_in_the_state_is_not_needed_again(box):
    steps = [("t", "unit_converter", "12 km to m", "12000 m")]
    queries = {"unit_converter": "12 km to m", "calculator": "12000 * 3"}
    assert points(case(TWO, "36000", queries, steps), box) == {"unit_converter": 2, "calculator": 10}


def test_with_the_answer_known_only_the_right_answer_counts(box):
    steps = [("t", "calculator", "46 * 7", "322")]
    ready = {"cot": "Answer: 322", "calculator": "322", "search": "322"}
    assert points(case(SUM, "322", ready, steps), box) == {"cot": 10, "calculator": 2, "search": 0}
    assert points(case(SUM, "322", {"cot": "Answer: nothing"}, steps), box) == {"cot": 0}
    assert points(case(SUM, "322", {"cot": "Answer: 323"}, steps), box) == {"cot": 0}


def test_a_right_answer_without_grounds_is_luck(box):
    assert points(case(SUM, "322", {"cot": "Answer: 322"}), box) == {"cot": 3}


def test_a_value_that_the_tool_was_given_is_luck_too(box):
    queries = {"calculator": "322", "python_repl": "print(322)"}
    assert points(case(SUM, "322", queries), box) == {"calculator": 3, "python_repl": 3}
    assert points(case("", "3.5", {"calculator": "3.5"}), box) == {"calculator": 3}
    assert points(case("", FACT.value, {"search": FACT.value, "python_repl": f"print('{FACT.value}')"}), box) == {
        "search": 3,
        "python_repl": 3,
    }


def test_plain_reasoning_needs_no_grounds_and_no_tool(box):
    queries = {"cot": "Answer: red", "search": "red", "calculator": "red"}
    assert points(case(PICK, "red", queries), box) == {"cot": 10, "search": 0, "calculator": 0}


def test_candidates_without_input_or_with_an_unknown_name_get_nothing(box):
    assert points(case(SUM, "322", {"calculator": None, "cot": "", "abacus": "46 * 7"}), box) == {
        "calculator": 0,
        "cot": 0,
        "abacus": 0,
    }


def test_a_program_that_prints_nothing_shows_nothing(box):
    assert points(case(SUM, "322", {"python_repl": "# the product"}), box) == {"python_repl": 1}


def test_a_real_question_without_a_solution_is_scored_by_the_text_of_its_option(box):
    weird = case(
        "", FACT.value.upper() + ".", {"wikipedia": FACT.subject, "cot": f"Answer: {FACT.value}", "search": "zzz"}
    )
    found = points(weird, box)
    assert found["cot"] == 8
    assert found["search"] <= 2


def test_numbers_of_a_real_question_are_compared_as_numbers(box):
    real = case(
        "A: Let's think step by step. The answer is (A).", "$1,250.00", {"calculator": "1250", "cot": "Answer: A"}
    )
    assert points(real, box) == {"calculator": 9, "cot": 8}


def test_a_weird_real_case_does_not_crash_and_is_scored_alike_twice(box):
    text = "The group $S_n$ has\n\\factorial{n} \x00 elements, ☃ \"'{}<|end|>" * 200
    queries = dict.fromkeys(ACTIONS, f"Answer: {text}")
    steps = [(None, "cot", None, None), ("t", "search", text, text)]
    weird = case("Step 1: find x = y. " * 50, text, queries, steps, options=[text, "", "N/A"])
    first = judge.score(weird, box)
    assert set(first) == set(ACTIONS)
    assert all(0 <= verdict["score"] <= 10 and verdict["reason"] for verdict in first.values())
    assert json.dumps(first) == json.dumps(judge.score(weird, box))
    assert judge.score({"candidates": [{"tool_name": "cot", "action_query": "Answer: A"}]}, box)["cot"]["score"] == 0
