"""What every policy engine shares: a request as token ids, and what was sampled as the completion that the stages read.

A request asks to go on from one prompt in several ways: `forced` holds the texts that the continuations begin with.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sparkctl.method import chat
from sparkctl.method.ports import Reply, Request

DECIMALS = 4
"""Log-probs are kept to this many decimals: below that, batched float32 arithmetic is noise."""


@dataclass(frozen=True)
class Prompt:
    """A request's token ids: the prompt, and what each of its continuations begins with."""

    ids: list[int]
    forced: list[list[int]]


def encoded(tokenizer: Any, request: Request, context: int) -> Prompt | Reply:
    """The request as token ids, or the reply that it does not fit into a context of this many tokens."""
    ids = chat.encode_chat(tokenizer, request["messages"])
    before: dict[str, Any] = {}
    for part in request["turn"]:
        sampled, said = before.get("ids", ()), before.get("text", "")
        ids += part["ids"] if "ids" in part else chat.encode_after(tokenizer, sampled, said, part["text"])
        before = part
    forced = [chat.encode_text(tokenizer, text) for text in request["forced"]]
    new = max(map(len, forced)) + request["max_new_tokens"]
    if len(ids) + new > context:
        return Reply(None, f"prompt of {len(ids)} tokens and {new} new ones exceed the context of {context}")
    return Prompt(ids, forced)


def before_stop(tokenizer: Any, sampled: Sequence[int], stop: Sequence[str]) -> tuple[int, str] | None:
    """What stands before the first stop string: how many of the sampled tokens, and their text; None without a stop.

    A token that reaches over the border stays whole, as it was sampled: it holds characters that were said before the
    stop, and cut in two it would be other tokens, whose log-probs nobody knows. So the text is what the tokens decode to,
    up to the stop: where the last of them goes on behind the text, that is (the beginning of) the stop. Tokens that hold
    nothing but the stop go. `chat.encode_after` is the other half: it does not write a second time what stands there.
    """
    written = tokenizer.decode(sampled)
    found = [written.index(s) for s in stop if s in written]
    if not found:
        return None
    text = written[: min(found)]
    kept = len(sampled) - 1
    while kept and len(tokenizer.decode(sampled[:kept])) > len(text):
        kept -= 1
    return (kept if tokenizer.decode(sampled[:kept]) == text else kept + 1), text


def completion(
    tokenizer: Any,
    ends: Collection[int],
    stop: Sequence[str],
    forced: Sequence[int],
    ids: Sequence[int],
    logprobs: Sequence[float],
    finish: str | None,
) -> dict[str, Any]:
    """The completion that is kept of all that was written, `ids`: the forced part, the sampled part, perhaps one of the
    token ids `ends`, the end of turn.

    It holds `ids` and `logprobs` (natural log, temperature 1) up to the end of turn or to the first of the `stop` strings
    in the sampled part, and its `text`: the sampled part without the end of turn and without the stop; see `before_stop`.
    """
    sampled = list(ids[len(forced) :])
    said = sampled[:-1] if sampled and sampled[-1] in ends else sampled
    stopped = before_stop(tokenizer, said, stop)
    kept, text = stopped or (len(sampled), tokenizer.decode(said))
    size = len(forced) + kept
    return {
        "text": text,
        "ids": list(ids[:size]),
        "logprobs": [round(logprob, DECIMALS) + 0.0 for logprob in logprobs[:size]],
        "finish": "stop" if stopped else finish,
        "ended_turn": said != sampled and not stopped,
    }


def body(prompt: Sequence[int], completions: list[Any]) -> dict[str, Any]:
    """What a reply holds. The prompt's tokens are counted once, however many completions go on from it."""
    return {"completions": completions, "prompt_tokens": len(prompt)}


def ends_of_turn(tokenizer: Any, generation_config: Any) -> set[int]:
    """The token ids that end a turn, as the model's generation config and its tokenizer say."""
    named = generation_config.eos_token_id
    ends = set(named if isinstance(named, list) else [named]) | {tokenizer.eos_token_id}
    return ends - {None}
