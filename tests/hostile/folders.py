"""Kinds of folders and texts that are read: adapters, models, recipes, prompts, settings."""

import json
import random
import shutil
import tomllib
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, ClassVar

from helpers.command_line import sparkctl
from helpers.tables_and_fakes import ROOT
from hostile.damage import damaged
from hostile.files import Kind, Tried, ended_well, rows
from hostile.oracle import verdict
from hostile.shapes import reshaped, said, spoilt
from hostile.world import SETTINGS, World
from sparkctl.config.recipe import SECTIONS
from sparkctl.models import loading


class Folder(Kind):
    """A copy of a folder, of which one file is damaged."""

    files: ClassVar[tuple[str, ...]]
    may_lack: ClassVar[tuple[str, ...]] = ()
    """Files without which the folder is another valid one."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.pristine, self.given = self.folder / "pristine", self.folder / "given"
        self.begin(self.pristine)
        shutil.copytree(self.pristine, self.given)
        done = sparkctl(*self.args())
        ended_well(done)
        self.sound = self.result(done)

    def begin(self, place: Path) -> None:
        """Lay out the sound folder."""
        raise NotImplementedError

    def args(self) -> list[Any]:
        """The command that reads `given`."""
        raise NotImplementedError

    def result(self, done: "CompletedProcess[str]") -> Any:
        """What came of it."""
        raise NotImplementedError

    def change(self, rng: random.Random, name: str, data: bytes) -> tuple[str, bytes, bool]:
        """(what, the damaged bytes of the file, whether it is another valid one)."""
        raise NotImplementedError

    def attempt(self, rng: random.Random) -> Tried:
        name = rng.choice(self.files)
        place, data = self.given / name, (self.pristine / name).read_bytes()
        if rng.random() < 0.06:
            what = _replaced(rng, place)
            other = what == "gone" and name in self.may_lack
        else:
            what, changed, other = self.change(rng, name, data)
            place.write_bytes(changed)
        told = verdict(
            self.args(), self.result, self.sound, names=self.names(name), clean=self.folder, other=other, warns=True
        )
        if place.is_dir():
            place.rmdir()
        place.unlink(missing_ok=True)
        place.write_bytes(data)
        return Tried(f"{name}: {what}", told)

    def names(self, name: str) -> tuple[str, ...]:
        """What a refusal may name."""
        return (str(self.given),)


def _replaced(rng: random.Random, place: Path) -> str:
    """Something else than a file under its name."""
    import os

    place.unlink()
    how = rng.choice(("gone", "a folder", "a pipe", "a link to itself", "a link to nowhere"))
    if how == "a folder":
        place.mkdir()
    elif how == "a pipe":
        os.mkfifo(place)
    elif how.startswith("a link"):
        place.symlink_to(place if how.endswith("itself") else place.with_name("nowhere"))
    return how


# ---- adapters --------------------------------------------------------------------------------------------------------


class Adapter(Folder):
    """An adapter's folder, evaluated."""

    name = "adapters"
    needs_run = True
    weight = 6
    files = ("adapter_config.json", "adapter_config.json", "adapter_model.safetensors", "base.json", "trained_on.json")

    def begin(self, place: Path) -> None:
        from safetensors.torch import load_file, save_file

        shutil.copytree(self.world.adapter, place)
        # Trained for a moment it would answer as the base does, and nobody would see that it was left out.
        weights = load_file(place / "adapter_model.safetensors")
        save_file({name: weight * 40 for name, weight in weights.items()}, place / "adapter_model.safetensors")
        self.data, self.out = self.world.data("adapters-data"), self.folder / "out"
        questions = self.world.made / "default" / "eval_questions.parquet"
        self.common = [
            "eval",
            "--read",
            f"eval_questions={questions}",
            "--write",
            self.out,
            "--data",
            self.data,
            *SETTINGS,
        ]

    def args(self) -> list[Any]:
        return [*self.common, "--policy", "spark", "--read", f"adapter={self.given}"]

    def result(self, done: "CompletedProcess[str]") -> Any:
        found = rows(self.out)
        self.out.unlink()
        return found

    def change(self, rng: random.Random, name: str, data: bytes) -> tuple[str, bytes, bool]:
        if name.endswith("safetensors"):
            return _weights(rng, data)
        if rng.random() < 0.4:
            shape = spoilt(rng, json.loads(data))
            return shape.what, shape.data, said(shape.data) not in (None, said(data))
        shape = reshaped(rng, json.loads(data))
        return shape.what, shape.data, name == "trained_on.json" and _is_texts(shape.data)


