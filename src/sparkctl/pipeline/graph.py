"""The graph of an experiment: its nodes, what is missing of what they need, and which nodes need which."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sparkctl.config.settings import Settings
from sparkctl.errors import Lacking, SparkError
from sparkctl.method.ids import digest
from sparkctl.stages import eval as eval_stage
from sparkctl.stages import judge, questions, reference, select, synth, train
from sparkctl.stages.stage import Stage
from sparkctl.storage.store import Store

STAGES: dict[str, Stage] = {
    m.STAGE.name: m.STAGE for m in (questions, synth, judge, select, reference, train, eval_stage)
}
BASE = "base"


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


def had(look: Callable[[], str]) -> str:
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


def outputs(fate: Fate, store: Store) -> dict[str, Path]:
    """Artifact of a node -> where it lies, or will."""
    key = digest(fate.made_of)
    return {artifact: store.place(artifact, key) for artifact in fate.node.writes.values()}
