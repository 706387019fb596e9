"""Plan, make, explain: the only module that knows every stage. The graph of an experiment is a plain list of nodes.

    questions, eval_questions
    synth.1 judge.1 select.1   ...   synth.5 judge.5 select.5      one step of the episode is one round
    reference                                                       log-probs under the frozen start, for all objectives
    train.<variant>                                                 for each policy compared that is not the base
    eval.<policy>                                                   an adapter's folder is one too, and needs no training

A node's outputs are named by its key, the digest of stage, version, settings and the bytes of its inputs. What exists
under its key is never made again.
"""

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from sparkctl import digests, names, ports, toolports, variants, wiring
from sparkctl import store as stores
from sparkctl.adapters import folder_of, labels
from sparkctl.backends import hub, models
from sparkctl.episode import ACTIONS, TOOLS
from sparkctl.errors import Lacking, SparkError
from sparkctl.ids import digest
from sparkctl.ports import Advance, Memory, Port, Watch
from sparkctl.recipe import Recipe, Values, did_you_mean, expanded
from sparkctl.settings import Settings, checked, refuse_idle
from sparkctl.stage import Context, Outputs, Stage
from sparkctl.stages import eval as eval_stage
from sparkctl.stages import judge, questions, reference, select, synth, train
from sparkctl.store import Store
from sparkctl.tables import TABLES, check_key
from sparkctl.tools.settings import Tools

STAGES: dict[str, Stage] = {
    m.STAGE.name: m.STAGE for m in (questions, synth, judge, select, reference, train, eval_stage)
}
BASE = "base"
_TABLE_OF = {"source": "questions", "eval_questions": "questions", "examples": "questions"}
"""Inputs whose table of the contract has another name."""


@dataclass(frozen=True)
class Node:
    """One stage call of an experiment."""

    name: str
    stage: Stage
    settings: Settings
    reads: dict[str, tuple[str, ...]]
    """Input -> the artifacts that make it up; tables of several rounds are joined."""
    writes: dict[str, str]
    """Output -> artifact."""
    files: dict[str, Path] = field(default_factory=dict)
    """Input -> a file from outside."""
    identities: dict[str, str] = field(default_factory=dict)
    """What else decides the result: the model's bytes, the tools' corpus."""


class Missing(str):
    """Stands for an identity that cannot be had: what is not there, and what to do. Nothing is made with one."""


def missing(node: Node) -> dict[str, str]:
    """Identity that cannot be had -> what is missing, and what to do."""
    return {name: str(found) for name, found in node.identities.items() if isinstance(found, Missing)}


def refuse_missing(graph: Sequence[Node]) -> None:
    """Raise Lacking with all that is missing of what decides the keys of these nodes."""
    if lines := list(dict.fromkeys(line for node in graph for line in missing(node).values())):
        raise Lacking(lines)


def _had(look: Callable[[], str]) -> str:
    """An identity, or in its place what is missing: so that all that is missing can be said at once."""
    try:
        return look()
    except SparkError as fault:
        return Missing(fault)


@dataclass(frozen=True)
class Fate:
    """What becomes of a node and why."""

    node: Node
    runs: bool
    why: str
    made_of: dict[str, Any] | None = None
    """Everything that decides the outputs: what the key is the digest of and the footer says. None while an input is
    still to be made."""
    seconds: float = 0.0


# ---- plan ------------------------------------------------------------------------------------------------------------


def nodes(recipe: dict[str, Values], memory: Memory | None = None) -> list[Node]:
    """The experiment of a recipe, in an order in which every node comes after what it reads. `memory` holds the
    recordings that tools are replayed from. What is not there (a model's folder, a corpus, a file of questions) is noted
    as `Missing` among the identities of the nodes that want it."""
    s = _Sections(recipe, memory)
    variants.refuse_unheard(s.train, s.variants, s.trained, s.changed)
    rounds = range(1, s.steps + 1)
    graph = [_questions_node(s), _eval_questions_node(s)]
    for step in rounds:
        graph += [_synth_node(s, step), _judge_node(s, step), _select_node(s, step)]
    trained = [_train_node(s, name, rounds) for name in s.trained]
    graph += [_reference_node(s, rounds), *trained] if trained else []
    evaluated = [_eval_node(s, name, folder) for name, folder in s.policies.items()]
    return graph + _with_room(evaluated, trained)