def _is_texts(data: bytes) -> bool:
    """A list of other digests is one of other questions."""
    found = json.loads(data)
    return isinstance(found, list) and all(isinstance(text, str) for text in found)


def _weights(rng: random.Random, data: bytes) -> tuple[str, bytes, bool]:
    """Bytes, header or values of a safetensors file. Other values are another adapter; values that are none are not."""
    size = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    how = rng.choice(("bytes", "header", "header", "size", "nan"))
    if how == "bytes":
        what, changed = damaged(rng, data)
        return what, changed, _tensors(changed) not in (None, _tensors(data))
    if how == "size":
        told = rng.choice((0, 2**63, 2**64 - 1, size + 1, size - 1, 10**9))
        return f"header of {told} bytes", told.to_bytes(8, "little") + data[8:], False
    if how == "nan":
        at, value = 4 * rng.randrange(len(body) // 4), rng.choice((b"\x00\x00\xc0\x7f", b"\x00\x00\x80\x7f"))
        return "a weight is no number", data[: 8 + size + at] + value + body[at + 4 :], False
    shape = reshaped(rng, header)
    return f"header: {shape.what}", len(shape.data).to_bytes(8, "little") + shape.data + body, False


def _tensors(data: bytes) -> Any:
    from safetensors.torch import load

    try:
        return {name: (str(w.dtype), tuple(w.shape), w.tolist().__repr__()) for name, w in load(data).items()}
    except Exception:
        return None


# ---- models ----------------------------------------------------------------------------------------------------------


class Model(Folder):
    """A policy's folder: configuration, tokenizer, chat template, weights. What still can be read is another model."""

    name = "models"
    needs_run = True
    weight = 4
    files = (
        *("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"),
        *("chat_template.jinja", "model.safetensors"),
    )
    may_lack = ("chat_template.jinja", "generation_config.json")

    def begin(self, place: Path) -> None:
        shutil.copytree(loading.resolve(loading.NANO), place, ignore=shutil.ignore_patterns("__pycache__", "*.py"))
        self.data, self.out = self.world.data("models-data"), self.folder / "out"

    def args(self) -> list[Any]:
        questions = self.world.made / "default" / "questions.parquet"
        given = ["--read", f"questions={questions}", "--set", f"synth.policy={self.given}"]
        return ["synth", "--step", "1", *given, "--write", self.out, "--data", self.data, *SETTINGS]

    def result(self, done: "CompletedProcess[str]") -> Any:
        found = rows(self.out)
        self.out.unlink()
        return found

    def names(self, name: str) -> tuple[str, ...]:
        return (str(self.given), "synth.policy", "synth: ")

    def change(self, rng: random.Random, name: str, data: bytes) -> tuple[str, bytes, bool]:
        if name.endswith("json") and rng.random() < 0.6:
            shape = reshaped(rng, json.loads(data))
            return shape.what, shape.data, True
        what, changed = damaged(rng, data)
        if name.endswith("json"):
            return what, changed, said(changed) not in (None, said(data))
        return what, changed, name.endswith("jinja") or _tensors(changed) not in (None, _tensors(data))


# ---- recipes ---------------------------------------------------------------------------------------------------------


class Recipe(Folder):
    """The recipes, planned: what is changed by a valid value, the plan tells."""

    name = "recipes"
    needs_run = True
    weight = 12
    files = (*(f"{name}.toml" for name in SECTIONS), "synth.md", "judge.md")

    def begin(self, place: Path) -> None:
        shutil.copytree(ROOT / "stages", place)

    def args(self) -> list[Any]:
        return ["plan", "--json", "--recipes", self.given, "--data", self.world.made, *SETTINGS]

    def result(self, done: "CompletedProcess[str]") -> Any:
        return json.loads(done.stdout)

    def names(self, name: str) -> tuple[str, ...]:
        return (str(self.given), "--profile", *(f"{section}{end}" for section in SECTIONS for end in ".:"))

    def change(self, rng: random.Random, name: str, data: bytes) -> tuple[str, bytes, bool]:
        if name.endswith("toml") and rng.random() < 0.6:
            return _line(rng, data.decode())
        what, changed = damaged(rng, data)
        if name.endswith("md"):
            return what, changed, _is_utf8(changed)
        return what, changed, _toml(changed) not in (None, _toml(data))


def _is_utf8(data: bytes) -> bool:
    try:
        return b"\x00" not in data and bool(data.decode())
    except UnicodeDecodeError:
        return False


def _toml(data: bytes) -> Any:
    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError):
        return None


