"""Kinds of files that are read, each with a command that reads it."""

import json
import random
import shutil
from abc import ABC, abstractmethod
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, ClassVar, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from helpers.command_line import sparkctl
from helpers.tables_and_fakes import question
from hostile.oracle import Verdict, verdict
from hostile.tables import Sheet, changed, packed
from hostile.world import SETTINGS, World
from sparkctl.method import tables


class Tried(NamedTuple):
    """A mutant in words, and what came of it."""

    what: str
    verdict: Verdict


class Kind(ABC):
    """One kind of input. It is made once for each worker, its sound result with it."""

    name: ClassVar[str]
    weight: ClassVar[int] = 4
    """Of 100 or so mutants, how many."""
    needs_run: ClassVar[bool] = False
    """Whether the run of World must be there."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.folder = world.root / self.name.replace(" ", "-")
        self.folder.mkdir(parents=True)

    @abstractmethod
    def attempt(self, rng: random.Random) -> Tried:
        """A mutant, and what comes of it."""


def ended_well(done: "CompletedProcess[str]") -> None:
    """The sound input must be taken."""
    assert done.returncode == 0, done.stderr


def rows(path: Path) -> str:
    """What a table says, NaN equal to itself."""
    return repr(pq.ParquetFile(path).read().to_pylist())


def contract(name: str, table: pa.Table, inert: set[str] = frozenset(), links: set[str] = frozenset()) -> Sheet:  # type: ignore[assignment]
    """A table of the contract."""
    spec = tables.TABLES[name]
    return Sheet(
        table,
        required=frozenset(c.name for c in spec.columns if not c.optional),
        filled=frozenset(c.name for c in spec.columns if not c.null),
        among=frozenset(c.name for c in spec.columns if c.among),
        within=frozenset(c.name for c in spec.columns if c.within),
        key=spec.key,
        inert=frozenset(inert),
        links=frozenset(links),
    )


# ---- tables given by name --------------------------------------------------------------------------------------------


class Table(Kind):
    """A Parquet file that a command reads, and what it writes of it or prints."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.path = self.folder / "given.parquet"
        self.out = self.folder / "out"
        self.sheets = self.begin()
        self.sounds = {}
        for name, sheet in self.sheets.items():
            self.path.write_bytes(packed(sheet.table))
            done = sparkctl(*self.args(name))
            ended_well(done)
            self.sounds[name] = self.result(done)

    @abstractmethod
    def begin(self) -> dict[str, Sheet]:
        """The sound tables that are damaged one at a time, by the input's name."""

    @abstractmethod
    def args(self, name: str) -> list[Any]:
        """The command that reads `path` as that input."""

    def result(self, done: "CompletedProcess[str]") -> Any:
        """What came of it."""
        found = rows(self.out)
        self.out.unlink()
        return found

    def attempt(self, rng: random.Random) -> Tried:
        name = rng.choice(sorted(self.sheets))
        change = changed(rng, self.sheets[name])
        self.path.write_bytes(change.data)
        told = verdict(
            self.args(name),
            self.result,
            self.sounds[name],
            names=(str(self.path), f"{name}:", *(f"'{c}'" for c in self.sheets[name].table.column_names)),
            clean=self.folder,
            other=change.other,
            warns=self.needs_run,
        )
        self.out.unlink(missing_ok=True)
        return Tried(f"{name}: {change.what}", told)


class Outputs(Table):
    """A model's outputs, scored."""

    name = "outputs to score"

    def begin(self) -> dict[str, Sheet]:
        said = ["the answer is (A)", "Answer: B", "no idea", None, "\\boxed{C}"]
        table = pa.table(
            {
                "question_id": [1, 2, 3, 4, 5],
                "model_output": said,
                "options": [["1", "2", "3"]] * 5,
                "answer": list("ABCAC"),
                "category": ["math", "law", "math", "law", "math"],
            }
        )
        required = frozenset(table.column_names) - {"category"}
        return {"outputs": Sheet(table, required, filled=required - {"model_output"}, among=frozenset({"answer"}))}

    def args(self, name: str) -> list[Any]:
        return ["score", self.path, "--write", self.out]


