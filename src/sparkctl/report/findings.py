"""The findings of a report: every part that a run's tables allow."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sparkctl.report.figures.verdict import verdicts
from sparkctl.report.panels.diversity import diversity, effort, tool_use
from sparkctl.report.panels.evaluation import categories, headline, tool_mix, tool_mix_by_step
from sparkctl.report.panels.panel import Panel
from sparkctl.report.panels.provenance import cost, provenance
from sparkctl.report.panels.rollouts import judged_outcomes, rounds
from sparkctl.report.panels.training import rewards, training
from sparkctl.report.run_tables import Material


@dataclass(frozen=True)
class Findings:
    """A run with all parts for which it has the tables, in the order of the page."""

    run: Material
    panels: list[Panel]

    @classmethod
    def of(cls, run: Material) -> "Findings":
        """Work them out."""
        return cls(run, [panel for make in _PANELS if (panel := make(run)) is not None])

    def as_json(self) -> dict[str, Any]:
        """All figures, for programs."""
        said = [vars(verdict) for verdict in verdicts(self.run)]
        tables = {panel.name: panel.table.to_pylist() for panel in self.panels}
        return {"main": self.run.main, "verdicts": said, "missing": self.run.missing, **tables}


_PANELS: tuple[Callable[[Material], Panel | None], ...] = (
    headline,
    categories,
    tool_mix,
    tool_mix_by_step,
    diversity,
    tool_use,
    effort,
    training,
    rewards,
    rounds,
    judged_outcomes,
    cost,
    provenance,
)
