"""Kinds of files that sparkctl keeps itself or is pointed to by a setting: memory, logs, stored tables, corpora, questions."""

import json
import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, ClassVar

import pyarrow as pa

from helpers.command_line import sparkctl
from helpers.tables_and_fakes import question
from hostile.answers import observed
from hostile.damage import damaged
from hostile.files import Kind, OfStage, Table, Tried, contract, ended_well, rows
from hostile.oracle import Verdict, verdict
from hostile.shapes import ODD, reshaped
from hostile.tables import Sheet, changed, packed
from hostile.world import SETTINGS, World
from sparkctl.method import tables
from sparkctl.pipeline.ports.tools import open_tool
from sparkctl.tools.settings import Tools


class Source(Table):
    """The file that synth.questions names."""

    name = "synth.questions"
    needs_run = True

    def begin(self) -> dict[str, Sheet]:
        self.data = self.world.data("source-data")
        table = tables.from_rows("questions", [question(i + 1) for i in range(3)])
        return {"questions": contract("questions", table)}

    def args(self, name: str) -> list[Any]:
        shutil.rmtree(self.data / "default", ignore_errors=True)
        shutil.rmtree(self.data / "store", ignore_errors=True)
        source = ("--set", f"synth.questions={self.path}", "--set", "eval.questions=nano")
        return ["synth", "--step", "1", "--data", self.data, *SETTINGS, *source]

    def result(self, done: "CompletedProcess[str]") -> Any:
        return [rows(self.data / "default" / f"{name}.parquet") for name in ("questions", "candidates.1")]


class Shots(OfStage):
    """The file that eval.shots_from names."""

    name = "eval.shots_from"
    stage = "eval"
    reads: ClassVar = {"eval_questions": "eval_questions"}

    def begin(self) -> dict[str, Sheet]:
        super().begin()
        asked = self.world.table("eval_questions")["category"].to_pylist()
        made = [question(i + 50, category=category) for i, category in enumerate(dict.fromkeys(asked))]
        return {"examples": contract("questions", tables.from_rows("questions", made), inert={"src"})}

    def args(self, name: str) -> list[Any]:
        given = ["--read", f"eval_questions={self.folder / 'eval_questions.parquet'}", "--policy", "base"]
        shots = ["--set", "eval.shots=1", "--set", f"eval.shots_from={self.path}"]
        return ["eval", *given, *shots, "--write", self.out, "--data", self.data, *SETTINGS]


class Trained(OfStage):
    """What train reads."""

    name = "tables of train"
    stage = "train"
    weight = 2
    options = ("--policy", "spark")
    reads: ClassVar = {
        **{"candidates": "candidates.1", "scores": "scores.1", "steps": "steps.1", "questions": "questions"},
        "reference": "reference",
    }
    inert: ClassVar = {"questions": {"src"}, "candidates": {"policy"}}

    def begin(self) -> dict[str, Sheet]:
        found = super().begin()
        first = {name: sheet for name, sheet in found.items() if name != "reference"}
        sheet = found["reference"]
        of_step = sheet.table.filter(pa.compute.equal(sheet.table["step_idx"], 1))
        (self.folder / "reference.parquet").write_bytes(packed(of_step))
        return first

    def args(self, name: str) -> list[Any]:
        places = [f"{part}={self.folder / part}" for part in ("adapter", "updates", "credit")]
        shutil.rmtree(self.folder / "adapter", ignore_errors=True)
        words = super().args(name)
        at = words.index("--write")
        return [*words[:at], *(w for place in places for w in ("--write", place)), *words[at + 2 :]]

    def result(self, done: "CompletedProcess[str]") -> Any:
        found = [rows(self.folder / part) for part in ("updates", "credit")]
        return [*found, (self.folder / "adapter" / "adapter_model.safetensors").read_bytes()]


class Corpus(Kind):
    """A corpus, looked into by a tool."""

    name = "corpora"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.path = self.folder / "corpus.parquet"
        table = pa.table({"title": ["Paris", "Rome"], "text": ["the capital of France", "the capital of Italy"]})
        every = frozenset(table.column_names)
        self.sheet = Sheet(table, every, every)
        self.path.write_bytes(packed(table))
        self.sound = self._asked()
        assert self.sound.ok

    def _asked(self) -> Any:
        settings = Tools.model_validate(
            {"descriptions": {}, "static_kb": {"backend": "offline", "corpus": str(self.path)}}
        )
        tool = open_tool("static_kb", settings, self.folder / "cache")
        try:
            return tool("capital of Italy")
        finally:
            if hasattr(tool, "close"):
                tool.close()

    def attempt(self, rng: random.Random) -> Tried:
        change = changed(rng, self.sheet)
        self.path.write_bytes(change.data)
        shutil.rmtree(self.folder / "cache", ignore_errors=True)
        found = observed(self._asked, self.sound, other=change.other)
        if found.outcome == "refused" and "corpus.parquet" not in found.why:
            found = Verdict("bad", f"does not name the file: {found.why}")
        return Tried(change.what, found)


