"""What must hold of every policy engine: the same requests, on the embedded policy, to each of the three.

vLLM and its server really run, on the CPU; they take a minute to start.
"""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.policy_requests import STATES, fork, request, save_adapter
from helpers.vllm_server import needs_vllm, served
from sparkctl.config.engines import Served, Vllm
from sparkctl.method import chat
from sparkctl.method.episode import ACTION, ACTIONS, INPUT, THOUGHT, State, Step, messages
from sparkctl.models import loading
from sparkctl.models.served_engine import ServedEngine
from sparkctl.models.transformers_engine import TransformersEngine

# vLLM leaves what it speaks to its own processes with to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <function Context.__del__")
KINDS = ["transformers", *(pytest.param(kind, marks=[pytest.mark.slow, needs_vllm]) for kind in ("vllm", "litellm"))]
TOLERANCE = 2e-4
"""Of a log-prob: engines round to 1e-4, and float32 attention over a cache adds in another order."""


@pytest.fixture(scope="module", params=KINDS)
def engine(request, tmp_path_factory):
    """A function from requests to replies."""
    if request.param == "transformers":
        yield TransformersEngine("nano", batch_size=64)
    elif request.param == "vllm":
        from sparkctl.models.vllm_engine import VllmEngine

        opened = VllmEngine("nano", options=Vllm(eager=True, cpu_cache_gib=1))
        yield opened
        opened.close()
    else:
        with served("nano", tmp_path_factory.mktemp("server") / "log") as api_base:
            yield partial(_gathered, ServedEngine("nano", Served(api_base=api_base, model="tiny", concurrency=16)))


def _gathered(engine, requests):
    found = [None] * len(requests)
    engine(requests, found.__setitem__)
    return found


@pytest.fixture(scope="module")
def plain():
    """The model itself and its tokenizer."""
    return loading.open_model("nano", "float32", "cpu"), loading.open_tokenizer("nano")


def prompt_ids(tokenizer, asked):
    ids = chat.encode_chat(tokenizer, asked["messages"])
    for part in asked["turn"]:
        ids += part["ids"] if "ids" in part else chat.encode_text(tokenizer, part["text"])
    return ids


def scored(model, prompt, ids):
    """(token, vocabulary): log-probs of a plain forward pass for what comes after the prompt."""
    with torch.no_grad():
        return model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)


def only(replies):
    (reply,) = replies
    (completion,) = reply.body["completions"]
    return completion


def test_replies_have_the_shape_and_order_of_the_requests(engine, plain):
    asked = [fork(STATES[0]), request(STATES[1]), fork(STATES[2]), request(STATES[3], max_new_tokens=1)]
    replies = engine(asked)
    assert [len(r.body["completions"]) for r in replies] == [9, 1, 9, 1]
    for each, reply in zip(asked, replies, strict=True):
        assert reply.body["prompt_tokens"] == len(prompt_ids(plain[1], each))
        for text, completion in zip(each["forced"], reply.body["completions"], strict=True):
            assert completion.keys() == {"text", "ids", "logprobs", "finish", "ended_turn"}
            assert len(completion["ids"]) == len(completion["logprobs"]) > 0
            forced = chat.encode_text(plain[1], text)
            assert completion["ids"][: len(forced)] == forced
            assert len(completion["ids"]) <= len(forced) + each["max_new_tokens"]
            assert completion["finish"] in ("stop", "length")


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_log_probs_agree_with_a_plain_forward_pass(engine, plain, temperature):
    model, tokenizer = plain
    for state in STATES:
        asked = fork(state, temperature=temperature)
        for completion in engine([asked])[0].body["completions"]:
            ids = completion["ids"]
            expected = scored(model, prompt_ids(tokenizer, asked), ids)[range(len(ids)), ids].tolist()
            assert completion["logprobs"] == pytest.approx(expected, abs=TOLERANCE)


