"""Recipes: read `stages/*.toml` and the prompts beside them, apply a profile and `--set` overrides.

    stages/judge.toml      values; `[profile.paper]` holds what that profile changes, and another profile changes that
                           in turn if its table says, in one of the files, extends = "paper"
    stages/judge.md        the prompt, given to the stage as the setting `prompt`

A recipe is values only; what they mean and which are allowed is said by each stage's Settings.
"""

import os
import sysconfig
import tomllib
from pathlib import Path
from typing import Any

from sparkctl.errors import SparkError, did_you_mean

Values = dict[str, Any]
SECTIONS = ("synth", "judge", "select", "tools", "train", "eval")
DEFAULT_PROFILE = "nano"
_EXTENDS = "extends"
Place = tuple[str, ...]


class Recipe(dict[str, Values]):
    """Section -> its values."""

    changed: frozenset[Place] = frozenset()
    """Where `--set` wrote another value than the files hold, such as ("train", "kl")."""


def default_folder() -> Path:
    """`stages/` here, else that of the checkout, else that of the installation: an environment's, `--user`, `--target`."""
    package = Path(__file__).parents[2]
    installed = (
        sysconfig.get_path("data"),
        sysconfig.get_path("data", sysconfig.get_preferred_scheme("user")),
        package,
    )
    shared = [Path(place) / "share/sparkctl/stages" for place in installed]
    places = [Path("stages"), package.parent / "stages", *shared]
    return next((p for p in places if (p / "synth.toml").is_file()), places[0])


def load(folder: Path, profile: str = DEFAULT_PROFILE, overrides: tuple[str, ...] = ()) -> Recipe:
    """The values of every section under a profile, with overrides such as `train.kl=0.1` applied in order."""
    files = {section: _read(folder / f"{section}.toml") for section in SECTIONS}
    profiles = {DEFAULT_PROFILE} | {name for values in files.values() for name in values.get("profile", {})}
    if profile not in profiles:
        raise SparkError(f"--profile '{profile}': unknown; there are: {', '.join(sorted(profiles))}")
    line = _line({section: values.get("profile", {}) for section, values in files.items()}, profile, profiles)
    recipe = Recipe({section: _applied(values, line) for section, values in files.items()})
    for section in SECTIONS:
        if os.path.lexists(prompt := folder / f"{section}.md"):
            recipe[section]["prompt"] = _prompt(prompt)
    places = [_override(recipe, override) for override in overrides]
    recipe.changed = frozenset(place for place in places if place)
    return recipe


def _read(path: Path) -> Values:
    try:
        return tomllib.loads(_text(path))
    except tomllib.TOMLDecodeError as fault:
        raise SparkError(f"{path}: not valid TOML ({fault})") from None
    except RecursionError:
        raise SparkError(f"{path}: not valid TOML (nested too deep)") from None


def _prompt(path: Path) -> str:
    text = _text(path)
    if not text.strip() or "\0" in text:
        raise SparkError(f"{path}: {'holds a NUL' if text.strip() else 'is empty'}; write the prompt there")
    return text


def _text(path: Path) -> str:
    """What a file says. A pipe would be waited for, and is no such file."""
    try:
        if path.exists() and not path.is_file():
            raise SparkError(f"{path}: is not a file; put one there, or pass --recipes")
        return path.read_text(encoding="utf-8")
    except OSError as fault:
        raise SparkError(
            f"{path}: cannot be read ({fault.strerror}); run where stages/ is, or pass --recipes"
        ) from None
    except UnicodeDecodeError as fault:
        raise SparkError(f"{path}: is not UTF-8 ({fault.reason} at byte {fault.start}); save it as UTF-8") from None


def _line(tables: dict[str, Values], profile: str, known: set[str]) -> list[str]:
    """The profile, after the one that it extends, and so on: of two values the later counts."""
    line = [profile]
    while parents := {str(t[line[0]][_EXTENDS]) for t in tables.values() if _EXTENDS in t.get(line[0], {})}:
        parent, *others = sorted(parents)
        if others or parent in line or parent not in known:
            raise SparkError(
                f"profile.{line[0]}.{_EXTENDS}: name one other profile, the same in every file; got {', '.join(sorted(parents))}"
            )
        line.insert(0, parent)
    return line


def _applied(values: Values, line: list[str]) -> Values:
    applied = {k: v for k, v in values.items() if k != "profile"}
    for profile in line:
        changes = values.get("profile", {}).get(profile, {})
        applied = _merged(applied, {k: v for k, v in changes.items() if k != _EXTENDS})
    return applied


def _merged(base: Values, changes: Values) -> Values:
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _override(recipe: dict[str, Values], override: str) -> Place | None:
    """Where the override wrote another value than was there, if it did."""
    name, equals, raw = override.partition("=")
    parts = name.strip().split(".")
    if not equals or len(parts) < 2 or not all(parts):
        raise SparkError(f"--set '{override}': write SECTION.NAME=VALUE, such as train.kl=0.1")
    if parts[0] not in recipe:
        raise SparkError(f"--set '{override}': unknown section '{parts[0]}'{did_you_mean(parts[0], SECTIONS)}")
    place: Any = recipe[parts[0]]
    for part in parts[1:-1]:
        place = place.setdefault(part, {})
        if not isinstance(place, dict):
            raise SparkError(f"--set '{override}': '{part}' is a value and has no '{parts[-1]}'")
    value = _value(raw)
    changes = parts[-1] not in place or place[parts[-1]] != value
    place[parts[-1]] = value
    return tuple(parts) if changes else None


def _value(raw: str) -> Any:
    """A TOML value where it is one, else the text itself: `--set judge.model=gpt-4o` needs no quotes."""
    try:
        return tomllib.loads(f"x = {raw}")["x"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return raw


def expanded(path: str, key: str) -> Path:
    """The path with `~` and `~user` written out; an unknown user is a SparkError."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise SparkError(f"{key}: '{path}' begins with a user that is unknown here") from None
