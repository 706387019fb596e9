"""What must hold of a completion, whatever tokenizer and engine: no character before a stop is lost, text and ids agree, and
no token is another than was sampled."""

from functools import cache
from itertools import chain

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from helpers.byte_level import byte_level, sentencepiece
from sparkctl.method import chat
from sparkctl.method.episode import ACTION, STOPS
from sparkctl.models import loading
from sparkctl.models.completions import before_stop, completion, encoded

TOKENIZERS = {"byte-level": cache(byte_level), "sentencepiece": cache(sentencepiece), "nano": lambda: NANO}
NANO = loading.open_tokenizer("nano")
NO_CHARACTER = "\ufffd"
FRAGMENTS = [ACTION, *STOPS, "\n", "c.\n", "it is 7.", " cot", "Zürich", "日本", "😀", "  ", "Ac", "3 + 4"]
TEXTS = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=4), max_size=8).map("".join)


def sampled_by(tokenizer):
    """Tokens of a text as the tokenizer cuts it, and as nobody would."""
    text = TEXTS.map(lambda t: chat.encode_text(tokenizer, t.encode("utf-8", "replace").decode()))
    plain = [i for i in range(len(tokenizer)) if i not in tokenizer.all_special_ids]
    return st.lists(text | st.lists(st.sampled_from(plain), max_size=4), max_size=4).map(
        lambda parts: [*chain.from_iterable(parts)]
    )


@st.composite
def written(draw, name):
    """(tokenizer, forced, sampled, stops), the stops mostly parts of what was written, from anywhere."""
    tokenizer = TOKENIZERS[name]()
    forced, sampled = (draw(sampled_by(tokenizer)) for _ in range(2))
    text = tokenizer.decode(sampled)
    places = st.tuples(st.integers(0, max(len(text) - 1, 0)), st.integers(1, 9))
    part = places.map(lambda p: text[p[0] : p[0] + p[1]])
    stops = draw(st.lists(part | st.sampled_from([ACTION, *STOPS]), min_size=1, max_size=3))
    return tokenizer, forced, sampled, [s for s in stops if s and NO_CHARACTER not in s]


def completed(tokenizer, sampled, stops, forced=(), end=(), finish="length"):
    ids = [*forced, *sampled, *end]
    logprobs = [-float(i) for i in range(len(ids))]
    made = completion(tokenizer, {tokenizer.eos_token_id}, stops, list(forced), ids, logprobs, finish)
    assert made["ids"] == ids[: len(made["ids"])], "nothing is re-tokenised"
    assert made["logprobs"] == logprobs[: len(made["ids"])]
    assert made["ids"][: len(forced)] == list(forced)
    return made


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_text_is_what_was_written_before_the_first_stop_and_ids_decode_to_it(name, data):
    tokenizer, forced, sampled, stops = data.draw(written(name))
    end = data.draw(st.sampled_from([[], [tokenizer.eos_token_id]]))
    made = completed(tokenizer, sampled, stops, forced, end)
    whole = tokenizer.decode(sampled)
    found = [(whole.index(s), s) for s in stops if s in whole]
    if not found:
        assert (made["text"], made["ids"]) == (whole, [*forced, *sampled, *end])
        assert (made["finish"], made["ended_turn"]) == ("length", bool(end))
        return
    assert (made["finish"], made["ended_turn"]) == ("stop", False)
    at = min(found)[0]
    assert made["text"] == whole[:at], "not a character before the stop is lost"
    kept = made["ids"][len(forced) :]
    said = tokenizer.decode(kept)
    beyond = said[at:].rstrip(NO_CHARACTER)
    assert said[:at] == made["text"], "the ids decode to the text"
    assert whole[at:].startswith(beyond), "and where they go on, to (the beginning of) the stop"
    if said != made["text"]:
        assert tokenizer.decode(kept[:-1]) != made["text"], "only the last token reaches over the border"
        assert len(tokenizer.decode(kept[:-1])) <= at


@pytest.mark.parametrize("name", ["byte-level", "nano"])
@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_a_marker_is_written_once_behind_what_was_cut_at_it(name, data):
    """The state then reads as it will be told in the next step. (A sentencepiece puts a space before any text.)"""
    tokenizer = TOKENIZERS[name]()
    sampled = data.draw(sampled_by(tokenizer)) + chat.encode_text(tokenizer, f"{data.draw(TEXTS)}{ACTION} cot")
    stopped = before_stop(tokenizer, sampled, [ACTION])
    assume(stopped is not None)
    kept, text = stopped
    over = tokenizer.decode(sampled[:kept])[len(text) :]
    assume(ACTION.startswith(over))  # else one token held all of the marker and more
    told = tokenizer.decode([*sampled[:kept], *chat.action_prefix(tokenizer, sampled[:kept], text.strip())])
    # A token such as `.\n` that ended before the marker looks the same as one that reached into it.
    assert told == text + ACTION or (not over and told == text.removesuffix("\n") + ACTION)


