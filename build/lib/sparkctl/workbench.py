"""What the commands do, without a command line: one recipe, one run, one store, opened together."""

import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sparkctl import lock, pipeline, preflight, recipe, reporting, scoring, store, tables, wiring
from sparkctl.errors import SparkError
from sparkctl.pipeline import Again, Fate, Maker, Node
from sparkctl.plain import say
from sparkctl.ports import Memory
from sparkctl.progress import progress
from sparkctl.recipe import did_you_mean
from sparkctl.recordings import Recordings
from sparkctl.report import comparison, diversity
from sparkctl.report.audit import audit
from sparkctl.report.comparison import Comparison
from sparkctl.report.reliability import Reliability, Scores, reliability
from sparkctl.report.scorecard import Scorecard, scorecard
from sparkctl.report.summary import Summary, summarise
from sparkctl.settings import checked
from sparkctl.stages import judge, train
from sparkctl.store import Store
from sparkctl.tokens import Reader
from sparkctl.tools.settings import Tools

MEMORY = "memory.sqlite"


@dataclass(frozen=True)
class Result:
    """What came of a run."""

    policies: dict[str, Summary]
    answers: dict[str, pa.Table]
    """Policy -> what it answered."""
    seconds: dict[str, float]
    """Stage -> seconds that this call spent on it, all rounds and policies together."""
    reused: list[str]
    """Nodes that were up to date."""
    made: list[str]
    reused_by_stage: dict[str, int]
    folder: Path

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "policies": {
                name: s.as_json() | diversity.as_json(self.answers[name]) for name, s in self.policies.items()
            },
            "seconds": self.seconds,
            "made": self.made,
            "reused": self.reused,
            "files": str(self.folder),
        }