def test_greedy_takes_the_likeliest_token_after_the_forced_part(engine, plain):
    model, tokenizer = plain
    asked = fork(STATES[0])
    for action, completion in zip(ACTIONS, engine([asked])[0].body["completions"], strict=True):
        forced = len(chat.encode_text(tokenizer, f" {action}{INPUT}"))
        likeliest = scored(model, prompt_ids(tokenizer, asked), completion["ids"]).argmax(-1).tolist()
        assert completion["ids"][forced:] == likeliest[forced:]


def test_the_seed_decides(engine):
    texts = [only(engine([request(STATES[1], temperature=1.5, seed=s)]))["text"] for s in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_the_continuations_of_one_request_are_drawn_apart(engine):
    asked = request(STATES[1], temperature=1.5, forced=["", "", ""])
    texts = [completion["text"] for completion in engine([asked])[0].body["completions"]]
    assert len(set(texts)) > 1


def test_sampling_follows_the_models_distribution(engine, plain):
    """1,000 choices of a tool at temperature 1 against the softmax: within four standard errors for the likeliest."""
    model, tokenizer = plain
    turn = fork(STATES[1])["turn"]
    asked = [request(STATES[1], turn=turn, temperature=1.0, seed=i, max_new_tokens=1) for i in range(1000)]
    drawn = torch.tensor([only([r])["ids"][0] for r in engine(asked)])
    with torch.no_grad():
        probability = model(torch.tensor([prompt_ids(tokenizer, asked[0])])).logits[0, -1].softmax(-1)
    likeliest = [token for token in probability.topk(5).indices if probability[token] > 0.01]
    assert len(likeliest) > 2
    for token in likeliest:
        p = probability[token].item()
        assert (drawn == token).float().mean().item() == pytest.approx(p, abs=4 * (p * (1 - p) / 1000) ** 0.5 + 1e-9)


def test_a_stop_string_is_cut_off_with_its_tokens(engine, plain):
    completion = only(engine([request(STATES[0], stop=[ACTION], max_new_tokens=40)]))
    assert completion["finish"] == "stop"
    assert ACTION not in completion["text"]
    assert plain[1].decode(completion["ids"]) == completion["text"] != ""
    assert completion["ended_turn"] is False


def test_of_a_token_that_reaches_into_a_stop_string_no_character_said_is_lost(engine, plain):
    whole = only(engine([request(STATES[0], max_new_tokens=12)]))
    stop = next(token[1:] for i in reversed(whole["ids"]) if len(token := plain[1].decode([i])) > 2)
    cut = only(engine([request(STATES[0], max_new_tokens=12, stop=[stop])]))
    assert stop not in cut["text"]
    assert len(cut["ids"]) < len(whole["ids"])
    assert cut["ids"] == whole["ids"][: len(cut["ids"])]
    written = plain[1].decode(cut["ids"])
    beyond = written.removeprefix(cut["text"])
    assert written == cut["text"] + beyond
    assert stop.startswith(beyond) or beyond.startswith(stop)
    assert whole["text"].startswith(cut["text"] + stop)


def test_the_end_of_turn_is_counted_but_not_shown(engine, plain):
    tokenizer = plain[1]
    completion = only(engine([request(STATES[2], max_new_tokens=60)]))
    assert (completion["finish"], completion["ids"][-1]) == ("stop", tokenizer.eos_token_id)
    assert completion["ended_turn"]
    assert tokenizer.eos_token not in completion["text"]


def test_an_empty_output_is_the_end_of_turn_alone(engine, plain):
    tokenizer = plain[1]
    whole = only(engine([request(STATES[2], max_new_tokens=60)]))
    said = {"text": whole["text"], "ids": whole["ids"][:-1]}
    empty = only(engine([request(STATES[2], turn=[{"text": THOUGHT}, said])]))
    assert (empty["text"], empty["ids"], empty["finish"]) == ("", [tokenizer.eos_token_id], "stop")
    assert empty["logprobs"] == pytest.approx(whole["logprobs"][-1:], abs=TOLERANCE)


def test_the_limit_ends_what_does_not_stop(engine):
    completion = only(engine([request(STATES[0], max_new_tokens=3)]))
    assert (completion["finish"], len(completion["ids"])) == ("length", 3)


def test_a_prompt_that_does_not_fit_is_an_error_and_the_others_go_on(engine):
    long = State("why " * 4000, ("a", "b"))
    replies = engine([request(STATES[0]), request(long), request(STATES[1])])
    assert [r.error is None for r in replies] == [True, False, True]
    assert "context" in replies[1].error
    assert "\n" not in replies[1].error


def test_no_requests_no_replies(engine):
    assert engine([]) == []


@needs_vllm
@pytest.mark.slow
def test_vllm_lays_adapters_over_one_model(tmp_path, plain, monkeypatch):
    """The base, two adapters and the base again: log-probs are those of peft, and vLLM is opened once."""
    from sparkctl.models.vllm_engine import VllmEngine

    engine = VllmEngine("nano", options=Vllm(eager=True, cpu_cache_gib=1, lora_rank=24))
    opened, open_vllm = [], engine._open
    monkeypatch.setattr(engine, "_open", lambda: opened.append(1) or open_vllm())
    folders = [save_adapter(tmp_path / "one", 1, rank=24), save_adapter(tmp_path / "two", 2)]
    asked = fork(STATES[2])
    for folder in [None, *folders, None]:
        model = loading.open_model("nano", "float32", "cpu")
        model = loading.with_adapter(model, folder) if folder else model
        for completion in engine([asked], adapter=folder)[0].body["completions"]:
            ids = completion["ids"]
            expected = scored(model, prompt_ids(plain[1], asked), ids)[range(len(ids)), ids].tolist()
            assert completion["logprobs"] == pytest.approx(expected, abs=TOLERANCE)
    engine.close()
    assert len(opened) == 1


@needs_vllm
@pytest.mark.slow
@pytest.mark.long
def test_two_copies_of_the_model_answer_in_order(plain, tmp_path):
    from sparkctl.models.vllm_replicas import VllmReplicas

    asked = [fork(STATES[0]), request(STATES[1]), fork(STATES[2])]
    one = TransformersEngine("nano")
    copies = VllmReplicas("nano", options=Vllm(eager=True, cpu_cache_gib=1, data_parallel=2))
    for adapter in (None, save_adapter(tmp_path, 1)):
        for ours, theirs in zip(copies(asked, adapter), one(asked, adapter), strict=True):
            for a, b in zip(ours.body["completions"], theirs.body["completions"], strict=True):
                assert a["ids"] == b["ids"]
                assert a["logprobs"] == pytest.approx(b["logprobs"], abs=TOLERANCE)
    assert copies([]) == []
    copies.close()


@given(st.text(max_size=40), st.text(max_size=40))
@settings(max_examples=50, deadline=None)
def test_a_state_is_a_prefix_of_the_state_after_it(plain, query, observation):
    first = State("q?", ("a", "b"))
    after = State("q?", ("a", "b"), (Step("t", "search", query, observation),))
    one, two = (chat.encode_chat(plain[1], messages(s, "s")) for s in (first, after))
    assert two[: len(one)] == one


@given(st.sampled_from(["<|end|>", "<|assistant|>", "<|user|>", "<|pad|>"]), st.text(max_size=20))
@settings(max_examples=50, deadline=None)
def test_no_observation_becomes_a_special_token(plain, special, text):
    state = State("q?", ("a", "b"), (Step("t", "search", "x", f"{text}{special}{text}"),))
    other = State("q?", ("a", "b"), (Step("t", "search", "x", text),))
    specials = set(plain[1].all_special_ids)
    counts = [sum(i in specials for i in chat.encode_chat(plain[1], messages(s, "s"))) for s in (state, other)]
    assert counts[0] == counts[1]


def test_a_tokenizer_without_a_chat_template_gets_paragraphs(plain, monkeypatch):
    monkeypatch.setattr(plain[1], "chat_template", None)
    ids = chat.encode_chat(plain[1], [{"role": "system", "content": "s"}, {"role": "user", "content": "q?"}])
    assert plain[1].decode(ids) == "s\n\nq?\n\n"