class MemoryFile(Kind):
    """memory.sqlite, damaged; the command that meets it saves what it can and the next gives the same."""

    name = "memory.sqlite"
    needs_run = True

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.data, self.out = self.folder / "data", self.folder / "out"
        made = world.made / "default"
        reads = (
            "--read",
            f"candidates={made / 'candidates.1.parquet'}",
            "--read",
            f"questions={made / 'questions.parquet'}",
        )
        self.args = ["judge", "--step", "1", *reads, "--write", self.out, "--data", self.data, *SETTINGS]
        self.pristine = (world.made / "memory.sqlite").read_bytes()
        self._laid(self.pristine)
        ended_well(sparkctl(*self.args))
        self.sound = rows(self.out)

    def _laid(self, data: bytes) -> Path:
        shutil.rmtree(self.data, ignore_errors=True)
        self.data.mkdir()
        place = self.data / "memory.sqlite"
        place.write_bytes(data)
        return place

    def attempt(self, rng: random.Random) -> Tried:
        if rng.random() < 0.6:
            what, data = damaged(rng, self.pristine)
            place = self._laid(data)
            if rng.random() < 0.2:
                what += ", rubbish in its journal"
                place.with_name("memory.sqlite-wal").write_bytes(rng.randbytes(5000))
        else:
            what = _row(rng, self._laid(self.pristine))
        # A text that still is a reply is believed: nothing tells it from one that was paid for.
        other = _replies(self.data / "memory.sqlite", _replies_of(self.pristine, self.folder))
        found = self._judged(other)
        if found.outcome == "refused":
            again = self._judged(other)
            found = found if again.outcome != "bad" else Verdict("bad", f"then {again}")
        return Tried(what, found)

    def _judged(self, other: bool) -> Verdict:
        told = verdict(
            self.args,
            lambda done: rows(self.out),
            self.sound,
            names=("memory.sqlite",),
            clean=self.folder,
            other=other,
            warns=True,
        )
        self.out.unlink(missing_ok=True)
        return told


def _replies_of(data: bytes, folder: Path) -> dict[str, str]:
    place = folder / "pristine.sqlite"
    if not place.exists():
        place.write_bytes(data)
    with closing(sqlite3.connect(place)) as db:
        return dict(db.execute("SELECT digest, body FROM replies"))


def _replies(place: Path, sound: dict[str, str]) -> bool:
    """Whether a reply reads as another one."""
    try:
        with closing(sqlite3.connect(f"file:{place}?immutable=1", uri=True)) as db:
            found = dict(db.execute("SELECT digest, body FROM replies"))
    except (sqlite3.Error, ValueError, TypeError):
        return True  # what can be saved of it may hold one
    return any(name in sound and sound[name] != body for name, body in found.items())


def _row(rng: random.Random, place: Path) -> str:
    """A row that no sparkctl wrote."""
    value: Any = rng.choice(
        ("", "{", "[]", "null", "3", "NaN", "[" * 5000, None, 7, b"\xff\x00", '{"content": 3}', "{}")
    )
    how = rng.choice(("body", "cost_usd", "drop", "column"))
    with closing(sqlite3.connect(place)) as db, db:
        if how == "drop":
            db.execute(f"DROP TABLE {rng.choice(('replies', 'paid'))}")
        elif how == "column":
            db.execute(f"ALTER TABLE replies RENAME COLUMN {rng.choice(('body', 'digest', 'cost_usd'))} TO other")
        elif how == "cost_usd":
            db.execute("UPDATE replies SET cost_usd = ?", (rng.choice(("x", -1.0, 1e308, b"\x00")),))
        else:
            try:
                db.execute("UPDATE replies SET body = ?", (value,))
            except sqlite3.IntegrityError:
                how += " refused"
    return f"{how} {value!r:.20}"


class Log(Kind):
    """runs.jsonl, read by report: times and costs, on which no other figure depends."""

    name = "runs.jsonl"
    needs_run = True
    weight = 1

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.data = self.folder / "data"
        shutil.copytree(world.made, self.data, symlinks=True)
        self.place = self.data / "default" / "runs.jsonl"
        self.pristine = self.place.read_bytes()
        done = sparkctl("report", "--data", self.data, "--json")
        ended_well(done)
        self.sound = self._result(done)

    def _result(self, done: "CompletedProcess[str]") -> Any:
        found = json.loads(done.stdout)["runs"]["default"]
        # What a reader can compare: everything but what the log says of time and cost.
        return {
            name: part for name, part in found.items() if name not in ("seconds", "time", "costs", "cost", "provenance")
        }

    def attempt(self, rng: random.Random) -> Tried:
        lines = self.pristine.splitlines()
        at = rng.randrange(len(lines))
        if rng.random() < 0.7:
            shape = reshaped(rng, json.loads(lines[at]))
            what, lines[at] = shape.what, shape.data
            data = b"\n".join(lines)
        elif rng.random() < 0.5:
            what, data = damaged(rng, self.pristine)
        else:
            value = rng.choice(ODD)
            what, data = f"a line {value!r:.20}", self.pristine + json.dumps(value).encode()
        self.place.write_bytes(data)
        told = verdict(
            ["report", "--data", self.data, "--json"],
            self._result,
            self.sound,
            names=("runs.jsonl",),
            clean=self.folder,
            other=True,
        )
        return Tried(what, told)


class Stored(Kind):
    """Tables of the store, read by report. Bytes flipped inside are told by their digests, not here."""

    name = "tables of the store"
    needs_run = True
    weight = 1

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.data = self.folder / "data"
        shutil.copytree(world.made, self.data, symlinks=True)
        self.tables = (
            "questions",
            "candidates.1",
            "scores.1",
            "steps.2",
            "updates.spark",
            "credit.spark",
            "answers.spark",
        )

    def attempt(self, rng: random.Random) -> Tried:
        artifact = rng.choice(self.tables)
        place = (self.data / "default" / f"{artifact}.parquet").resolve()
        pristine = place.read_bytes()
        change = changed(rng, contract(artifact.partition(".")[0], self.world.table(artifact)))
        place.write_bytes(change.data)
        told = verdict(
            ["report", "--data", self.data],
            lambda done: "",
            "",
            names=(place.name, artifact),
            clean=self.folder,
            other=True,
        )
        place.write_bytes(pristine)
        return Tried(f"{artifact}: {change.what}", told)


KEPT_KINDS: list[type[Kind]] = [Source, Shots, Trained, Corpus, MemoryFile, Log, Stored]