_SHARED = {"policy": "synth.policy", "dtype": "synth.dtype", "prompt": "synth.md", "name": "the variant's name"}
_OWNED_ELSEWHERE = {
    "synth": {"step": "the round", "descriptions": "tools.descriptions"},
    "judge": {"step": "the round"},
    "select": {"step": "the round", "steps": "synth.steps", "tools": "tools.toml"},
    "train": _SHARED | {"descriptions": "tools.descriptions"},
    "eval": _SHARED | {"steps": "synth.steps", "tools": "tools.toml"},
}
"""Settings that a stage takes over from elsewhere: set under the wrong name they would be ignored without a word."""


_OF_ALL_VARIANTS = {"quantise": "train.quantise, for all variants and their reference"}


_SETTABLE: dict[str, tuple[type[Settings], tuple[str, ...]]] = {
    "synth": (synth.Synth, ("questions", "limit", "categories", "steps")),
    "judge": (judge.Judge, ()),
    "select": (select.Select, ()),
    "train": (train.Train, ("variant",)),
    "eval": (eval_stage.Eval, ("questions", "limit", "categories", "policies")),
}
"""Section -> its stage's settings, and what else may stand there."""


def _check_known(section: str, values: Values, known: list[str]) -> None:
    for name in values:
        if name not in known:
            raise SparkError(f"{section}.{name}: unknown setting{did_you_mean(name, known)}")


class _Sections:
    """A recipe's sections, with what one stage's settings take over from another's recipe."""

    def __init__(self, recipe: dict[str, Values], memory: Memory | None) -> None:
        self.synth, self.judge, self.select, self.tools, self.train, self.eval = (
            dict(recipe[name]) for name in ("synth", "judge", "select", "tools", "train", "eval")
        )
        for section, owners in _OWNED_ELSEWHERE.items():
            for name in owners.keys() & recipe[section].keys():
                raise SparkError(f"{section}.{name}: cannot be set here; it comes from {owners[name]}")
        for section, (kind, taken) in _SETTABLE.items():
            known = sorted({*kind.model_fields, *taken} - _OWNED_ELSEWHERE[section].keys())
            _check_known(section, recipe[section], known)
        self.changed = recipe.changed if isinstance(recipe, Recipe) else frozenset()
        self.variants = self.train.pop("variant", {})
        if not isinstance(self.variants, dict) or not all(isinstance(v, dict) for v in self.variants.values()):
            raise SparkError("train.variant: must hold sections such as [variant.spark] with settings of train")
        for variant, values in self.variants.items():
            names.checked(variant, "train.variant")
            _check_known(f"train.variant.{variant}", values, sorted(train.Train.model_fields))
        self.toolset: Tools = self.acting(Tools, self.tools, "tools", self.tools)
        self.answering = {name: _had(partial(toolports.identity, name, self.toolset, memory)) for name in TOOLS}
        described = set(self.tools.get("descriptions", {}))
        if described != set(ACTIONS):
            odd = sorted(described ^ set(ACTIONS))[0]
            raise SparkError(
                f"tools.descriptions: '{odd}' is {'missing' if odd in ACTIONS else 'no action'}; the actions are: {', '.join(ACTIONS)}"
            )
        self.questions = _taken(self.synth, "questions", "limit", "categories")
        self.eval_questions = _taken(self.eval, "questions", "limit", "categories")
        self.steps = self.synth.pop("steps", 5)
        if type(self.steps) is not int or not 1 <= self.steps <= 100:
            raise SparkError(f"synth.steps: must be a whole number from 1 to 100, got {self.steps!r}")
        for variant, values in self.variants.items():
            for name in (_OWNED_ELSEWHERE["train"] | _OF_ALL_VARIANTS).keys() & values.keys():
                owner = (_OWNED_ELSEWHERE["train"] | _OF_ALL_VARIANTS)[name]
                raise SparkError(f"train.variant.{variant}.{name}: cannot be set here; it comes from {owner}")
        self.policies = self._policies(self.eval.pop("policies", [BASE]))
        self.trained = [name for name, folder in self.policies.items() if name != BASE and folder is None]
        self.reader = {name: self.synth[name] for name in ("policy", "dtype", "prompt") if name in self.synth}

    def acting(self, kind: type[Settings], values: Values, section: str, given: Values) -> Any:
        """Checked settings of which none of those given there is idle."""
        settings = checked(kind, values, section)
        refuse_idle(settings, given, section, self.changed)
        return settings

    def _policies(self, listed: Any) -> dict[str, Path | None]:
        """Policy -> the adapter's folder where one was given instead of a name of the recipe's."""
        known = [BASE, *self.variants]
        if not isinstance(listed, list) or not listed or not all(isinstance(name, str) for name in listed):
            raise SparkError(f"eval.policies: must be a list of names, got {listed!r}")
        folders = {name: folder_of(name, known) for name in listed if name not in known}
        label = labels(set(folders.values()), known)
        return {label[folders[name]] if name in folders else name: folders.get(name) for name in listed}


