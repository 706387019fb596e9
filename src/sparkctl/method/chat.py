"""From a state to token ids, with any Hugging Face tokenizer. Template text and content are encoded apart.

Why apart: a content can then never form a special token (an observation that spells `<|eot_id|>` stays text), and the
tokens of a state are a true prefix of the tokens of the state after it, so prefixes can be shared and cached.
A tokenizer without a chat template gets the contents as paragraphs.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sparkctl.errors import SparkError
from sparkctl.method.episode import ACTION, THOUGHT

TEMPLATE_DATE = "01 Jan 2026"
"""What templates that show a date are given: with today's, the same recipe would give other tokens tomorrow."""
_SLOT = re.compile("\ue000(\\d+)\ue001")


def encode_text(tokenizer: Any, text: str) -> list[int]:
    """Ids of plain text; special tokens that the text spells out are not recognised as such."""
    ids: list[int] = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return ids


def encode_after(tokenizer: Any, sampled: Sequence[int], said: str, text: str) -> list[int]:
    """Ids of a text that follows sampled tokens which say `said` (blanks around it do not count), without the beginning of
    the text that the last of them wrote already.

    What was cut at `\\nAction:` may end with the token `.\\n`, and is followed by `Action:`: the state then reads as it will
    be told in the next step, and as the policy wrote it. A last token that holds nothing else (`\\n` alone) stands before
    the border, and the text follows whole.
    """
    last, beyond = tokenizer.decode(sampled[-1:]), tokenizer.decode(sampled).lstrip()[len(said.strip()) :]
    longest = min(len(text), len(beyond), len(last) - 1)
    there = max((n for n in range(1, longest + 1) if beyond.endswith(text[:n])), default=0)
    return encode_text(tokenizer, text[there:])


def encode_chat(tokenizer: Any, chat: Sequence[dict[str, str]]) -> list[int]:
    """Ids of the messages with the opening of the next assistant turn; what follows is the turn's own text."""
    slots = [{"role": message["role"], "content": f"\ue000{i}\ue001"} for i, message in enumerate(chat)]
    if tokenizer.chat_template:
        frame = _framed(tokenizer, slots)
    else:
        frame = (tokenizer.bos_token or "") + "".join(slot["content"] + "\n\n" for slot in slots)
    ids: list[int] = []
    for i, part in enumerate(_SLOT.split(frame)):
        if i % 2:
            ids += _encoded_content(tokenizer, chat[int(part)]["content"])
        elif part:
            ids += tokenizer(part, add_special_tokens=False)["input_ids"]
    return ids


@lru_cache(maxsize=4096)
def _encoded_content(tokenizer: Any, content: str) -> tuple[int, ...]:
    """The rounds of a run show the same system prompt and the same questions again and again."""
    return tuple(encode_text(tokenizer, content))


def _framed(tokenizer: Any, slots: list[dict[str, str]]) -> str:
    """The template around the slots; where it knows no system role, that text goes before the user's."""
    from jinja2 import TemplateError

    date = {"date_string": TEMPLATE_DATE}
    try:
        return str(tokenizer.apply_chat_template(slots, tokenize=False, add_generation_prompt=True, **date))
    except TemplateError:
        first = {"role": "user", "content": slots[0]["content"] + "\n\n" + slots[1]["content"]}
    try:
        folded = [first, *slots[2:]]
        return str(tokenizer.apply_chat_template(folded, tokenize=False, add_generation_prompt=True, **date))
    except TemplateError as fault:
        raise SparkError(f"synth.policy: its chat template refuses the episode ({fault})") from None


def thought_prefix(tokenizer: Any) -> list[int]:
    """What opens a turn; the policy goes on with its thought."""
    return encode_text(tokenizer, THOUGHT)


def action_prefix(tokenizer: Any, thought_ids: Sequence[int], thought: str) -> list[int]:
    """What follows a thought, as sampled and as read; the policy goes on with ` <tool>`."""
    return encode_after(tokenizer, thought_ids, thought, ACTION)
