"""The policy engine on transformers: batched generation whose continuations share their prompt's cache.

Why not `generate()`: the nine candidates of a state have one prompt, which is run once here and then repeated; forced
tokens (an action's name) are scored like sampled ones, so that the log-probs of a whole action come from one pass; and
every sequence draws from its own random numbers, so that neither its neighbours nor a restart change what it says.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers.cache_utils import Cache, DynamicLayer

from sparkctl.errors import SparkError
from sparkctl.method.ports import Reply, Request
from sparkctl.models import loading
from sparkctl.models.completions import Prompt, body, completion, encoded, ends_of_turn

_ROOM = 32
"""Tokens that a cache grows by at once."""
_PADDING = 1.25
"""A prompt joins a batch whose shortest it exceeds by no more than this factor (and a few tokens): padding costs time."""
_DROP_SHARE = 0.3
"""Finished sequences leave the batch once they are this share of it."""

_NO_CHARACTER = "\ufffd"
"""What bytes that are no character decode to, such as one of the tokens that a character is spread over."""


class _RoomyLayer(DynamicLayer):
    """A layer's cache that grows by blocks: the library's own is copied whole for every token."""

    keys_room: torch.Tensor | None = None
    values_room: torch.Tensor | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append (sequence, head, token, width) to what is held; all that is held."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        held = self.get_seq_length()
        needed = held + key_states.shape[-2]
        if self.keys_room is None or self.values_room is None or self.keys_room.shape[-2] < needed:
            self.keys_room, self.values_room = (
                self._roomier(old, new, needed + _ROOM)
                for old, new in ((self.keys, key_states), (self.values, value_states))
            )
        self.keys_room[:, :, held:needed] = key_states
        self.values_room[:, :, held:needed] = value_states
        self.keys, self.values = self.keys_room[:, :, :needed], self.values_room[:, :, :needed]
        return self.keys, self.values

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every sequence."""
        super().batch_repeat_interleave(repeats)
        self.keys_room = self.values_room = None

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep these sequences."""
        super().batch_select_indices(indices)
        self.keys_room = self.values_room = None

    @staticmethod
    def _roomier(old: torch.Tensor | None, new: torch.Tensor, tokens: int) -> torch.Tensor:
        room = new.new_empty((*new.shape[:2], tokens, new.shape[3]))
        if old is not None and old.numel():
            room[:, :, : old.shape[-2]] = old
        return room


@dataclass
class _Sequence:
    """One continuation under way."""

    forced: list[int]
    stop: list[str]
    limit: int
    temperature: float
    draws: np.ndarray
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish: str | None = None
    text: str = ""

    def next_forced(self) -> int | None:
        return self.forced[len(self.ids)] if len(self.ids) < len(self.forced) else None

    @property
    def draws_next(self) -> bool:
        """Whether the next token is drawn at random: not forced, not greedy, not after the end."""
        return self.finish is None and self.temperature > 0 and len(self.ids) >= len(self.forced)

    def draw(self) -> float:
        return float(self.draws[len(self.ids) - len(self.forced)])


@dataclass
class _Prompt:
    """One request, encoded."""

    ids: list[int]
    sequences: list[_Sequence]


class TransformersEngine:
    """A port that generates. `adapter` is a LoRA folder laid over the model."""

    def __init__(
        self,
        policy: str,
        *,
        dtype: str = "float32",
        quantise: str = "none",
        device: str = "auto",
        batch_size: int = 512,
    ) -> None:
        if quantise == "fp8":
            raise SparkError("quantise: 'fp8' is done by vLLM only; set synth.engine = 'vllm', or nf4")
        self.tokenizer = loading.open_tokenizer(policy)
        self.model = loading.open_model(policy, dtype, device, quantise=quantise)
        self._laid: Path | None = None
        self.batch_size = batch_size
        self._holds: dict[tuple[int, str], bool] = {}
        self.context = self.model.config.get_text_config().max_position_embeddings
        self.eos = ends_of_turn(self.tokenizer, self.model.generation_config)

    def __call__(self, requests: Sequence[Request], adapter: Path | None = None) -> list[Reply]:
        """One reply per request, in order: `completions`, each `{text, ids, logprobs, finish}`.

        `ids` and `logprobs` (natural log, temperature 1) cover the forced part, the sampled part and the end of turn;
        `text` is the sampled part without stop string or end of turn; see `completion`. A prompt too long for the model is
        an error. `adapter`: a LoRA folder over the model.
        """
        self._lay(adapter)
        prompts = [self._encode(request) for request in requests]
        fitting = [p for p in prompts if isinstance(p, _Prompt)]
        for batch in self._batches(fitting):
            self._generate(batch)
        return [self._reply(p) if isinstance(p, _Prompt) else p for p in prompts]

    def close(self) -> None:
        """Nothing to end: the memory is freed with the engine."""

    def _lay(self, adapter: Path | None) -> None:
        """Put this adapter, or none, over the model in place of what lies there."""
        if adapter == self._laid:
            return
        if self._laid is not None:
            self.model, self._laid = self.model.unload(), None
        if adapter is not None:
            self.model, self._laid = loading.with_adapter(self.model, adapter), adapter

    def _encode(self, request: Request) -> _Prompt | Reply:
        prompt = encoded(self.tokenizer, request, self.context)
        if not isinstance(prompt, Prompt):
            return prompt
        stop, limit, temperature = request["stop"], request["max_new_tokens"], request["temperature"]
        draws = np.random.default_rng(request["seed"]).random((len(prompt.forced), limit))
        sequences = [_Sequence(f, stop, limit, temperature, d) for f, d in zip(prompt.forced, draws, strict=True)]
        return _Prompt(prompt.ids, sequences)

    def _batches(self, prompts: list[_Prompt]) -> list[list[_Prompt]]:
        """Prompts of like length and equally many continuations together, at most `batch_size` sequences each."""
        batches: list[list[_Prompt]] = []
        for prompt in sorted(prompts, key=lambda p: (len(p.sequences), len(p.ids))):
            if batches and self._fits(prompt, batches[-1]):
                batches[-1].append(prompt)
            else:
                batches.append([prompt])
        return batches

    def _fits(self, prompt: _Prompt, batch: list[_Prompt]) -> bool:
        first, width = batch[0], len(prompt.sequences)
        alike = len(prompt.ids) <= _PADDING * len(first.ids) + _ROOM
        return alike and len(first.sequences) == width and (len(batch) + 1) * width <= self.batch_size

    @torch.inference_mode()
    def _generate(self, prompts: list[_Prompt]) -> None:
        """Run the prompts once, repeat their cache for their continuations, then one token at a time for all."""
        device, pad = self.model.device, self.tokenizer.pad_token_id or 0
        width = max(len(p.ids) for p in prompts)
        rows = [[pad] * (width - len(p.ids)) + p.ids for p in prompts]
        mask = torch.tensor([[0] * (width - len(p.ids)) + [1] * len(p.ids) for p in prompts], device=device)
        cache = Cache(layer_class_to_replicate=_RoomyLayer)
        logits = self._forward(torch.tensor(rows, device=device), mask, cache)  # (prompt, vocabulary)
        fork = len(prompts[0].sequences)
        cache.batch_repeat_interleave(fork)
        logits, mask = logits.repeat_interleave(fork, 0), mask.repeat_interleave(fork, 0)
        going = [s for p in prompts for s in p.sequences]
        while True:
            tokens = self._choose(going, logits)
            keep = [i for i, s in enumerate(going) if s.finish is None]
            if not keep:
                return
            if len(keep) <= (1 - _DROP_SHARE) * len(going):
                index = torch.tensor(keep, device=device)
                cache.batch_select_indices(index)
                going, tokens, mask = [going[i] for i in keep], tokens[index], mask[index]
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
            logits = self._forward(tokens[:, None], mask, cache)

    def _forward(self, ids: torch.Tensor, mask: torch.Tensor, cache: Cache) -> torch.Tensor:
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        out = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return out.logits[:, -1].float()

    def _choose(self, going: list[_Sequence], logits: torch.Tensor) -> torch.Tensor:
        """The next token of every sequence (sequence,), forced or drawn; what is finished gets a token nobody reads."""
        tokens = logits.argmax(1)
        forced = [(i, f) for i, s in enumerate(going) if (f := s.next_forced()) is not None and s.finish is None]
        if forced:
            tokens[[i for i, _ in forced]] = torch.tensor([f for _, f in forced], device=tokens.device)
        drawing = [i for i, s in enumerate(going) if s.draws_next]
        if drawing:
            tokens[drawing] = _drawn(logits[drawing], [going[i] for i in drawing])
        chosen = torch.log_softmax(logits, 1).gather(1, tokens[:, None])[:, 0].tolist()
        for sequence, token, logprob in zip(going, tokens.tolist(), chosen, strict=True):
            if sequence.finish is None:
                self._append(sequence, token, logprob)
        return tokens

    def _append(self, sequence: _Sequence, token: int, logprob: float) -> None:
        sequence.ids.append(token)
        sequence.logprobs.append(logprob)
        if len(sequence.ids) <= len(sequence.forced):
            return
        if token in self.eos or (sequence.stop and self._stopped(sequence)):
            sequence.finish = "stop"
        elif len(sequence.ids) - len(sequence.forced) == sequence.limit:
            sequence.finish = "length"

    def _stopped(self, sequence: _Sequence) -> bool:
        """Whether a stop string has been written; `completion` cuts it off."""
        if not any(self._may_end(sequence.ids[-1], stop) for stop in sequence.stop):
            return False
        text = self.tokenizer.decode(sequence.ids[len(sequence.forced) :])
        return any(stop in text for stop in sequence.stop)

    def _may_end(self, token: int, stop: str) -> bool:
        """Whether a token holds the stop string's last character, or bytes that may be part of it: else it has not ended
        it. Twice, since some tokenizers leave out a space at the very beginning."""
        if (token, stop[-1]) not in self._holds:
            text = self.tokenizer.decode([token, token])
            self._holds[token, stop[-1]] = stop[-1] in text or _NO_CHARACTER in text
        return self._holds[token, stop[-1]]

    def _reply(self, prompt: _Prompt) -> Reply:
        return Reply(body(prompt.ids, [self._completion(s) for s in prompt.sequences]))

    def _completion(self, sequence: _Sequence) -> dict[str, Any]:
        s = sequence
        return completion(self.tokenizer, self.eos, s.stop, s.forced, s.ids, s.logprobs, s.finish)


def _drawn(logits: torch.Tensor, sequences: Sequence[_Sequence]) -> torch.Tensor:
    """(sequence,): tokens by the inverse of the cumulative distribution, at one uniform number per sequence."""
    heat = torch.tensor([s.temperature for s in sequences], device=logits.device)[:, None]
    # float64: in float32 the sum over a large vocabulary loses the tail.
    mass = torch.softmax(logits / heat, 1).cumsum(1, dtype=torch.float64)
    draws = torch.tensor([s.draw() for s in sequences], dtype=torch.float64, device=logits.device)
    return (mass <= draws[:, None] * mass[:, -1:]).sum(1).clamp(max=logits.shape[1] - 1)
