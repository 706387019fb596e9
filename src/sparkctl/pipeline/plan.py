"""Plan: from a recipe to the plain list of its nodes.

questions, eval_questions
synth.1 judge.1 select.1   ...   synth.5 judge.5 select.5      one step of the episode is one round
reference                                                       log-probs under the frozen start, for all objectives
train.<variant>                                                 for each policy compared that is not the base
eval.<policy>                                                   an adapter's folder is one too, and needs no training
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sparkctl.config.recipe import Values, expanded
from sparkctl.config.settings import checked, refuse_idle
from sparkctl.errors import SparkError
from sparkctl.models import hub, loading
from sparkctl.pipeline import variants
from sparkctl.pipeline.graph import BASE, Missing, Node, had
from sparkctl.pipeline.ports import judge as judge_ports
from sparkctl.pipeline.ports import policy as policy_ports
from sparkctl.pipeline.ports import tools as tool_ports
from sparkctl.pipeline.sections import Sections
from sparkctl.stages import eval as eval_stage
from sparkctl.stages import judge, questions, reference, select, synth, train
from sparkctl.storage.memory import Memory
from sparkctl.training.settings import Train


def nodes(recipe: dict[str, Values], memory: Memory | None = None) -> list[Node]:
    """The experiment of a recipe, in an order in which every node comes after what it reads. `memory` holds the
    recordings that tools are replayed from. What is not there (a model's folder, a corpus, a file of questions) is noted
    as `Missing` among the identities of the nodes that want it."""
    s = Sections(recipe, memory)
    variants.refuse_unheard(s.train, s.variants, s.trained, s.changed)
    rounds = range(1, s.steps + 1)
    graph = [_questions_node(s), _eval_questions_node(s)]
    for step in rounds:
        graph += [_synth_node(s, step), _judge_node(s, step), _select_node(s, step)]
    trained = [_train_node(s, name, rounds) for name in s.trained]
    graph += [_reference_node(s, rounds), *trained] if trained else []
    evaluated = [_eval_node(s, name, folder) for name, folder in s.policies.items()]
    return graph + _with_room(evaluated, trained)


def _questions_node(s: Sections) -> Node:
    source = s.questions.get("questions", loading.NANO)
    values = _draw(s.questions, source, s.synth.get("seed", 0), "synth") | {"role": "questions"}
    files, identities = _source(source, "synth.questions")
    settings = checked(questions.Questions, values, "synth")
    return Node("questions", questions.STAGE, settings, {}, {"questions": "questions"}, files, identities)


def _eval_questions_node(s: Sections) -> Node:
    source = s.eval_questions.get("questions", "same")
    same = source == "same"
    source = s.questions.get("questions", loading.NANO) if same else source
    values = _draw(s.eval_questions, source, s.eval.get("seed", 0), "eval") | {
        "role": "eval_questions",
        "exclude": same,
    }
    files, identities = _source(source, "eval.questions")
    settings = checked(questions.Questions, values, "eval")
    return Node(
        "eval_questions",
        questions.STAGE,
        settings,
        {"questions": ("questions",)},
        {"questions": "eval_questions"},
        files,
        identities,
    )


def _draw(given: Values, source: Any, seed: Any, section: str) -> Values:
    categories = given.get("categories", [])
    if isinstance(categories, str):
        categories = [] if categories == "all" else [name.strip() for name in categories.split(",")]
    if not isinstance(categories, list) or not all(isinstance(name, str) for name in categories):
        raise SparkError(f"{section}.categories: must be 'all' or a list of names, got {categories!r}")
    questions.known_categories(tuple(categories), f"{section}.categories")
    return {k: v for k, v in given.items() if k != "questions"} | {
        "source": source,
        "seed": seed,
        "categories": categories,
    }


def _source(source: Any, key: str) -> tuple[dict[str, Path], dict[str, str]]:
    if source == loading.NANO:
        return {}, {"corpus": tool_ports.embedded_identity()}
    return _given(source, key, "source", "data set", ", or 'nano'")


def _given(source: Any, key: str, file: str, data_set: str, other: str = "") -> tuple[dict[str, Path], dict[str, str]]:
    """(file from outside, what identifies a data set), one of them empty."""
    if str(source).startswith(hub.PREFIX):
        return {}, {data_set: hub.identity(source)}
    path = expanded(str(source), key)
    if not path.is_file():
        says = f"{key}: no file '{source}'; give a Parquet file in MMLU-Pro's schema or hub:NAME@REVISION{other}"
        return {}, {file: Missing(says)}
    return {file: path}, {}


def _synth_node(s: Sections, step: int) -> Node:
    values = s.synth | {"step": step, "descriptions": s.tools["descriptions"]}
    given = {k: v for k, v in s.synth.items() if k != s.eval.get("engine")}  # the table of that name is then for eval
    settings = s.acting(synth.Synth, values, "synth", given)
    reads = {"questions": ("questions",)} | _history(step)
    return Node(
        f"synth.{step}",
        synth.STAGE,
        settings,
        reads,
        {"candidates": f"candidates.{step}"},
        identities=_engine_identity(settings),
    )


def _judge_node(s: Sections, step: int) -> Node:
    settings = s.acting(judge.Judge, s.judge | {"step": step}, "judge", s.judge)
    reads = {"questions": ("questions",), "candidates": (f"candidates.{step}",)} | _history(step)
    known = judge_ports.judge_identity(settings.model, s.toolset)
    return Node(f"judge.{step}", judge.STAGE, settings, reads, {"scores": f"scores.{step}"}, identities=known)


def _select_node(s: Sections, step: int) -> Node:
    values = s.select | {"step": step, "steps": s.steps, "tools": s.tools}
    settings = s.acting(select.Select, values, "select", s.select)
    reads = {"questions": ("questions",), "candidates": (f"candidates.{step}",), "scores": (f"scores.{step}",)}
    return Node(
        f"select.{step}",
        select.STAGE,
        settings,
        reads | _history(step),
        {"steps": f"steps.{step}"},
        identities=s.answering,
    )


_OF_THE_LEARNER = ("quantise", "packing", "micro_batch_tokens", "attention", "device")
"""Settings of train.toml that its reference log-probs share."""


def _reference_node(s: Sections, rounds: range) -> Node:
    shared = {name: s.train[name] for name in _OF_THE_LEARNER if name in s.train}
    values = s.reader | shared | {"descriptions": s.tools["descriptions"]}
    settings = checked(reference.Reference, values, "train")
    joined = {table: tuple(f"{table}.{step}" for step in rounds) for table in ("candidates", "steps")}
    reads = {"questions": ("questions",)} | joined
    known = {"model": _model(settings.policy)}
    return Node("reference", reference.STAGE, settings, reads, {"reference": "reference"}, identities=known)


def _train_node(s: Sections, name: str, rounds: range) -> Node:
    values = s.train | s.variants[name] | s.reader | {"name": name, "descriptions": s.tools["descriptions"]}
    settings = checked(Train, values, "train")
    refuse_idle(settings, s.variants[name], f"train.variant.{name}", s.changed)
    joined = {table: tuple(f"{table}.{step}" for step in rounds) for table in ("candidates", "scores", "steps")}
    writes = {output: f"{output}.{name}" for output in train.STAGE.writes}
    return Node(
        f"train.{name}",
        train.STAGE,
        settings,
        {"questions": ("questions",), "reference": ("reference",)} | joined,
        writes,
        identities={"model": _model(settings.policy)},
    )


def _eval_node(s: Sections, name: str, folder: Path | None) -> Node:
    engine = {k: s.synth[k] for k in ("engine", "vllm", "litellm") if k in s.synth}
    values = engine | s.eval | s.reader | {"name": name, "steps": s.steps, "tools": s.tools}
    settings = s.acting(eval_stage.Eval, values, "eval", s.eval)
    reads: dict[str, tuple[str, ...]] = {"eval_questions": ("eval_questions",)}
    files: dict[str, Path] = {}
    known = _engine_identity(settings) | s.answering
    if settings.shots:
        files, of_examples = _given(settings.shots_from, "eval.shots_from", "examples", "examples")
        known |= of_examples
    if folder:
        files["adapter"] = folder
    elif name != BASE:
        reads["adapter"] = (f"adapter.{name}",)
    return Node(f"eval.{name}", eval_stage.STAGE, settings, reads, {"answers": f"answers.{name}"}, files, known)


def _model(policy: str) -> str:
    return had(lambda: policy_ports.policy_identity(policy))


def _engine_identity(settings: Any) -> dict[str, str]:
    try:
        return policy_ports.engine_identity(settings)
    except SparkError as fault:
        return {"model": Missing(fault)}


def _with_room(evaluated: list[Node], trained: Sequence[Node]) -> list[Node]:
    """The nodes of eval, with room for the largest adapter among them where vLLM answers: opened for the base without, it
    would be opened again for the first adapter. A rank that the recipe sets stands."""
    vllm: Any = evaluated[0].settings
    if vllm.engine != "vllm" or vllm.vllm.lora_rank:
        return evaluated
    laid = [loading.adapter_rank(node.files["adapter"]) for node in evaluated if "adapter" in node.files]
    rank = max([*laid, *(node.settings.lora_r for node in trained)], default=0)  # type: ignore[attr-defined]
    room = vllm.vllm.model_copy(update={"lora_rank": rank})
    return [replace(node, settings=node.settings.model_copy(update={"vllm": room})) for node in evaluated]


def _history(step: int) -> dict[str, tuple[str, ...]]:
    return {"steps": tuple(f"steps.{before}" for before in range(1, step))} if step > 1 else {}
