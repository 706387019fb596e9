"""Tokens per second of `synth` against its peers, in one run on this machine.

Run: python benchmarks/synth_throughput.py [--questions 150] [--single 20] [--rounds 3] [--json FILE]
First steps of generated questions: one thought each, then nine candidates, with the recipe's prompts and limits. The
model is the embedded policy's with random weights, so that nearly every text runs to its limit of 40 tokens, as large
models' do; the embedded policy itself stops after some five tokens and is measured beside it. Tokens are those that
were sampled; an action's forced name, which ours decodes and scores, does not count. Keys:

over_bare_vllm       our stage on vLLM (encoding, names of actions scored, remembering on disk, cutting, the checked
                     table) / a bare LLM.generate given the token ids of the same prompts, names included
over_bare_vllm_short the same for the embedded policy's short texts, where a forced name is a third of a candidate
prefix_sharing       our stage on vLLM with its prefix cache / without
batched_over_single  our engine on transformers / transformers' generate, one prompt at a time (a part of the prompts)

Each pair takes turns `rounds` times and the best of each counts: other work on the machine only ever slows.
"""

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from sparkctl.config import recipe
from sparkctl.config.engines import Vllm
from sparkctl.config.settings import checked
from sparkctl.method import rollouts, tables
from sparkctl.method.episode import ACTIONS, INPUT, system_prompt
from sparkctl.method.ports import Port, Request
from sparkctl.models import loading
from sparkctl.models.completions import Prompt, encoded
from sparkctl.models.transformers_engine import TransformersEngine
from sparkctl.nano import questions
from sparkctl.pipeline.ports.policy import POLICY_CHUNK
from sparkctl.stages import synth
from sparkctl.stages.stage import Context
from sparkctl.storage.memory import Memory, remembered

Measured = tuple[int, float]
"""Sampled tokens, seconds."""


def settings() -> synth.Synth:
    """The recipe's, so that prompts and lengths are those of a run."""
    values = recipe.load(recipe.default_folder())
    mine = {k: v for k, v in values["synth"].items() if k not in ("questions", "limit", "categories", "steps")}
    made: synth.Synth = checked(synth.Synth, mine | {"descriptions": values["tools"]["descriptions"]}, "synth")
    return made


class Workload:
    """The questions, and the requests that the stage makes of them."""

    def __init__(self, n: int, policy: str) -> None:
        self.settings = settings()
        self.policy = policy
        self.questions = tables.from_rows("questions", questions.generate("train", n, 0))
        self.going = rollouts.live(self.questions, None, 1)
        self.system = system_prompt(self.settings.prompt, self.settings.descriptions)
        self.tokenizer = loading.open_tokenizer(policy)
        self.thoughts = [synth.thought_request(r, self.system, self.settings) for r in self.going]

    def candidates(self, thoughts: Sequence[Any]) -> list[Request]:
        """The requests for the nine, after these thoughts."""
        pairs = zip(self.going, thoughts, strict=True)
        return [synth.candidates_request(r, t, self.system, self.settings) for r, t in pairs]

    def stage(self, engine: Port, chunk: int) -> Measured:
        """Our stage as a run calls it, with a memory of its own."""
        with tempfile.TemporaryDirectory() as folder:
            memory = Memory(Path(folder) / "memory.sqlite")
            port = remembered(engine, memory, "benchmark", chunk=chunk)
            begun = time.perf_counter()
            made = synth.STAGE.run({"questions": self.questions}, self.settings, Context(policy=lambda _: port))
            seconds = time.perf_counter() - begun
            memory.close()
        return self.sampled(made["candidates"]), seconds

    def sampled(self, candidates: Any) -> int:
        """Tokens that were sampled: thoughts once per state, candidates without their forced name."""
        rows = candidates.to_pylist()
        thoughts = sum(len(row["thought_ids"]) for row in rows[:: len(ACTIONS)])
        forced = {action: len(self.encoded(f" {action}{INPUT}")) for action in ACTIONS}
        return thoughts + sum(len(row["action_ids"]) - forced[row["tool_name"]] for row in rows)

    def encoded(self, text: str) -> list[int]:
        """Token ids of plain text."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids


def random_policy(folder: Path) -> str:
    """The embedded policy's shape and tokenizer with random weights."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(loading.open_config("nano")).save_pretrained(folder)
    loading.open_tokenizer("nano").save_pretrained(folder)
    return str(folder)