def _taken(values: Values, *names: str) -> Values:
    """These settings, moved out of a section."""
    return {name: values.pop(name) for name in names if name in values}


def _questions_node(s: _Sections) -> Node:
    source = s.questions.get("questions", models.NANO)
    values = _draw(s.questions, source, s.synth.get("seed", 0), "synth") | {"role": "questions"}
    files, identities = _source(source, "synth.questions")
    settings = checked(questions.Questions, values, "synth")
    return Node("questions", questions.STAGE, settings, {}, {"questions": "questions"}, files, identities)


def _eval_questions_node(s: _Sections) -> Node:
    source = s.eval_questions.get("questions", "same")
    same = source == "same"
    source = s.questions.get("questions", models.NANO) if same else source
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
    questions.known_categories(tuple(categories))
    return {k: v for k, v in given.items() if k != "questions"} | {
        "source": source,
        "seed": seed,
        "categories": categories,
    }


def _source(source: Any, key: str) -> tuple[dict[str, Path], dict[str, str]]:
    if source == models.NANO:
        return {}, {"corpus": toolports.embedded_identity()}
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


def _synth_node(s: _Sections, step: int) -> Node:
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


def _judge_node(s: _Sections, step: int) -> Node:
    settings = s.acting(judge.Judge, s.judge | {"step": step}, "judge", s.judge)
    reads = {"questions": ("questions",), "candidates": (f"candidates.{step}",)} | _history(step)
    known = wiring.judge_identity(settings.model, s.toolset)
    return Node(f"judge.{step}", judge.STAGE, settings, reads, {"scores": f"scores.{step}"}, identities=known)


def _select_node(s: _Sections, step: int) -> Node:
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


def _reference_node(s: _Sections, rounds: range) -> Node:
    shared = {name: s.train[name] for name in _OF_THE_LEARNER if name in s.train}
    values = s.reader | shared | {"descriptions": s.tools["descriptions"]}
    settings = checked(reference.Reference, values, "train")
    joined = {table: tuple(f"{table}.{step}" for step in rounds) for table in ("candidates", "steps")}
    reads = {"questions": ("questions",)} | joined
    known = {"model": _model(settings.policy)}
    return Node("reference", reference.STAGE, settings, reads, {"reference": "reference"}, identities=known)


def _train_node(s: _Sections, name: str, rounds: range) -> Node:
    values = s.train | s.variants[name] | s.reader | {"name": name, "descriptions": s.tools["descriptions"]}
    settings = checked(train.Train, values, "train")
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


def _eval_node(s: _Sections, name: str, folder: Path | None) -> Node:
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
    return _had(lambda: wiring.policy_identity(policy))


def _engine_identity(settings: Any) -> dict[str, str]:
    try:
        return wiring.engine_identity(settings)
    except SparkError as fault:
        return {"model": Missing(fault)}


def _with_room(evaluated: list[Node], trained: Sequence[Node]) -> list[Node]:
    """The nodes of eval, with room for the largest adapter among them where vLLM answers: opened for the base without, it
    would be opened again for the first adapter. A rank that the recipe sets stands."""
    vllm: Any = evaluated[0].settings
    if vllm.engine != "vllm" or vllm.vllm.lora_rank:
        return evaluated
    laid = [models.adapter_rank(node.files["adapter"]) for node in evaluated if "adapter" in node.files]
    rank = max([*laid, *(node.settings.lora_r for node in trained)], default=0)  # type: ignore[attr-defined]
    room = vllm.vllm.model_copy(update={"lora_rank": rank})
    return [replace(node, settings=node.settings.model_copy(update={"vllm": room})) for node in evaluated]


