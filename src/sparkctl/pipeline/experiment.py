"""What the commands do, without a command line: one recipe, one run, one store, opened together."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sparkctl.config import recipe
from sparkctl.config.settings import checked
from sparkctl.errors import SparkError, did_you_mean
from sparkctl.method import tables
from sparkctl.method.plain import say
from sparkctl.pipeline import explain, make, plan, preflight
from sparkctl.pipeline import graph as graphs
from sparkctl.pipeline.explain import Again
from sparkctl.pipeline.graph import Fate, Node
from sparkctl.pipeline.make import Maker
from sparkctl.pipeline.progress import progress
from sparkctl.report import write
from sparkctl.stages import judge
from sparkctl.storage import lock
from sparkctl.storage.files import read_table
from sparkctl.storage.memory import Memory
from sparkctl.storage.store import Store
from sparkctl.tools.recordings import Recordings
from sparkctl.tools.settings import Tools

MEMORY = "memory.sqlite"


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
        graph = plan.nodes(values, Memory(data / MEMORY))
        return cls(profile, graph, Store(data, run), checked(Tools, values["tools"], "tools"))

    def everything(self) -> list[Fate]:
        """Bring the whole experiment up to date; links to what is no part of it any more are dropped."""
        with self.making(self.graph):
            fates = self.make(self.graph)
            self.store.unlink_all_but({artifact for node in self.graph for artifact in node.writes.values()})
        return fates

    def stage(self, name: str, part: str | None, *, retry_failed: bool = False) -> list[Fate]:
        """Bring the nodes of a stage up to date, and what they need. `part`: one step, or one policy.

        `retry_failed`: tables in which calls failed are completed, under the same key: what succeeded is
        remembered, what follows from them becomes stale by their bytes.
        """
        graph = graphs.needed_for(self.graph, [node.name for node in self.nodes(name, part)])
        again = _has_failures if retry_failed else explain.never
        with self.making(graph, again):
            return self.make(graph, again)

    def nodes(self, stage: str, part: str | None) -> list[Node]:
        nodes = [n for n in self.graph if n.stage.name == stage and (part is None or n.name == f"{stage}.{part}")]
        if not nodes:
            there = [n.name.partition(".")[2] for n in self.graph if n.stage.name == stage]
            asked = f"'{part}' is not one of them" if part else "nothing to do"
            raise SparkError(f"{stage}: {asked}; this recipe has: {', '.join(there) or 'none (see eval.policies)'}")
        return nodes

    def upstream(self, reads: dict[str, tuple[str, ...]]) -> list[Node]:
        """The nodes that make these inputs, with all that they need."""
        makers = {artifact: node.name for node in self.graph for artifact in node.writes.values()}
        return graphs.needed_for(self.graph, [makers[a] for artifacts in reads.values() for a in artifacts])

    def there(self, reads: dict[str, tuple[str, ...]], fates: Sequence[Fate]) -> dict[str, Any]:
        """Inputs, read from what these nodes made; nothing where one of them is still to be run."""
        if any(fate.runs for fate in fates):
            return {}
        places = {name: path for fate in fates for name, path in graphs.outputs(fate, self.store).items()}
        return {
            name: make.read_input(name, [places[a] for a in parts], may_be_empty=True) for name, parts in reads.items()
        }

    def plan(self) -> list[Fate]:
        """What `everything` would do and why. A SparkError where a file is missing that decides it."""
        graphs.refuse_missing(self.graph)
        return explain.explain(self.graph, self.store)

    def explicit(self, name: str, part: str | None, reads: Sequence[str], writes: Sequence[str]) -> list[Fate]:
        """Run one stage on files given by name, and write where told; the store is not touched."""
        nodes = self.nodes(name, part)
        if len(nodes) > 1 and part is None and (name == "train" or any(r.partition("=")[0] in _TELLING for r in reads)):
            option = "--policy" if name in ("train", "eval") else "--step"
            raise SparkError(
                f"{name}: say with {option} which of: {', '.join(n.name.partition('.')[2] for n in nodes)}"
            )
        outputs = _places(nodes[0], writes)
        inputs = self.inputs(nodes[0], reads)
        self.check(nodes[:1])
        maker, begun = self.maker(), time.monotonic()
        with self.alone(), maker.run_stage(nodes[0].stage, nodes[0].settings, inputs, name) as made:
            for output, path in outputs.items():
                provenance = {"stage": name, "settings": nodes[0].settings.identity()}
                make.write(made[output], output, path, provenance)
        told = f"wrote {', '.join(map(str, outputs.values()))}"
        return [Fate(nodes[0], True, told, seconds=time.monotonic() - begun)]

    def table(self, name: str, part: str | None) -> pa.Table:
        """A table of the run; rounds and policies joined unless one is named."""
        spec = "questions" if name == "eval_questions" else tables.named(name).name
        return pa.concat_tables([read_table(path, spec, may_be_empty=True) for path in self.paths(name, part)])

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

    def report(self) -> Path:
        """Where the report of this run is; it is written again only where something changed."""
        return write.report_if_changed(self.store)

    @contextmanager
    def making(self, graph: Sequence[Node], again: Again = explain.never) -> Iterator[None]:
        """Nothing is begun that cannot be finished here, and nobody else makes anything meanwhile."""
        graphs.refuse(graph)
        self.check([fate.node for fate in explain.explain(graph, self.store, again) if fate.runs])
        with self.alone():
            yield

    def check(self, running: Sequence[Node]) -> None:
        preflight.check(running, self.tools, self.store.root, _warn)

    def alone(self) -> AbstractContextManager[None]:
        return lock.held(self.store.root, _warn)

    def make(self, graph: Sequence[Node], again: Again = explain.never) -> list[Fate]:
        return self.maker(_tell, again).make(graph)

    def maker(self, tell: Any = lambda fate: None, again: Again = explain.never) -> Maker:
        memory = Memory(self.store.root / MEMORY)
        return Maker(self.store, memory, self.tools, progress, tell, _warn, again=again)

    def inputs(self, node: Node, reads: Sequence[str]) -> dict[str, Any]:
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
        return {name: make.read_input(name, paths) for name, paths in files.items()}


def _has_failures(node: Node, outputs: dict[str, Path]) -> bool:
    """Whether some of a node's calls failed: of the policy, the judge or a tool."""
    if node.stage.name not in _FAILURES:
        return False
    table, failed = _FAILURES[node.stage.name]
    made = read_table(next(iter(outputs.values())), table, may_be_empty=True)
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
