"""Requests to a policy, and adapters over the embedded one, for the tests of the engines."""

import torch
from peft import LoraConfig, get_peft_model

from sparkctl.method.episode import ACTION, ACTIONS, INPUT, THOUGHT, State, Step, messages
from sparkctl.models import loading

STATES = [
    State("what is 3 + 4?", ("7", "8", "9", "34")),
    State("what is the capital of norland?", ("a", "b", "c", "d", "e", "f", "g")),
    State("what is 12 * 3?", ("36", "12"), (Step("i must compute 12 * 3", "calculator", "12 * 3", "36"),)),
    State("größe 😀 \u2028 of naïve?", ("½", "日本"), ()),
]


def request(state, **changes):
    """Go on with a thought."""
    asked = {"messages": messages(state, "s"), "turn": [{"text": THOUGHT}], "forced": [""], "stop": []}
    return asked | {"max_new_tokens": 24, "temperature": 0.0, "seed": 1} | changes


def fork(state, **changes):
    """The nine candidates of a state."""
    turn = [{"text": THOUGHT}, {"text": " i must compute"}, {"text": ACTION}]
    return request(state, turn=turn, forced=[f" {a}{INPUT}" for a in ACTIONS], **changes)


def save_adapter(folder, seed, rank=8):
    """A LoRA adapter over the embedded policy that changes what it says."""
    torch.manual_seed(seed)
    model = get_peft_model(
        loading.open_model("nano", "float32", "cpu"), LoraConfig(r=rank, target_modules="all-linear")
    )
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    model.save_pretrained(folder)
    return folder