@dataclass(frozen=True)
class Workbench:
    """A recipe's graph with the store it is made in."""

    profile: str
    graph: list[Node]
    store: Store
    tools: Tools

    @classmethod
    def open(cls, profile: str, run: str, overrides: tuple[str, ...], data: Path, recipes: Path | None) -> "Workbench":
        """Read the recipe and lay out its graph; nothing is written."""
        if data.exists() and not data.is_dir():
            raise SparkError(f"--data '{data}': is a file; give a folder, which is made if it is not there")
        values = recipe.load(recipes or recipe.default_folder(), profile, overrides)
        graph = pipeline.nodes(values, Memory(data / MEMORY))
        return cls(profile, graph, Store(data, run), checked(Tools, values["tools"], "tools"))

    def everything(self) -> list[Fate]:
        """Bring the whole experiment up to date; links to what is no part of it any more are dropped."""
        with self._making(self.graph):
            fates = self._make(self.graph)
            self.store.unlink_all_but({artifact for node in self.graph for artifact in node.writes.values()})
        return fates

    def stage(self, name: str, part: str | None, *, retry_failed: bool = False) -> list[Fate]:
        """Bring the nodes of a stage up to date, and what they need. `part`: one step, or one policy.

        `retry_failed`: tables in which calls failed are completed, under the same key: what succeeded is
        remembered, what follows from them becomes stale by their bytes.
        """
        graph = pipeline.needed_for(self.graph, [node.name for node in self._nodes(name, part)])
        again = _has_failures if retry_failed else pipeline.never
        with self._making(graph, again):
            return self._make(graph, again)

    def judge_estimates(self, part: str | None, reads: Sequence[str]) -> list[dict[str, Any]]:
        """For each step what judging it would take, nothing sent or made. Calls are None where the candidates are still
        to be made; then there are no more than at the step before."""
        nodes = self._nodes("judge", part)
        if reads:
            return [self._judge_estimate(nodes[0], self._inputs(nodes[0], reads))]
        found: list[dict[str, Any]] = []
        most: int | None = None
        runs = {fate.node.name: fate.runs for fate in self.plan()}
        for node in nodes:
            if inputs := self._made_inputs(node):
                found.append(self._judge_estimate(node, inputs if runs[node.name] else {}))
                most = judge.calls(inputs["candidates"], node.settings)  # type: ignore[arg-type]
            else:
                found.append({"step": node.name.partition(".")[2], "calls": None, "at_most_calls": most})
        return found

    def _judge_estimate(self, node: Node, inputs: dict[str, Any]) -> dict[str, Any]:
        requests = judge.requests(inputs, node.settings) if inputs else []  # type: ignore[arg-type]
        memory = Memory(self.store.root / MEMORY)
        found, remembered = wiring.judge_estimate(requests, node.settings, self.tools, memory)
        return {"step": node.name.partition(".")[2], "remembered": remembered} | asdict(found)

    def _made_inputs(self, node: Node) -> dict[str, Any]:
        """A node's inputs if all of them are up to date, else nothing."""
        return self._there(node.reads, pipeline.explain(self._upstream(node.reads), self.store))

    def judge_reliability(self, part: str | None, n: int) -> Reliability:
        """Score n states again, drawn over the steps, with the candidates in another order, and compare."""
        self.stage("judge", part)
        self._check(self._nodes("judge", part))
        first = {
            node.name: _scores(self.table("scores", node.name.partition(".")[2])) for node in self._nodes("judge", part)
        }
        states = [(name, state) for name, scores in first.items() for state in scores]
        drawn = random.Random(0).sample(states, min(n, len(states)))
        one: dict[tuple[str, int], Any] = {}
        two: dict[tuple[str, int], Any] = {}
        for node in self._nodes("judge", part):
            if chosen := [state for name, state in drawn if name == node.name]:
                one |= {state: first[node.name][state] for state in chosen}
                two |= self._judged_again(node, chosen)
        select: Any = next(node.settings for node in self.graph if node.stage.name == "select")
        return reliability(one, two, select.threshold, select.viable)

    def _judged_again(self, node: Node, states: list[tuple[str, int]]) -> Scores:
        """Fresh scores of these states; they are remembered like all others."""
        inputs = self._made_inputs(node)
        rollouts = pc.is_in(inputs["candidates"]["rollout_id"], pa.array([rollout for rollout, _ in states]))
        inputs["candidates"] = inputs["candidates"].filter(rollouts)
        settings = node.settings.model_copy(update={"seed": node.settings.seed + 1})  # type: ignore[attr-defined]
        with self._alone(), self._maker().run_stage(node.stage, settings, inputs, f"{node.name} again") as made:
            return _scores(made["scores"])

    def _nodes(self, stage: str, part: str | None) -> list[Node]:
        nodes = [n for n in self.graph if n.stage.name == stage and (part is None or n.name == f"{stage}.{part}")]
        if not nodes:
            there = [n.name.partition(".")[2] for n in self.graph if n.stage.name == stage]
            asked = f"'{part}' is not one of them" if part else "nothing to do"
            raise SparkError(f"{stage}: {asked}; this recipe has: {', '.join(there) or 'none (see eval.policies)'}")
        return nodes

    def audits(self, part: str | None) -> dict[str, dict[str, Any]]:
        """Variant -> the figures of its credit table, without training; what it is made from is brought up to date."""
        found = {}
        for node, inputs, learner in self._trainings(part, make=True):
            credited = train.credited(inputs, node.settings, Reader.of(learner, node.settings))  # type: ignore[arg-type]
            spreads = train.spreads(credited, node.settings)  # type: ignore[arg-type]
            found[_variant(node)] = audit(train.credit_table(credited), spreads, train.INERT)
        return found

    def footprints(self, part: str | None) -> dict[str, dict[str, Any]]:
        """Variant -> what its training will take. Nothing is made: what is not there yet is not counted."""
        found = {}
        for node, inputs, learner in self._trainings(part, make=False):
            trees = []
            if inputs:
                reader = Reader.of(learner, node.settings)
                trees = train.trees(train.credited(inputs, node.settings, reader), node.settings, reader)  # type: ignore[arg-type]
            found[_variant(node)] = learner.footprint(trees)
        return found

    def _trainings(self, part: str | None, *, make: bool) -> Iterator[tuple[Node, dict[str, Any], Any]]:
        """Each variant's node, its inputs but the reference, and its learner. Not `make`: inputs are empty unless all are up to
        date."""
        nodes = self._nodes("train", part)
        wanted = {name: parts for name, parts in nodes[0].reads.items() if name != "reference"}
        upstream = self._upstream(wanted)
        if make:
            with self._making(upstream):
                self._make(upstream)
        inputs = self._there(wanted, pipeline.explain(upstream, self.store))
        maker = self._maker()
        for node in nodes:
            yield node, inputs, maker.learner(node.settings)

    def _upstream(self, reads: dict[str, tuple[str, ...]]) -> list[Node]:
        """The nodes that make these inputs, with all that they need."""
        makers = {artifact: node.name for node in self.graph for artifact in node.writes.values()}
        return pipeline.needed_for(self.graph, [makers[a] for artifacts in reads.values() for a in artifacts])

    def _there(self, reads: dict[str, tuple[str, ...]], fates: Sequence[Fate]) -> dict[str, Any]:
        """Inputs, read from what these nodes made; nothing where one of them is still to be run."""
        if any(fate.runs for fate in fates):
            return {}
        places = {name: path for fate in fates for name, path in pipeline.outputs(fate, self.store).items()}
        return {
            name: pipeline.read_input(name, [places[a] for a in parts], may_be_empty=True)
            for name, parts in reads.items()
        }

    def plan(self) -> list[Fate]:
        """What `everything` would do and why. A SparkError where a file is missing that decides it."""
        pipeline.refuse_missing(self.graph)
        return pipeline.explain(self.graph, self.store)

    def explicit(self, name: str, part: str | None, reads: Sequence[str], writes: Sequence[str]) -> list[Fate]:
        """Run one stage on files given by name, and write where told; the store is not touched."""
        nodes = self._nodes(name, part)
        if len(nodes) > 1 and part is None and (name == "train" or any(r.partition("=")[0] in _TELLING for r in reads)):
            option = "--policy" if name in ("train", "eval") else "--step"
            raise SparkError(
                f"{name}: say with {option} which of: {', '.join(n.name.partition('.')[2] for n in nodes)}"
            )
        outputs = _places(nodes[0], writes)
        inputs = self._inputs(nodes[0], reads)
        self._check(nodes[:1])
        maker, begun = self._maker(), time.monotonic()
        with self._alone(), maker.run_stage(nodes[0].stage, nodes[0].settings, inputs, name) as made:
            for output, path in outputs.items():
                provenance = {"stage": name, "settings": nodes[0].settings.identity()}
                pipeline.write(made[output], output, path, provenance)
        told = f"wrote {', '.join(map(str, outputs.values()))}"
        return [Fate(nodes[0], True, told, seconds=time.monotonic() - begun)]

    def table(self, name: str, part: str | None) -> pa.Table:
        """A table of the run; rounds and policies joined unless one is named."""
        spec = "questions" if name == "eval_questions" else tables.named(name).name
        return pa.concat_tables([store.read_table(path, spec, may_be_empty=True) for path in self.paths(name, part)])

    def paths(self, name: str, part: str | None) -> list[Path]:
        """Where the artifacts of a table lie, rounds in their order."""
        if name not in ("adapter", "eval_questions"):
            tables.named(name)
        wanted = f"{name}.{part}" if part else name
        found = [self.store.linked(a) for a in self.store.artifacts() if a == wanted or a.startswith(f"{wanted}.")]
        if not found:
            parts = [a.partition(".")[2] for a in self.store.artifacts() if part and a.startswith(f"{name}.")]
            there = did_you_mean(str(part), parts, listed=True) if parts else "; `sparkctl run` makes it"
            raise SparkError(f"{self.store.run}: this run has no table '{wanted}' yet{there}")
        return [path for path in found if path]

    def result(self, fates: Sequence[Fate]) -> Result:
        """The summaries of the answers that these nodes made or reused."""
        seconds: dict[str, float] = {}
        for fate in fates:
            seconds[fate.node.stage.name] = seconds.get(fate.node.stage.name, 0.0) + fate.seconds
        answers = {}
        for fate in fates:
            if fate.node.stage.name == "eval":
                (place,) = pipeline.outputs(fate, self.store).values()
                answers[fate.node.settings.name] = store.read_table(place, "answers", may_be_empty=True)  # type: ignore[attr-defined]
        policies = {name: summarise(table) for name, table in answers.items()}
        made, reused = [f.node.name for f in fates if f.runs], [f.node.name for f in fates if not f.runs]
        counted = Counter(f.node.stage.name for f in fates if not f.runs)
        return Result(
            policies, answers, {k: round(v, 2) for k, v in seconds.items()}, reused, made, counted, self.store.run
        )

    def report(self) -> Path:
        """Where the report of this run is; it is written again only where something changed."""
        return reporting.report_if_changed(self.store)

    def compare(self, a: str, b: str, resamples: int, seed: int) -> Comparison:
        """Two policies, each named by its file of answers or as a policy of this run."""
        paths = [self._answers(named) for named in (a, b)]
        one, two = (store.read_table(path, "answers") for path in paths)
        asked = [(store.provenance(path) or {}).get("inputs", {}).get("eval_questions") for path in paths]
        names = [str(table["policy"][0]) for table in (one, two)]
        # Files of one policy under two settings bear one name: what was asked for then tells them apart.
        told = (a, b) if names[0] == names[1] else (names[0], names[1])
        return comparison.compare(one, two, told, resamples, seed, (asked[0], asked[1]))

    def _answers(self, named: str) -> Path:
        path = Path(named)
        return path if path.suffix or path.is_file() else self.paths("answers", named)[0]

    @contextmanager
    def _making(self, graph: Sequence[Node], again: Again = pipeline.never) -> Iterator[None]:
        """Nothing is begun that cannot be finished here, and nobody else makes anything meanwhile."""
        pipeline.refuse(graph)
        self._check([fate.node for fate in pipeline.explain(graph, self.store, again) if fate.runs])
        with self._alone():
            yield

    def _check(self, running: Sequence[Node]) -> None:
        preflight.check(running, self.tools, self.store.root, _warn)

    def _alone(self) -> AbstractContextManager[None]:
        return lock.held(self.store.root, _warn)

    def _make(self, graph: Sequence[Node], again: Again = pipeline.never) -> list[Fate]:
        return self._maker(_tell, again).make(graph)

    def _maker(self, tell: Any = lambda fate: None, again: Again = pipeline.never) -> Maker:
        memory = Memory(self.store.root / MEMORY)
        return Maker(self.store, memory, self.tools, progress, tell, _warn, again=again)

    def _inputs(self, node: Node, reads: Sequence[str]) -> dict[str, Any]:
        files: dict[str, list[Path]] = {}
        allowed = (*node.stage.reads, *node.stage.may_read)
        for given in reads:
            name, equals, path = given.partition("=")
            if not equals or name not in allowed:
                raise SparkError(f"--read {given}: write INPUT=FILE, where INPUT is one of: {', '.join(allowed)}")
            files.setdefault(name, []).append(Path(path))
        files = {name: [path] for name, path in node.files.items()} | files
        # Beside what the stage always reads: a policy without its adapter would be the base under another name, and a
        # later step without the ones before it would count the use of tools from 0.
        if missing := [name for name in dict.fromkeys((*node.stage.reads, *node.reads)) if name not in files]:
            raise SparkError(f"{node.stage.name}: needs --read {missing[0]}=FILE")
        return {name: pipeline.read_input(name, paths) for name, paths in files.items()}


