"""What a report is made of: one run's tables, what made them and how long it took, and the figures that several parts use."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from sparkctl.errors import SparkError
from sparkctl.report.figures.comparison import Comparison, compare
from sparkctl.report.figures.finished import is_finished
from sparkctl.report.figures.summary import Summary, summarise

BASE = "base"
MAIN = "spark"
"""The policy that the verdict is about, where a run has it."""
_MADE_BY = {
    "questions": "synth",
    "candidates": "synth",
    "scores": "judge",
    "steps": "select",
    "updates": "train",
    "credit": "train",
    "answers": "eval",
}


@dataclass(frozen=True)
class Material:
    """One run. It may be half made: then some tables are not there."""

    name: str
    tables: Mapping[str, Mapping[str, pa.Table]]
    """Table -> part (a step, a policy; '' where there is one alone) -> rows, at least one."""
    files: Mapping[str, str]
    """Artifact -> name of its file in the store, which ends in its key."""
    provenance: Mapping[str, Mapping[str, Any]]
    """Artifact -> what made it, as far as its footer says."""
    records: list[dict[str, Any]]
    """The log of wall times, oldest first."""

    def parts(self, table: str) -> Mapping[str, pa.Table]:
        """Part -> rows; empty where the run has no such table."""
        return self.tables.get(table, {})

    def joined(self, table: str) -> list[dict[str, Any]]:
        """The rows of all parts."""
        return [row for part in self.parts(table).values() for row in part.to_pylist()]

    @property
    def missing(self) -> list[str]:
        """What a finished run has and this one has not, with the command that makes it."""
        return [f"{name} (`sparkctl {by}` makes them)" for name, by in _MADE_BY.items() if not self.parts(name)]

    @property
    def is_nano(self) -> bool:
        """Whether the embedded policy took part."""
        return any(of.get("settings", {}).get("policy") == "nano" for of in self.provenance.values())

    @property
    def sandboxes(self) -> set[str]:
        """How model-written Python was run, by the footers of what ran it: bwrap, landlock, none, off."""
        tools = [of.get("settings", {}).get("tools", {}) for of in self.provenance.values()]
        return {mode for of in tools if (mode := of.get("python_repl", {}).get("sandbox"))}

    @property
    def policies(self) -> list[str]:
        """The evaluated and the trained ones, the base first: their order in tables, and by it their colour."""
        names = {*self.parts("answers"), *self.parts("updates")}
        return sorted(names, key=lambda name: (name != BASE, name))

    @cached_property
    def summaries(self) -> dict[str, Summary]:
        """Policy -> summary of its answers; without policies of which failed calls ended all answers."""
        answers = self.parts("answers")
        counting = [name for name in self.policies if name in answers and is_finished(answers[name]).any()]
        return {name: summarise(answers[name]) for name in counting}

    @cached_property
    def comparisons(self) -> dict[str, Comparison]:
        """Policy -> how it differs from the base; without those that were not asked the same questions."""
        answers = self.parts("answers")
        found = {}
        for name in self.summaries:
            if name != BASE and BASE in answers:
                asked = self._asked(BASE), self._asked(name)
                try:
                    found[name] = compare(answers[BASE], answers[name], (BASE, name), asked=asked)
                except SparkError:
                    continue  # the panel says that there is no comparison; the other figures stand
        return found

    def _asked(self, policy: str) -> Any:
        """What identifies the questions that a policy was asked, where the footer says it."""
        return self.provenance.get(f"answers.{policy}", {}).get("inputs", {}).get("eval_questions")

    @property
    def main(self) -> str | None:
        """The policy that the verdict is about: `spark`, else the one that came last to this run's evaluation, which goes by
        the recipe's order; those evaluated in another run, of which its log says nothing, count as earlier, by name."""
        if MAIN in self.comparisons:
            return MAIN
        logged = list(dict.fromkeys(record.get("node") for record in self.records))
        return max(
            self.comparisons,
            key=lambda name: (logged.index(node) if (node := f"eval.{name}") in logged else -1, name),
            default=None,
        )
