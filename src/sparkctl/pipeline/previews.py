"""Looks at what a stage would do: the judge's cost and agreement, what would teach what, what training takes."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sparkctl.pipeline import explain
from sparkctl.pipeline.experiment import MEMORY, Workbench
from sparkctl.pipeline.graph import Node
from sparkctl.pipeline.ports import judge as judge_ports
from sparkctl.report.figures.audit import audit
from sparkctl.report.figures.reliability import Reliability, Scores, reliability
from sparkctl.stages import judge, train
from sparkctl.storage.memory import Memory
from sparkctl.training import credit
from sparkctl.training.tokens import Reader


def _scores(table: pa.Table) -> Scores:
    """State -> action -> score."""
    found: dict[tuple[str, int], dict[str, float | None]] = {}
    for row in table.to_pylist():
        found.setdefault((row["rollout_id"], row["step_idx"]), {})[row["tool_name"]] = row["score"]
    return found


def _variant(node: Node) -> str:
    return node.name.partition(".")[2]


def judge_estimates(experiment: "Workbench", part: str | None, reads: Sequence[str]) -> list[dict[str, Any]]:
    """For each step what judging it would take, nothing sent or made. Calls are None where the candidates are still
    to be made; then there are no more than at the step before."""
    nodes = experiment.nodes("judge", part)
    if reads:
        return [_judge_estimate(experiment, nodes[0], experiment.inputs(nodes[0], reads))]
    found: list[dict[str, Any]] = []
    most: int | None = None
    runs = {fate.node.name: fate.runs for fate in experiment.plan()}
    for node in nodes:
        if inputs := _made_inputs(experiment, node):
            found.append(_judge_estimate(experiment, node, inputs if runs[node.name] else {}))
            most = judge.calls(inputs["candidates"], node.settings)  # type: ignore[arg-type]
        else:
            found.append({"step": node.name.partition(".")[2], "calls": None, "at_most_calls": most})
    return found


def _judge_estimate(experiment: "Workbench", node: Node, inputs: dict[str, Any]) -> dict[str, Any]:
    requests = judge.requests(inputs, node.settings) if inputs else []  # type: ignore[arg-type]
    memory = Memory(experiment.store.root / MEMORY)
    found, remembered = judge_ports.judge_estimate(requests, node.settings, experiment.tools, memory)
    return {"step": node.name.partition(".")[2], "remembered": remembered} | asdict(found)


def _made_inputs(experiment: "Workbench", node: Node) -> dict[str, Any]:
    """A node's inputs if all of them are up to date, else nothing."""
    return experiment.there(node.reads, explain.explain(experiment.upstream(node.reads), experiment.store))


def judge_reliability(experiment: "Workbench", part: str | None, n: int) -> Reliability:
    """Score n states again, drawn over the steps, with the candidates in another order, and compare."""
    experiment.stage("judge", part)
    experiment.check(experiment.nodes("judge", part))
    first = {
        node.name: _scores(experiment.table("scores", node.name.partition(".")[2]))
        for node in experiment.nodes("judge", part)
    }
    states = [(name, state) for name, scores in first.items() for state in scores]
    drawn = random.Random(0).sample(states, min(n, len(states)))
    one: dict[tuple[str, int], Any] = {}
    two: dict[tuple[str, int], Any] = {}
    for node in experiment.nodes("judge", part):
        if chosen := [state for name, state in drawn if name == node.name]:
            one |= {state: first[node.name][state] for state in chosen}
            two |= _judged_again(experiment, node, chosen)
    select: Any = next(node.settings for node in experiment.graph if node.stage.name == "select")
    return reliability(one, two, select.threshold, select.viable)


def _judged_again(experiment: "Workbench", node: Node, states: list[tuple[str, int]]) -> Scores:
    """Fresh scores of these states; they are remembered like all others."""
    inputs = _made_inputs(experiment, node)
    rollouts = pc.is_in(inputs["candidates"]["rollout_id"], pa.array([rollout for rollout, _ in states]))
    inputs["candidates"] = inputs["candidates"].filter(rollouts)
    settings = node.settings.model_copy(update={"seed": node.settings.seed + 1})  # type: ignore[attr-defined]
    with experiment.alone(), experiment.maker().run_stage(node.stage, settings, inputs, f"{node.name} again") as made:
        return _scores(made["scores"])


def audits(experiment: "Workbench", part: str | None) -> dict[str, dict[str, Any]]:
    """Variant -> the figures of its credit table, without training; what it is made from is brought up to date."""
    found = {}
    for node, inputs, learner in _trainings(experiment, part, make=True):
        credited = credit.credited(inputs, node.settings, Reader.of(learner, node.settings))  # type: ignore[arg-type]
        spreads = credit.spreads(credited, node.settings)  # type: ignore[arg-type]
        found[_variant(node)] = audit(credit.credit_table(credited), spreads, credit.INERT)
    return found


def footprints(experiment: "Workbench", part: str | None) -> dict[str, dict[str, Any]]:
    """Variant -> what its training will take. Nothing is made: what is not there yet is not counted."""
    found = {}
    for node, inputs, learner in _trainings(experiment, part, make=False):
        trees = []
        if inputs:
            reader = Reader.of(learner, node.settings)
            trees = train.trees(credit.credited(inputs, node.settings, reader), node.settings, reader)  # type: ignore[arg-type]
        found[_variant(node)] = learner.footprint(trees)
    return found


def _trainings(experiment: "Workbench", part: str | None, *, make: bool) -> Iterator[tuple[Node, dict[str, Any], Any]]:
    """Each variant's node, its inputs but the reference, and its learner. Not `make`: inputs are empty unless all are up to
    date."""
    nodes = experiment.nodes("train", part)
    wanted = {name: parts for name, parts in nodes[0].reads.items() if name != "reference"}
    upstream = experiment.upstream(wanted)
    if make:
        with experiment.making(upstream):
            experiment.make(upstream)
    inputs = experiment.there(wanted, explain.explain(upstream, experiment.store))
    maker = experiment.maker()
    for node in nodes:
        yield node, inputs, maker.learner(node.settings)
