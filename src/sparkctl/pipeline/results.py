"""What came of a run: summaries of answers, two policies compared, a file of outputs scored."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from sparkctl.errors import SparkError
from sparkctl.method import scoring
from sparkctl.pipeline import graph
from sparkctl.pipeline.experiment import Workbench
from sparkctl.pipeline.graph import Fate
from sparkctl.report.figures import comparison, diversity
from sparkctl.report.figures.comparison import Comparison
from sparkctl.report.figures.scorecard import Scorecard, scorecard
from sparkctl.report.figures.summary import Summary, summarise
from sparkctl.storage import files


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


def score(path: Path, mode: scoring.Mode, seed: int, write: Path | None) -> Scorecard:
    """Score a Parquet file of model outputs; `write` takes one row per output, once all of them are scored."""
    outputs = files.read_parquet(path)
    if write and (write.is_dir() or (write.exists() and write.samefile(path))):
        raise SparkError(
            f"--write {write}: is {'a folder' if write.is_dir() else 'the file to score'}; name another file"
        )
    scored = scoring.score(outputs, mode, seed, str(path))
    if write:
        files.write_parquet(scored, write, {"table": "scored", "mode": mode, "seed": seed})
    return scorecard(scored)


def result_of(experiment: "Workbench", fates: Sequence[Fate]) -> Result:
    """The summaries of the answers that these nodes made or reused."""
    seconds: dict[str, float] = {}
    for fate in fates:
        seconds[fate.node.stage.name] = seconds.get(fate.node.stage.name, 0.0) + fate.seconds
    answers = {}
    for fate in fates:
        if fate.node.stage.name == "eval":
            (place,) = graph.outputs(fate, experiment.store).values()
            answers[fate.node.settings.name] = files.read_table(place, "answers", may_be_empty=True)  # type: ignore[attr-defined]
    policies = {name: summarise(table) for name, table in answers.items()}
    made, reused = [f.node.name for f in fates if f.runs], [f.node.name for f in fates if not f.runs]
    counted = Counter(f.node.stage.name for f in fates if not f.runs)
    return Result(
        policies, answers, {k: round(v, 2) for k, v in seconds.items()}, reused, made, counted, experiment.store.run
    )


def compare(experiment: "Workbench", a: str, b: str, resamples: int, seed: int) -> Comparison:
    """Two policies, each named by its file of answers or as a policy of this run."""
    paths = [_answers(experiment, named) for named in (a, b)]
    one, two = (files.read_table(path, "answers") for path in paths)
    asked = [(files.provenance(path) or {}).get("inputs", {}).get("eval_questions") for path in paths]
    names = [str(table["policy"][0]) for table in (one, two)]
    # Files of one policy under two settings bear one name: what was asked for then tells them apart.
    told = (a, b) if names[0] == names[1] else (names[0], names[1])
    return comparison.compare(one, two, told, resamples, seed, (asked[0], asked[1]))


def _answers(experiment: "Workbench", named: str) -> Path:
    path = Path(named)
    return path if path.suffix or path.is_file() else experiment.paths("answers", named)[0]