def bare_vllm(engine: Any, load: Workload, asked: Sequence[Sequence[Request]]) -> Measured:
    """LLM.generate on token ids that are ready; what it says is counted and dropped."""
    from vllm import SamplingParams

    llm, tokens, seconds = engine._opened(None), 0, 0.0
    for requests in asked:
        prompts, params = [], []
        for request in requests:
            found = encoded(load.tokenizer, request, llm.model_config.max_model_len)
            assert isinstance(found, Prompt)
            prompts += [{"prompt_token_ids": found.ids + forced} for forced in found.forced]
            same = {"temperature": request["temperature"], "stop": request["stop"], "logprobs": 0}
            same |= {"seed": request["seed"]} if request["temperature"] else {}
            params += [SamplingParams(max_tokens=request["max_new_tokens"], **same) for _ in found.forced]
        begun = time.perf_counter()
        outputs = llm.generate(prompts, params, use_tqdm=False)
        seconds += time.perf_counter() - begun
        tokens += sum(len(o.outputs[0].token_ids) for o in outputs)
    return tokens, seconds


def single(model: Any, load: Workload, asked: Sequence[Request]) -> Measured:
    """transformers' generate, one prompt at a time, the action's name as part of the prompt."""
    tokens, begun = 0, time.perf_counter()
    for request in asked:
        found = encoded(load.tokenizer, request, 10**9)
        assert isinstance(found, Prompt)
        for forced in found.forced:
            ids = torch.tensor([found.ids + forced])
            heat = {"do_sample": True, "temperature": request["temperature"]} if request["temperature"] else {}
            out = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=request["max_new_tokens"],
                stop_strings=request["stop"],
                tokenizer=load.tokenizer,
                **({"do_sample": False} | heat),
            )
            tokens += out.shape[1] - ids.shape[1]
    return tokens, time.perf_counter() - begun


def best(rounds: int, *turns: Callable[[], Measured]) -> list[float]:
    """Tokens per second of each, the best of its turns."""
    rates = [[0.0] for _ in turns]
    for _ in range(rounds):
        for rate, turn in zip(rates, turns, strict=True):
            tokens, seconds = turn()
            rate.append(tokens / seconds)
    return [max(rate) for rate in rates]


def on_transformers(load: Workload, part: int, rounds: int) -> dict[str, float]:
    """Our engine against generate, one prompt at a time."""
    engine = TransformersEngine(load.policy, batch_size=load.settings.batch_size)
    thoughts = engine(load.thoughts)
    asked = [*load.thoughts[:part], *load.candidates(thoughts)[:part]]
    ours, theirs = best(
        rounds, lambda: load.stage(engine, POLICY_CHUNK["transformers"]), lambda: single(engine.model, load, asked)
    )
    return {"transformers_tokens_per_s": ours, "single_tokens_per_s": theirs, "batched_over_single": ours / theirs}


def on_vllm(load: Workload, rounds: int, *, apart: bool) -> dict[str, float]:
    """Our stage against a bare LLM, and, with `apart`, against itself without the prefix cache."""
    engine, turn = _stage_on_vllm(load, sharing=True)
    asked = [load.thoughts, load.candidates(engine(load.thoughts))]

    def bare() -> Measured:
        engine._opened(None).reset_prefix_cache()
        return bare_vllm(engine, load, asked)

    turn(), bare()  # compiles
    ours, theirs = best(rounds, turn, bare)
    engine.close()
    found = {"vllm_tokens_per_s": ours, "bare_vllm_tokens_per_s": theirs, "over_bare_vllm": ours / theirs}
    if apart:
        engine, turn = _stage_on_vllm(load, sharing=False)
        turn()
        (alone,) = best(rounds, turn)
        engine.close()
        found |= {"without_sharing_tokens_per_s": alone, "prefix_sharing": ours / alone}
    return found


def _stage_on_vllm(load: Workload, *, sharing: bool) -> tuple[Any, Callable[[], Measured]]:
    from sparkctl.models.vllm_engine import VllmEngine

    engine = VllmEngine(load.policy, options=Vllm(prefix_caching=sharing))

    def turn() -> Measured:
        engine._opened(None).reset_prefix_cache()
        return load.stage(engine, POLICY_CHUNK["vllm"])

    return engine, turn


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=150)
    parser.add_argument("--single", type=int, default=20, help="questions that generate is asked one by one")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found: dict[str, Any] = {"machine": platform.machine(), "questions": given.questions}
    with tempfile.TemporaryDirectory() as folder:
        load = Workload(given.questions, random_policy(Path(folder)))
        found |= on_transformers(load, given.single, given.rounds)
        found |= on_vllm(load, given.rounds, apart=True)
    short = on_vllm(Workload(given.questions, loading.NANO), given.rounds, apart=False)
    found |= {f"{name}_short": value for name, value in short.items()}
    for name, value in found.items():
        print(f"{name:<28} {value:.3g}" if isinstance(value, float) else f"{name:<28} {value}")
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