LITERALS = (
    *("true", "false", "nan", "inf", "-inf", "-1", "1e999", "99999999999999999999", '""', '"x"', "[]", "[1]", "{}"),
    *("{ a = 1 }", "1979-05-27", "07:32:00", '["\\u0000"]', '"\\u202e\\u001b[2J"', "''", "[[[[]]]]", '"a\\nb"'),
)


def _line(rng: random.Random, text: str) -> tuple[str, bytes, bool]:
    """A setting's line gone, twice, of another name or of another type."""
    lines = text.split("\n")
    at = rng.choice([i for i, line in enumerate(lines) if " = " in line and line[0].isalpha()])
    name, _, value = lines[at].partition(" = ")
    how = rng.choice(("gone", "twice", "renamed", "retyped", "retyped", "retyped"))
    if how == "gone":
        lines[at] = ""
        return f"{name} gone", "\n".join(lines).encode(), True  # its default acts, and the plan tells
    if how == "twice":
        lines.insert(at, lines[at])
        return f"{name} twice", "\n".join(lines).encode(), False
    if how == "renamed":
        to = rng.choice((f"{name}x", f"x.{name}", f'"{name} "', f'"\\u001b{name}"', name.upper()))
        lines[at] = f"{to} = {value}"
        return f"{name} is called {to}", "\n".join(lines).encode(), False
    literal = rng.choice(LITERALS)
    lines[at] = f"{name} = {literal}"
    return f"{name} = {literal}", "\n".join(lines).encode(), _may_be(value, literal)


def _may_be(value: str, literal: str) -> bool:
    """Whether it is of the value's own type, and so perhaps another setting."""
    if value.startswith(("'", '"')):
        return literal[0] in "'\""
    if value.startswith(("[", "{")):
        return literal[0] == value[0]
    if value.startswith(("true", "false")):
        return literal in ("true", "false")
    return literal == "-1" or literal == "99999999999999999999"


class Override(Kind):
    """--set, planned."""

    name = "--set"
    needs_run = True
    weight = 8

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.sound = json.loads(sparkctl("plan", "--json", "--data", world.made, *SETTINGS).stdout)
        self.known = []
        for section in SECTIONS:
            found = tomllib.loads((ROOT / "stages" / f"{section}.toml").read_text())
            self.known += [(f"{section}.{k}", v) for k, v in found.items() if not isinstance(v, dict)]

    def attempt(self, rng: random.Random) -> Tried:
        key, value = rng.choice(self.known)
        key = rng.choice((key, key, key, key.upper(), f"{key}.x", key.replace(".", ".."), f"{key}\x1b[2J", f" {key}"))
        literal = rng.choice(
            (*LITERALS, "", "[" * 3000, "x" * 5000, "\ud800", "\u202e", '"', "1;2", "a b", "nano/../x")
        )
        shown = json.dumps(value)
        other = _may_be(shown, literal) if literal in LITERALS else isinstance(value, str)
        given = ("--set", f"{key}={literal}")
        last = key.strip().rpartition(".")[2]
        told = verdict(
            ["plan", "--json", "--data", self.world.made, *SETTINGS, *given],
            lambda done: json.loads(done.stdout),
            self.sound,
            names=("--set", f"{last}:", *(f"{section}{end}" for section in SECTIONS for end in ".:")),
            clean=self.folder,
            other=other,
        )
        return Tried(f"{key}={literal[:40]!r}", told)


FOLDER_KINDS: list[type[Kind]] = [Adapter, Model, Recipe, Override]