class Answers(Table):
    """Two tables of answers, compared."""

    name = "answers to compare"

    def begin(self) -> dict[str, Sheet]:
        made = [
            {
                **{
                    "policy": policy,
                    "question_id": i,
                    "sample_id": 0,
                    "category": "math",
                    "tools": ["calculator"] * (i % 3),
                },
                **{
                    "failed_calls": 0,
                    "unreadable_turns": 0,
                    "steps": 2,
                    "tokens": 9,
                    "prompt_tokens": 90,
                    "output": "x",
                },
                **{"answer": "A", "extracted_by": "letter", "is_correct": i % 2 == 0},
            }
            for policy in ("one", "two")
            for i in range(6)
        ]
        table = tables.from_rows("answers", made)
        (self.folder / "two.parquet").write_bytes(packed(table.slice(6)))
        return {"answers": contract("answers", table.slice(0, 6), inert={"output"})}

    def args(self, name: str) -> list[Any]:
        return ["compare", self.path, self.folder / "two.parquet", "--resamples", "100", "--json"]

    def result(self, done: "CompletedProcess[str]") -> Any:
        return json.loads(done.stdout)


class Recorded(Table):
    """Recordings, imported and exported."""

    name = "recordings to import"

    def begin(self) -> dict[str, Sheet]:
        common = {"observation_ok": True, "backend": "live", "recorded_at": "2026-01-31T12:00:00Z"}
        made = [
            common | {"tool_name": t, "query": q, "observation": f"of {q}"}
            for t, q in (("search", "a"), ("wikipedia", "b c"))
        ]
        return {"recordings": contract("recordings", tables.from_rows("recordings", made))}

    def args(self, name: str) -> list[Any]:
        shutil.rmtree(self.folder / "data", ignore_errors=True)
        return ["recordings", "import", self.path, "--data", self.folder / "data"]

    def result(self, done: "CompletedProcess[str]") -> Any:
        ended_well(sparkctl("recordings", "export", self.out, "--data", self.folder / "data"))
        return super().result(done)


class OfStage(Table):
    """The tables that a stage is given by --read."""

    needs_run = True
    stage: ClassVar[str]
    options: ClassVar[tuple[str, ...]] = ()
    reads: ClassVar[dict[str, str]]
    """Input -> the artifact of the run that is given."""
    inert: ClassVar[dict[str, set[str]]] = {}
    links: ClassVar[dict[str, set[str]]] = {}

    def begin(self) -> dict[str, Sheet]:
        self.data = self.world.data(self.stage)
        found = {}
        for name, artifact in self.reads.items():
            kind = {"eval_questions": "questions"}.get(name, name)
            found[name] = contract(
                kind, self.world.table(artifact), self.inert.get(name, set()), self.links.get(name, set())
            )
            (self.folder / f"{name}.parquet").write_bytes(packed(found[name].table))
        return found

    def args(self, name: str) -> list[Any]:
        places = {n: self.path if n == name else self.folder / f"{n}.parquet" for n in self.reads}
        given = [word for n, path in places.items() for word in ("--read", f"{n}={path}")]
        return [self.stage, *self.options, *given, "--write", self.out, "--data", self.data, *SETTINGS]


_OF_ROLLOUTS = {"rollout_id", "step_idx"}


class Selected(OfStage):
    """candidates, scores and questions of select."""

    name = "tables of select"
    stage = "select"
    options = ("--step", "1")
    reads: ClassVar = {"candidates": "candidates.1", "scores": "scores.1", "questions": "questions"}
    inert: ClassVar = {"scores": {"reason", "judge"}, "questions": {"src", "cot_content"}, "candidates": {"policy"}}
    links: ClassVar = {"scores": _OF_ROLLOUTS, "candidates": {"question_id"}}
    weight = 8


class Judged(OfStage):
    """candidates, questions and earlier steps of judge."""

    name = "tables of judge"
    stage = "judge"
    options = ("--step", "2")
    reads: ClassVar = {"candidates": "candidates.2", "questions": "questions", "steps": "steps.1"}
    inert: ClassVar = {"questions": {"src"}, "candidates": {"policy"}}
    links: ClassVar = {"candidates": {"question_id"}}


class Asked(OfStage):
    """questions of synth."""

    name = "tables of synth"
    stage = "synth"
    options = ("--step", "1")
    reads: ClassVar = {"questions": "questions"}
    inert: ClassVar = {"questions": {"src", "cot_content"}}


class Evaluated(OfStage):
    """questions of eval."""

    name = "tables of eval"
    stage = "eval"
    options = ("--policy", "base")
    reads: ClassVar = {"eval_questions": "eval_questions"}
    inert: ClassVar = {"eval_questions": {"src", "cot_content"}}


TABLE_KINDS: list[type[Kind]] = [Outputs, Answers, Recorded, Selected, Judged, Asked, Evaluated]
_ = question
