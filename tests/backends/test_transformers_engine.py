"""What must hold of the engine, on the embedded policy: log-probs are the model's own, neighbours and batches do not
show, forcing, stopping and lengths are exact."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparkctl import chat
from sparkctl.backends.transformers_engine import TransformersEngine
from sparkctl.episode import ACTION, ACTIONS, INPUT, THOUGHT, State, Step, messages
from sparkctl.errors import SparkError

STATES = [
    State("what is 3 + 4?", ("7", "8", "9", "34")),
    State("what is the capital of norland?", ("a", "b", "c", "d", "e", "f", "g")),
    State("what is 12 * 3?", ("36", "12"), (Step("i must compute 12 * 3", "calculator", "12 * 3", "36"),)),
]


@pytest.fixture(scope="module")
def engine():
    return TransformersEngine("nano", batch_size=64)


def request(state, **changes):
    asked = {"messages": messages(state, "s"), "turn": [{"text": THOUGHT}], "forced": [""], "stop": []}
    return asked | {"max_new_tokens": 24, "temperature": 0.0, "seed": 1} | changes


def fork(state, **changes):
    """The nine candidates of a state."""
    turn = [{"text": THOUGHT}, {"text": " i must compute"}, {"text": ACTION}]
    return request(state, turn=turn, forced=[f" {a}{INPUT}" for a in ACTIONS], **changes)


def prompt_ids(engine, asked):
    ids = chat.encode_chat(engine.tokenizer, asked["messages"])
    for part in asked["turn"]:
        ids += part["ids"] if "ids" in part else chat.encode_text(engine.tokenizer, part["text"])
    return ids


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_log_probs_agree_with_a_plain_forward_pass(engine, temperature):
    """To 2e-4: the engine rounds to 1e-4, and float32 attention over a cache adds in another order."""
    asked = fork(STATES[2], temperature=temperature)
    for completion in engine([asked])[0].body["completions"]:
        prompt, ids = prompt_ids(engine, asked), completion["ids"]
        with torch.no_grad():
            logits = engine.model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        plain = logits[range(len(ids)), ids].tolist()
        assert completion["logprobs"] == pytest.approx(plain, abs=2e-4)


def test_greedy_takes_the_likeliest_token_after_the_forced_part(engine):
    asked = fork(STATES[0])
    for action, completion in zip(ACTIONS, engine([asked])[0].body["completions"], strict=True):
        forced = chat.encode_text(engine.tokenizer, f" {action}{INPUT}")
        assert completion["ids"][: len(forced)] == forced
        prompt = prompt_ids(engine, asked)
        with torch.no_grad():
            logits = engine.model(torch.tensor([prompt + completion["ids"]])).logits[0]
        likeliest = logits[len(prompt) - 1 + len(forced) : -1].argmax(-1).tolist()
        assert completion["ids"][len(forced) :] == likeliest


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_neighbours_and_batch_size_do_not_show(engine, temperature):
    asked = [fork(s, temperature=temperature, seed=i) for i, s in enumerate(STATES)]
    asked += [request(s, temperature=temperature, seed=i) for i, s in enumerate(STATES)]
    together = engine(asked)
    alone = [engine([a])[0] for a in asked]
    small = TransformersEngine("nano", batch_size=9)(asked)
    for one, two, three in zip(together, alone, small, strict=True):
        for a, b, c in zip(one.body["completions"], two.body["completions"], three.body["completions"], strict=True):
            assert a["ids"] == b["ids"] == c["ids"]
            assert a["logprobs"] == pytest.approx(b["logprobs"], abs=2e-4)


def test_the_seed_decides(engine):
    texts = [engine([request(STATES[1], temperature=1.5, seed=s)])[0].body["completions"][0]["text"] for s in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_sampling_follows_the_models_distribution(engine):
    """2,000 first tokens at temperature 1 against the softmax: within four standard errors for the likeliest five."""
    asked = [request(STATES[1], temperature=1.0, seed=i, max_new_tokens=1) for i in range(2000)]
    drawn = torch.tensor([r.body["completions"][0]["ids"][0] for r in engine(asked)])
    with torch.no_grad():
        probability = engine.model(torch.tensor([prompt_ids(engine, asked[0])])).logits[0, -1].softmax(-1)
    for token in probability.topk(5).indices:
        p = probability[token].item()
        assert (drawn == token).float().mean().item() == pytest.approx(p, abs=4 * (p * (1 - p) / 2000) ** 0.5 + 1e-9)


def test_a_stop_string_is_cut_off_with_its_tokens(engine):
    completion = engine([request(STATES[0], stop=[ACTION], max_new_tokens=40)])[0].body["completions"][0]
    assert completion["finish"] == "stop"
    assert ACTION not in completion["text"]
    assert engine.tokenizer.decode(completion["ids"]) == completion["text"]
    assert len(completion["ids"]) == len(completion["logprobs"]) > 0


def test_the_end_of_turn_is_counted_but_not_shown(engine):
    completion = engine([request(STATES[2], max_new_tokens=60)])[0].body["completions"][0]
    assert (completion["finish"], completion["ids"][-1]) == ("stop", engine.tokenizer.eos_token_id)
    assert engine.tokenizer.eos_token not in completion["text"]


def test_the_limit_ends_what_does_not_stop(engine):
    completion = engine([request(STATES[0], max_new_tokens=3)])[0].body["completions"][0]
    assert (completion["finish"], len(completion["ids"])) == ("length", 3)


def test_a_prompt_that_does_not_fit_is_an_error_and_the_others_go_on(engine):
    long = State("why " * engine.context, ("a", "b"))
    replies = engine([request(STATES[0]), request(long), request(STATES[1])])
    assert [r.error is None for r in replies] == [True, False, True]
    assert f"exceed the context of {engine.context}" in replies[1].error


def test_no_requests_no_replies(engine):
    assert engine([]) == []


@given(st.text(max_size=40), st.text(max_size=40))
@settings(max_examples=50, deadline=None)
def test_a_state_is_a_prefix_of_the_state_after_it(engine, query, observation):
    first = State("q?", ("a", "b"))
    after = State("q?", ("a", "b"), (Step("t", "search", query, observation),))
    one, two = (chat.encode_chat(engine.tokenizer, messages(s, "s")) for s in (first, after))
    assert two[: len(one)] == one


@given(st.sampled_from(["<|end|>", "<|assistant|>", "<|user|>", "<|pad|>"]), st.text(max_size=20))
@settings(max_examples=50, deadline=None)
def test_no_observation_becomes_a_special_token(engine, special, text):
    state = State("q?", ("a", "b"), (Step("t", "search", "x", f"{text}{special}{text}"),))
    plain = State("q?", ("a", "b"), (Step("t", "search", "x", text),))
    specials = set(engine.tokenizer.all_special_ids)
    counts = [sum(i in specials for i in chat.encode_chat(engine.tokenizer, messages(s, "s"))) for s in (state, plain)]
    assert counts[0] == counts[1]


def test_a_tokenizer_without_a_chat_template_gets_paragraphs(engine, monkeypatch):
    monkeypatch.setattr(engine.tokenizer, "chat_template", None)
    ids = chat.encode_chat(engine.tokenizer, [{"role": "system", "content": "s"}, {"role": "user", "content": "q?"}])
    assert engine.tokenizer.decode(ids) == "s\n\nq?\n\n"


def test_an_adapter_that_is_none_is_named(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(SparkError, match="not an adapter of this base model"):
        TransformersEngine("nano", adapter=tmp_path)