def _history(step: int) -> dict[str, tuple[str, ...]]:
    return {"steps": tuple(f"steps.{before}" for before in range(1, step))} if step > 1 else {}


def refuse(graph: Sequence[Node]) -> None:
    """Raise a SparkError for what must fail after hours: a graph that ends where no engine can go on."""
    for node in graph:
        trained = "adapter" in node.reads or "adapter" in node.files
        if trained and getattr(node.settings, "engine", "") == "litellm":
            raise SparkError(
                f"{node.name}: a served model takes no adapter; set eval.engine = 'vllm' (or 'transformers'), or "
                f"eval.policies = ['base']"
            )
    settings_of = {artifact: node.settings for node in graph for artifact in node.writes.values()}
    for node in graph:
        if node.stage.name == "eval" and "adapter" in node.reads:
            _refuse_other_precision(node, settings_of[node.reads["adapter"][0]])
        if node.stage.name == "train":
            _refuse_lone_rollouts(node, settings_of[node.reads["candidates"][0]])


def _refuse_other_precision(node: Node, trained: Any) -> None:
    asked: Any = node.settings
    if asked.quantise != trained.quantise and not asked.any_precision:
        raise SparkError(
            f"{node.name}: the adapter is trained on a base with quantise = '{trained.quantise}', eval.quantise is "
            f"'{asked.quantise}'; set them alike, or eval.any_precision = true"
        )


def _refuse_lone_rollouts(node: Node, asked: Any) -> None:
    settings: Any = node.settings
    groups = [name for name in ("group", "outcome_group") if getattr(settings, name) == "question"]
    if settings.objective != "sft" and groups and asked.samples == 1:
        raise SparkError(
            f"{node.name}: {groups[0]} = 'question' compares the rollouts of a question, and synth.samples is 1; set it "
            f"to 2 or more, or another {groups[0]}"
        )


def needed_for(graph: Sequence[Node], targets: Sequence[str]) -> list[Node]:
    """The nodes that the targets need, the targets included, in the graph's order."""
    maker = {artifact: node for node in graph for artifact in node.writes.values()}
    wanted = [node for node in graph if node.name in targets]
    found: set[str] = set()
    while wanted:
        node = wanted.pop()
        if node.name not in found:
            found.add(node.name)
            wanted += [maker[a] for artifacts in node.reads.values() for a in artifacts]
    return [node for node in graph if node.name in found]


# ---- explain ---------------------------------------------------------------------------------------------------------


Again = Callable[[Node, dict[str, Path]], bool]


def never(node: Node, outputs: dict[str, Path]) -> bool:
    """Nothing that is up to date is run again."""
    return False


def explain(graph: Sequence[Node], store: Store, again: Again = never) -> list[Fate]:
    """What `make` would do and why, without doing it. `again`: whether a node that is up to date is run again."""
    fates: list[Fate] = []
    stale: dict[str, str] = {}
    places: dict[str, Path] = {}
    order = [node.name for node in graph]
    for node in graph:
        waiting = [stale[a] for artifacts in node.reads.values() for a in artifacts if a in stale]
        latest = max(waiting, key=order.index, default=None)
        fate = Fate(node, True, f"after {latest}") if latest else _fate(node, places, store, again)
        if fate.runs:
            stale |= dict.fromkeys(node.writes.values(), node.name)
        else:
            places |= outputs(fate, store)
        fates.append(fate)
    return fates


def _fate(node: Node, places: dict[str, Path], store: Store, again: Again) -> Fate:
    fate = Fate(node, False, "up to date", _made_of(node, places))
    there = outputs(fate, store)
    if not all(path.exists() for path in there.values()):
        return replace(fate, runs=True, why=_why(node, fate.made_of or {}, store))
    if damaged := [path.name for path in there.values() if stores.is_damaged(path)]:
        return replace(fate, runs=True, why=f"{damaged[0]} is damaged")
    return replace(fate, runs=True, why="some calls had failed") if again(node, there) else fate