def _has_failures(node: Node, outputs: dict[str, Path]) -> bool:
    """Whether some of a node's calls failed: of the policy, the judge or a tool."""
    if node.stage.name not in _FAILURES:
        return False
    table, failed = _FAILURES[node.stage.name]
    made = store.read_table(next(iter(outputs.values())), table, may_be_empty=True)
    return failed(made, node.settings)


def _has_errors(made: pa.Table, settings: Any) -> bool:
    return bool(made["error"].null_count < len(made))


def _has_failed_answers(made: pa.Table, settings: Any) -> bool:
    # Rows do not tell a tool's failed call from one that answered with an error; memory does, when asked again.
    return _has_errors(made, settings) or bool(pc.sum(made["failed_calls"]).as_py())


_FAILURES: dict[str, tuple[str, Callable[[pa.Table, Any], bool]]] = {
    "synth": ("candidates", _has_errors),
    "judge": ("scores", judge.incomplete),
    "select": ("steps", _has_errors),
    "eval": ("answers", _has_failed_answers),
}
"""Stage -> its table, and whether calls failed in it."""


def _scores(table: pa.Table) -> Scores:
    """State -> action -> score."""
    found: dict[tuple[str, int], dict[str, float | None]] = {}
    for row in table.to_pylist():
        found.setdefault((row["rollout_id"], row["step_idx"]), {})[row["tool_name"]] = row["score"]
    return found


