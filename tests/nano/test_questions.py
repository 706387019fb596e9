"""What a generated question must be, and that training and test questions never meet."""

from collections import Counter
from itertools import product

import pytest

from sparkctl.errors import SparkError
from sparkctl.method.answers import read_strict
from sparkctl.method.episode import CATEGORIES, LETTERS
from sparkctl.nano import questions, solution, world

COLUMNS = {
    "question_id": int,
    "question": str,
    "options": list,
    "answer": str,
    "answer_index": int,
    "cot_content": str,
    "category": str,
    "src": str,
}


@pytest.fixture(scope="module")
def rows():
    return questions.generate("test", 1400, seed=3)


def test_rows_have_the_schema_of_mmlu_pro(rows):
    for row in rows:
        assert {name: type(value) for name, value in row.items()} == COLUMNS
        assert row["answer"] == LETTERS[row["answer_index"]]
        assert 4 <= len(row["options"]) <= 10
        assert len(set(row["options"])) == len(row["options"])
        assert all(option == option.strip() != "" for option in row["options"])


def test_an_option_named_by_its_text_is_that_option(rows):
    for row in rows:
        found = [read_strict(f"Answer: {option}", row["options"]) for option in row["options"]]
        assert found == [(letter, "text") for letter in LETTERS[: len(found)]]


def test_categories_have_equal_shares(rows):
    assert Counter(row["category"] for row in rows) == dict.fromkeys(CATEGORIES, 100)
    assert set(Counter(row["category"] for row in questions.generate("train", 31, seed=0)).values()) == {2, 3}


def test_every_kind_is_there_and_the_answer_stands_anywhere(rows):
    kinds = Counter(row["src"] for row in rows)
    assert set(kinds) == {f"nano-{kind}" for kind in questions.KINDS}
    assert min(kinds.values()) > 60
    # 4 options in 4 of 13 questions: 1400 / 4 is expected at most in a place, 1400 * .19 at least in the first four
    places = Counter(row["answer_index"] for row in rows)
    assert all(190 < places[place] < 350 for place in range(4))


def test_the_solution_is_read_back_and_ends_in_the_answer(rows):
    for row in rows:
        solved = solution.read(row["cot_content"])
        assert solved is not None
        assert solved.answer == row["options"][row["answer_index"]]
        assert solution.write(solved) == row["cot_content"]


@pytest.mark.parametrize(
    "text", ["", "A: Let's think. The answer is (C).", "Answer: 4", "Step 1: guess = 4. Answer: 4"]
)
def test_a_foreign_solution_is_not_read(text):
    assert solution.read(text) is None


def test_splits_never_meet_whatever_the_seeds():
    asked = {"train": set(), "test": set()}
    for split, seed in product(asked, range(4)):
        asked[split] |= {
            (row["question"], tuple(sorted(row["options"]))) for row in questions.generate(split, 2800, seed)
        }
    assert not asked["train"] & asked["test"]


def test_an_enumerated_content_belongs_to_one_split_and_has_one_id():
    every = {split: questions.items(split, "math") for split in ("train", "test")}
    contents = [item.content for kinds in every.values() for items in kinds.values() for item in items]
    assert len(contents) == len(set(contents))


def test_no_question_comes_twice_and_the_seed_decides():
    rows = questions.generate("train", 5000, seed=1)
    assert len({row["question_id"] for row in rows}) == 5000
    assert rows == questions.generate("train", 5000, seed=1)
    assert rows != questions.generate("train", 5000, seed=2)


def test_one_id_is_one_row():
    first = {row["question_id"]: row for row in questions.generate("train", 4200, seed=1)}
    second = {row["question_id"]: row for row in questions.generate("train", 4200, seed=2)}
    shared = first.keys() & second.keys()
    assert shared
    assert all(first[key] == second[key] for key in shared)


@pytest.mark.parametrize("split", ["train", "test"])
def test_more_than_there_are_is_refused_with_their_number(split):
    most = questions.available(split)
    assert most >= 3000
    with pytest.raises(SparkError, match=str(most)):
        questions.generate(split, most + 1, seed=0)


def test_every_fact_is_held_by_one_to_four_sources():
    counts = Counter(len(world.holders(fact)) for fact in world.facts())
    assert set(counts) == {1, 2, 3, 4}
    assert counts[4] < len(world.facts()) / 2
    held = Counter(source for fact in world.facts() for source in world.holders(fact))
    assert held["wikipedia"] > held["static_kb"] > held["semantic_scholar"]


def test_names_are_different():
    subjects = {fact.subject for fact in world.facts()}
    pools = [
        world.pool(category, relation) for category in CATEGORIES for relation in world.DOMAINS[category].relations
    ]
    assert len(subjects) == len(CATEGORIES) * world.SUBJECTS
    assert len(subjects | {name for pool in pools for name in pool}) == len(subjects) + 28 * world.VALUES