def outputs(fate: Fate, store: Store) -> dict[str, Path]:
    """Artifact of a node -> where it lies, or will."""
    key = digest(fate.made_of)
    return {artifact: store.place(artifact, key) for artifact in fate.node.writes.values()}


def _made_of(node: Node, places: dict[str, Path]) -> dict[str, Any]:
    inputs = {name: [stores.digest_artifact(places[a]) for a in artifacts] for name, artifacts in node.reads.items()}
    inputs |= {name: [stores.digest_artifact(path)] for name, path in node.files.items()}
    return {
        "stage": node.stage.name,
        "version": node.stage.version,
        "settings": node.settings.identity(),
        "inputs": inputs,
        "identities": node.identities,
    }


def _why(node: Node, made_of: dict[str, Any], store: Store) -> str:
    linked = store.linked(next(iter(node.writes.values())))
    before = stores.provenance(linked) if linked else None
    if before is None:
        return "not made yet in this run"
    changes = (
        [f"stage version changed {before.get('version')} -> {made_of['version']}"]
        if before.get("version") != made_of["version"]
        else []
    )
    changes += _changed_settings(before.get("settings", {}), made_of["settings"])
    for kind in ("inputs", "identities"):
        old, new = before.get(kind, {}), made_of[kind]
        changes += [f"{name} changed" for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
    return "; ".join(changes) or "its file is gone"


def _changed_settings(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    changes = []
    for name in sorted(old.keys() | new.keys()):
        was, now = old.get(name), new.get(name)
        if isinstance(was, dict) and isinstance(now, dict):
            changes += _changed_settings(was, now, f"{prefix}{name}.")
        elif was != now:
            changes.append(f"{prefix}{name} changed {_short(was)} -> {_short(now)}")
    return changes


def _short(value: Any) -> str:
    text = str(value).replace("\n", " ")
    return text if len(text) <= 40 else f"{text[:37]}..."


# ---- make ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Maker:
    """What making needs: the store, the memory of replies, and how progress is shown."""

    store: Store
    memory: Memory
    tools: Any
    progress: Callable[[str, int], Any]
    tell: Callable[[Fate], None] = lambda fate: None
    warn: Callable[[str], None] = lambda line: None
    calls: Counter[str] = field(default_factory=Counter)
    """Calls of the node under way: `asked`, and `remembered`."""
    costs: list[float | None] = field(default_factory=list)
    """What each call of the node under way cost, in US dollars; None where that is unknown."""
    again: Again = never
    """Whether a node that is up to date is run again, on top of what memory holds."""

    def make(self, graph: Sequence[Node]) -> list[Fate]:
        """Bring every node up to date, in order; what happened to each."""
        refuse(graph)
        fates: list[Fate] = []
        places: dict[str, Path] = {}
        for node in graph:
            fate = self._bring_up_to_date(node, places)
            fates.append(fate)
            self.tell(fate)
        return fates

    def _bring_up_to_date(self, node: Node, places: dict[str, Path]) -> Fate:
        """Run a node if it must be, link its outputs, and note where they are."""
        begun = time.monotonic()
        fate = _fate(node, places, self.store, self.again)
        made = outputs(fate, self.store)
        if fate.runs:
            self.calls.clear()
            self.costs.clear()
            self._clear(made)
            self._run(node, places, made, fate.made_of or {})
        for artifact, path in made.items():
            digests.keep(path)
            self.store.link(artifact, path)
        places |= made
        fate = replace(fate, seconds=time.monotonic() - begun)
        if fate.runs:
            cost = {"cost_usd": None if None in self.costs else sum(filter(None, self.costs))} if self.costs else {}
            self.store.log(node=node.name, why=fate.why, seconds=round(fate.seconds, 3), **self.calls, **cost)
        return fate

    def _clear(self, made: dict[str, Path]) -> None:
        """Move damaged outputs of a node aside; its others go, for they would not fit those that come."""
        there = [path for path in made.values() if path.exists()]
        damaged = [path for path in there if stores.is_damaged(path)]
        for path in damaged:
            aside = stores.set_aside(path)
            self.warn(
                f"{path}: is damaged, its bytes are not those that were written; made again, it is now {aside.name}"
            )
        for path in there if damaged else []:
            self.store.discard(path)

    def _run(self, node: Node, places: dict[str, Path], to: dict[str, Path], made_of: dict[str, Any]) -> None:
        inputs = {
            name: read_input(name, [places[a] for a in artifacts], may_be_empty=True)
            for name, artifacts in node.reads.items()
        }
        inputs |= {name: read_input(name, [path]) for name, path in node.files.items()}
        kept = self.store.checkpoint(node.name, digest(made_of))
        with self.run_stage(node.stage, node.settings, inputs, node.name, kept) as made:
            # The first output is written last: once it exists, all do.
            for output in reversed(node.stage.writes):
                path = to[node.writes[output]]
                digests.drop(path)
                write(made[output], _TABLE_OF.get(output, output), path, made_of)
        stores.remove(kept)

    @contextmanager
    def run_stage(
        self, stage: Stage, settings: Any, inputs: dict[str, Any], label: str, kept: Path | None = None
    ) -> Iterator[Outputs]:
        """Call a stage with its ports; its outputs are good until the block ends. `kept`: where training may leave what
        it needs to go on after a kill."""
        with tempfile.TemporaryDirectory(prefix="sparkctl-") as scratch:
            failed: list[str] = []
            context = Context(
                policy=lambda adapter: self._port(
                    f"{label} policy", lambda w: wiring.policy_port(settings, adapter, self.memory, w)
                ),
                judge=self._port(label, lambda w: wiring.judge_port(settings, self.tools, self.memory, w)),
                tools=_noting(
                    self._port(f"{label} tools", lambda w: toolports.tools_port(self.tools, self.memory, w)), failed
                ),
                identity=wiring.policy_identity,
                dataset=hub.load,
                learner=lambda: self.learner(settings, kept),
                scratch=Path(scratch),
                progress=self.progress,
                warn=lambda line: self.warn(f"{label}: {line}"),
            )
            made = stage.run(inputs, settings, context)
            if failed:
                self.warn(f"{label}: {len(failed)} tool calls came to nothing, the first: {failed[0]}")
            yield made

    def learner(self, settings: Any, kept: Path | None = None) -> Any:
        """What trains a policy with these settings."""
        events = self.store.run / "tensorboard" / settings.name if getattr(settings, "tensorboard", False) else None
        return wiring.learner(settings, checkpoint=kept, events=events, progress=self.progress, tell=self.warn)

    def _port(self, label: str, open_port: Callable[[Watch], Port]) -> Port:
        """A port that shows its progress and counts what memory spared."""
        advances: list[Advance] = []

        def watch(n: int, known: int, cost_usd: float | None = 0.0) -> None:
            self.calls["asked"] += n - known
            self.calls["remembered"] += known
            if cost_usd != 0.0:
                self.costs.append(cost_usd)
            advances[-1](n, _spent(self.costs), remembered=known)

        port = ports.lazy(lambda: open_port(watch))

        def ask(requests: Any) -> Any:
            with self.progress(label, len(requests)) as advance:
                advances.append(advance)
                return port(requests)

        return ask


def _noting(port: Port, failed: list[str]) -> Port:
    """The port; the errors of its replies are added to the list."""

    def ask(requests: Any) -> Any:
        replies = port(requests)
        failed.extend(reply.error for reply in replies if reply.error is not None)
        return replies

    return ask


def _spent(costs: Sequence[float | None]) -> str:
    """What was paid so far, as a person reads it; nothing for what is free."""
    unknown = "; calls of unknown price" if None in costs else ""
    return f"${sum(filter(None, costs)):.2f} spent{unknown}" if costs else ""


def write(made: pa.Table | Path, table: str, path: Path, provenance: dict[str, Any]) -> None:
    """Write an output: a folder or a table."""
    if isinstance(made, Path):
        stores.write_folder(made, path, provenance)
    else:
        stores.write_table(made, table, path, provenance)


def read_input(name: str, paths: Sequence[Path], *, may_be_empty: bool = False) -> Any:
    """An input given as files: a folder for an adapter, else tables of the contract, joined."""
    if name == "adapter":
        digests.check(paths[0])
        return paths[0]
    table = _TABLE_OF.get(name, name)
    joined = pa.concat_tables([stores.read_table(path, table, may_be_empty=may_be_empty) for path in paths])
    if len(paths) > 1:
        check_key(joined, TABLES[table], " + ".join(str(path) for path in paths))
    return joined