def _variant(node: Node) -> str:
    return node.name.partition(".")[2]


def score(path: Path, mode: scoring.Mode, seed: int, write: Path | None) -> Scorecard:
    """Score a Parquet file of model outputs; `write` takes one row per output, once all of them are scored."""
    outputs = store.read_parquet(path)
    if write and (write.is_dir() or (write.exists() and write.samefile(path))):
        raise SparkError(
            f"--write {write}: is {'a folder' if write.is_dir() else 'the file to score'}; name another file"
        )
    scored = scoring.score(outputs, mode, seed, str(path))
    if write:
        store.write_parquet(scored, write, {"table": "scored", "mode": mode, "seed": seed})
    return scorecard(scored)


def recordings(data: Path) -> Recordings:
    """The recordings of a data folder."""
    return Recordings(Memory(data / MEMORY))


_TELLING = ("steps", "adapter")
"""Inputs that belong to one step or policy: with them it must be said which."""


def _places(node: Node, writes: Sequence[str]) -> dict[str, Path]:
    places: dict[str, Path] = {}
    for given in writes:
        name, equals, path = given.partition("=")
        name, path = (name, path) if equals else (node.stage.writes[0], given)
        if name not in node.stage.writes:
            raise SparkError(f"--write {given}: {node.stage.name} writes {', '.join(node.stage.writes)}")
        places[name] = Path(path)
    if not places:
        raise SparkError(f"{node.stage.name}: --read needs --write FILE as well")
    for place in places.values():
        if place.is_dir():
            raise SparkError(
                f"--write {place}: is a folder that exists; name a new {'folder' if 'adapter' in places else 'file'}"
            )
    return places


def _warn(line: str) -> None:
    say(line, sys.stderr)


def _tell(fate: Fate) -> None:
    """One line per node that ran, on standard error."""
    if fate.runs:
        say(f"{fate.node.name:<18} {fate.seconds:7.1f} s   {fate.why}", sys.stderr)
