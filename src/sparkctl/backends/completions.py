"""What every policy engine shares: a request as token ids, and what was sampled as the completion that the stages read.

A request asks to go on from one prompt in several ways: `forced` holds the texts that the continuations begin with.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sparkctl import chat
from sparkctl.ports import Reply, Request

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
    for part in request["turn"]:
        ids += part["ids"] if "ids" in part else chat.encode_text(tokenizer, part["text"])
    forced = [chat.encode_text(tokenizer, text) for text in request["forced"]]
    new = max(map(len, forced)) + request["max_new_tokens"]
    if len(ids) + new > context:
        return Reply(None, f"prompt of {len(ids)} tokens and {new} new ones exceed the context of {context}")
    return Prompt(ids, forced)


def kept_before(tokenizer: Any, sampled: Sequence[int], stop: Sequence[str]) -> int | None:
    """How many sampled tokens end before the first stop string; None where there is no stop string.

    A token that reaches into the stop string goes with it.
    """
    text = tokenizer.decode(sampled)
    found = [text.index(s) for s in stop if s in text]
    if not found:
        return None
    kept = len(sampled) - 1
    while kept and len(tokenizer.decode(sampled[:kept])) > min(found):
        kept -= 1
    return kept


def completion(
    tokenizer: Any,
    ends: Collection[int],
    forced: Sequence[int],
    ids: Sequence[int],
    logprobs: Sequence[float],
    finish: str | None,
) -> dict[str, Any]:
    """`ids` and `logprobs` (natural log, temperature 1): the forced part, the sampled part and the end of turn.

    `text` is the sampled part without the end of turn, one of the token ids `ends`.
    """
    sampled = list(ids[len(forced) :])
    said = sampled[:-1] if sampled and sampled[-1] in ends else sampled
    return {
        "text": tokenizer.decode(said),
        "ids": list(ids),
        "logprobs": [round(logprob, DECIMALS) + 0.0 for logprob in logprobs],
        "finish": finish,
        "ended_turn": said != sampled,
    }


def body(prompt: Sequence[int], completions: list[Any]) -> dict[str, Any]:
    """What a reply holds. The prompt's tokens are counted once, however many completions go on from it."""
    return {"completions": completions, "prompt_tokens": len(prompt)}


def ends_of_turn(tokenizer: Any, generation_config: Any) -> set[int]:
    """The token ids that end a turn, as the model's generation config and its tokenizer say."""
    named = generation_config.eos_token_id
    ends = set(named if isinstance(named, list) else [named]) | {tokenizer.eos_token_id}
    return ends - {None}