def pieces(tokenizer, *texts):
    """The tokens that decode to these texts."""
    known = {tokenizer.decode([i]): i for i in range(len(tokenizer))}
    return [known[text] for text in texts]


@pytest.mark.parametrize("name", ["byte-level", "sentencepiece"])
def test_the_token_that_reaches_over_a_stop_stays(name):
    tokenizer = TOKENIZERS[name]()
    sampled = pieces(tokenizer, "it", ").\nAc", "tion", ":") if name == "sentencepiece" else None
    sampled = sampled or pieces(tokenizer, "it", "7.\nAc", "tion", ":")
    made = completed(tokenizer, sampled, [ACTION])
    assert made["text"] == tokenizer.decode(sampled).removesuffix(ACTION)
    assert made["text"].endswith(".")
    assert made["ids"] == sampled[:2]


def test_by_hand():
    """Text, kept tokens: stops behind, at, over and inside tokens, first of all, the earliest of two, none."""
    words = byte_level()
    ids = pieces(words, "it", "7.\nAc", "tion", ":")  # it7.\nAction:
    for stops, text, kept in [
        (["\nAction:"], "it7.", 2),
        (["7"], "it", 1),
        (["."], "it7", 2),
        (["t"], "i", 1),
        (["tion", "\n"], "it7.", 2),
        (["tion"], "it7.\nAc", 2),
        (["ion"], "it7.\nAct", 3),
        (["i"], "", 0),
        (["it7"], "", 0),
        ([":"], "it7.\nAction", 3),
        (["Thought"], "it7.\nAction:", 4),
        ([], "it7.\nAction:", 4),
    ]:
        made = completed(words, ids, stops)
        assert (made["text"], len(made["ids"])) == (text, kept)
        assert made["finish"] == ("stop" if text != "it7.\nAction:" else "length")


def test_a_character_over_several_tokens_is_whole_or_of_the_stop():
    words = byte_level()
    yen = chat.encode_text(words, "¥")
    rare = chat.encode_text(words, "ß日€")
    assert len(yen) == 2
    assert words.decode(yen[:1]) == NO_CHARACTER
    assert completed(words, yen + chat.encode_text(words, "\n"), ["\n"])["ids"] == yen
    assert completed(words, [*pieces(words, "it"), *yen], ["¥"])["ids"] == pieces(words, "it")
    # Cut at the limit within a character: the ids are as they were sampled, and the text is what they decode to.
    assert completed(words, rare[:-1], ["\n"])["text"] == words.decode(rare[:-1])
    assert completed(words, rare[:-1], ["\n"])["finish"] == "length"


@settings(deadline=None, max_examples=300)
@given(sampled_by(NANO))
@example(chat.encode_text(NANO, " i do.\n\nAction: cot"))
def test_no_token_of_the_embedded_policy_reaches_over_a_marker(sampled):
    """Why its replies keep their name: what engine version 1 kept of them is what 2 keeps; see pipeline/ports/policy.py."""
    made = completed(NANO, sampled, [ACTION, *STOPS])
    assert NANO.decode(made["ids"]) == made["text"]
    assert chat.action_prefix(NANO, made["ids"], made["text"].strip()) == chat.encode_text(NANO, ACTION)


def test_a_prompt_goes_on_from_sampled_tokens_without_writing_the_marker_twice():
    words = byte_level()
    said = pieces(words, "it", "7.\nAc")
    asked = {"messages": [], "forced": [""], "max_new_tokens": 1}
    turn = [{"text": "Thought:"}, {"text": "it7.", "ids": said}, {"text": ACTION}]
    ids = encoded(words, asked | {"turn": turn}, 100).ids
    assert words.decode(ids) == "Thought:it7.\nAction:"
    assert ids == [*chat.thought_prefix(words), *said, *chat.action_prefix(words, said, "it7.")]
    # What was put there as text is no sampled token: the next text follows whole.
    turn = [{"text": "Thought:\n"}, {"text": ACTION}]
    assert words.decode(encoded(words, asked | {"turn": turn}, 100).ids) == f"Thought:\n{ACTION}"
