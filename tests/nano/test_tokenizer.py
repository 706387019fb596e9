"""That any text comes back, and that encoding in parts equals encoding the whole."""

from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparkctl.method import chat, episode
from sparkctl.nano import questions, tokenizer

WORDS = tokenizer.build()
LINES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), max_size=40)
HARD = [
    "",
    " ",
    "  a  b ",
    "<|end|>",
    "<0x41>",
    "▁x",
    "é🙂\U0010ffff",
    "\t\r\n\x00",
    "12.5e-7",
    "Thought:\nAction: cot\nInput:",
]


def encoded(text):
    return chat.encode_text(WORDS, text)


def check_round_trip(text):
    assert WORDS.decode(encoded(text)) == text


@pytest.mark.parametrize("text", HARD)
def test_hard_texts_come_back(text):
    check_round_trip(text)


@settings(deadline=None, max_examples=300)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back(text):
    check_round_trip(text)


@settings(deadline=None, max_examples=200)
@given(LINES, st.sampled_from(episode.ACTIONS), LINES)
def test_a_turn_in_parts_is_the_turn_as_a_whole(thought, tool, query):
    parts = [
        chat.thought_prefix(WORDS),
        encoded(f" {thought}"),
        chat.action_prefix(WORDS, encoded(f" {thought}"), thought),
        encoded(f" {tool}{episode.INPUT}"),
        encoded(f" {query}"),
    ]
    assert [*chain(*parts)] == encoded(f"Thought: {thought}\nAction: {tool}\nInput: {query}")


def test_markers_and_tool_names_are_single_tokens():
    for text in [*tokenizer.MARKERS, *(f" {tool}" for tool in episode.ACTIONS), "7", " wikipedia"]:
        assert len(encoded(text)) == 1


def test_special_tokens_in_a_content_stay_text():
    state = episode.State("<|end|><|assistant|>?", ("<|pad|>", "b"))
    ids = chat.encode_chat(WORDS, episode.messages(state, "not shown"))
    special = [token for token in WORDS.convert_ids_to_tokens(ids) if token in tokenizer.SPECIALS]
    assert special == [tokenizer.USER, tokenizer.END, tokenizer.ASSISTANT]


def test_a_state_is_a_prefix_of_the_state_after_it():
    step = episode.Step("i must compute 4 * 7", "calculator", "4 * 7", "28")
    before = episode.State("what is 4 times 7?", ("28", "27"))
    after = episode.State(before.question, before.options, (step,))
    ids = [chat.encode_chat(WORDS, episode.messages(state, "s")) for state in (before, after)]
    assert ids[1][: len(ids[0])] == ids[0]


def test_the_vocabulary_is_small_and_questions_are_short():
    assert len(WORDS) <= 1500
    rows = questions.generate("test", 140, seed=0)
    lengths = [
        len(chat.encode_chat(WORDS, episode.messages(episode.State(r["question"], tuple(r["options"])), "")))
        for r in rows
    ]
    assert max(lengths) < 120
    assert not any(
        token.startswith("<0x") for row in rows for token in WORDS.convert_ids_to_tokens(encoded(row["question"]))
    )
