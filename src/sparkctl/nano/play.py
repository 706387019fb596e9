"""Lets a policy answer questions on its own: used to watch it while it is trained, and in tests.

Whole turns are written freely, in batches. The stages have their own engines; this one is small and counts only.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sparkctl.method.answers import read_strict
from sparkctl.method.chat import encode_chat, thought_prefix
from sparkctl.method.episode import COT, COT_OBSERVATION, State, Step, messages, parse_turn, read_answer
from sparkctl.nano.teacher import MAX_STEPS, Box

TURN_TOKENS = 72


def play(model: Any, tokenizer: Any, rows: Sequence[dict[str, Any]], box: Box, sample: bool = False) -> list[State]:
    """The state of each question after the policy has answered it, used up its steps or written what cannot be read."""
    states = [State(row["question"], tuple(row["options"])) for row in rows]
    open_ = list(range(len(rows)))
    for _ in range(MAX_STEPS):
        texts = write_turns(model, tokenizer, [states[i] for i in open_], sample) if open_ else []
        still = []
        for i, text in zip(open_, texts, strict=True):
            turn = parse_turn(text)
            if turn.tool_name is None or turn.action_query is None:
                continue
            seen = COT_OBSERVATION if turn.tool_name == COT else box(turn.tool_name, turn.action_query).text
            step = Step(turn.thought, turn.tool_name, turn.action_query, seen)
            states[i] = replace(states[i], steps=(*states[i].steps, step))
            if read_answer(step.tool_name, step.action_query) is None:
                still.append(i)
        open_ = still
    return states


def is_correct(state: State, row: dict[str, Any]) -> bool:
    """Whether the last step names the right option."""
    last = state.steps[-1] if state.steps else None
    if last is None or read_answer(last.tool_name, last.action_query) is None:
        return False
    named = read_strict(last.action_query, row["options"])
    return named is not None and named.letter == row["answer"]


def write_turns(model: Any, tokenizer: Any, states: Sequence[State], sample: bool) -> list[str]:
    """The policy's next turn for each state, without the opening `Thought:`."""
    prompts = [encode_chat(tokenizer, messages(state, "")) + thought_prefix(tokenizer) for state in states]
    return write(model, tokenizer, prompts, sample)


def write(model: Any, tokenizer: Any, prompts: Sequence[list[int]], sample: bool, batch: int = 256) -> list[str]:
    """What the policy writes after each prompt, up to its end of turn. Prompts of like length share a batch."""
    import torch

    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    texts = [""] * len(prompts)
    for start in range(0, len(order), batch):
        part = order[start : start + batch]
        wide = max(len(prompts[i]) for i in part)
        ids = torch.tensor([[tokenizer.pad_token_id] * (wide - len(prompts[i])) + prompts[i] for i in part])
        mask = torch.tensor([[0] * (wide - len(prompts[i])) + [1] * len(prompts[i]) for i in part])
        with torch.inference_mode():
            out = model.generate(
                ids,
                attention_mask=mask,
                do_sample=sample,
                max_new_tokens=TURN_TOKENS,
                pad_token_id=tokenizer.pad_token_id,
            )
        for i, row in zip(part, out[:, wide:].tolist(), strict=True):
            texts[i] = tokenizer.decode(row, skip_special_tokens=True)
    return texts
