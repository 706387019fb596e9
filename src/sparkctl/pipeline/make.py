"""Make: run what is not there yet, and store it under its key.

A node's outputs are named by its key, the digest of stage, version, settings and the bytes of its inputs. What exists
under its key is never made again.
"""

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from sparkctl.method.checks import check_key
from sparkctl.method.ids import digest
from sparkctl.method.ports import Advance, Port, Watch
from sparkctl.method.tables import TABLES
from sparkctl.models import hub
from sparkctl.pipeline.explain import Again, fate_of, never
from sparkctl.pipeline.graph import Fate, Node, outputs, refuse
from sparkctl.pipeline.ports import judge as judge_ports
from sparkctl.pipeline.ports import policy as policy_ports
from sparkctl.pipeline.ports import tools as tool_ports
from sparkctl.stages.stage import Context, Outputs, Stage
from sparkctl.storage import digests, files
from sparkctl.storage.memory import Memory, lazy
from sparkctl.storage.store import Store, is_damaged, set_aside

_TABLE_OF = {"source": "questions", "eval_questions": "questions", "examples": "questions"}
"""Inputs whose table of the contract has another name."""


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
        fate = fate_of(node, places, self.store, self.again)
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
        damaged = [path for path in there if is_damaged(path)]
        for path in damaged:
            aside = set_aside(path)
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
        files.remove(kept)

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
                    f"{label} policy", lambda w: policy_ports.policy_port(settings, adapter, self.memory, w)
                ),
                judge=self._port(label, lambda w: judge_ports.judge_port(settings, self.tools, self.memory, w)),
                tools=_noting(
                    self._port(f"{label} tools", lambda w: tool_ports.tools_port(self.tools, self.memory, w)), failed
                ),
                identity=policy_ports.policy_identity,
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
        return policy_ports.learner(settings, checkpoint=kept, events=events, progress=self.progress, tell=self.warn)

    def _port(self, label: str, open_port: Callable[[Watch], Port]) -> Port:
        """A port that shows its progress and counts what memory spared."""
        advances: list[Advance] = []

        def watch(n: int, known: int, cost_usd: float | None = 0.0) -> None:
            self.calls["asked"] += n - known
            self.calls["remembered"] += known
            if cost_usd != 0.0:
                self.costs.append(cost_usd)
            advances[-1](n, _spent(self.costs), remembered=known)

        port = lazy(lambda: open_port(watch))

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
        files.write_folder(made, path, provenance)
    else:
        files.write_table(made, table, path, provenance)


def read_input(name: str, paths: Sequence[Path], *, may_be_empty: bool = False) -> Any:
    """An input given as files: a folder for an adapter, else tables of the contract, joined."""
    if name == "adapter":
        digests.check(paths[0])
        return paths[0]
    table = _TABLE_OF.get(name, name)
    joined = pa.concat_tables([files.read_table(path, table, may_be_empty=may_be_empty) for path in paths])
    if len(paths) > 1:
        check_key(joined, TABLES[table], " + ".join(str(path) for path in paths))
    return joined
