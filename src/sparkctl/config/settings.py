"""Settings of a stage: strict, frozen, checked before anything runs; a misspelt one is refused with the nearest name.

Two tables beside the fields say how they go together. `uses`: which act only where others say so; what is set and does
nothing is refused, and does not decide the key. `clashes`: what cannot be had together.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar, NamedTuple, Self, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from sparkctl.config.recipe import Place
from sparkctl.errors import SparkError, did_you_mean


class Use(NamedTuple):
    """Settings that do nothing while `acts` is false of all settings together.

    It may be asked of settings that were not checked, so it compares by == and != alone.
    """

    names: tuple[str, ...]
    acts: Callable[[Any], Any]
    why: str = ""
    """Ends the sentence "NAME: does nothing ...". Empty: never refused, as what switches a part off itself."""
    keyed: bool = False
    """It stays in the key all the same: so it was in runs that are older than its row."""


class Clash(NamedTuple):
    """What cannot be had together: the settings are refused with `why` where `wrong` is true of them."""

    wrong: Callable[[Any], Any]
    why: str


class Settings(BaseModel):
    """Base of every stage's settings: strict, frozen, unknown keys refused.

    Fields named in `knobs` do not decide the result (batch size, device): they are left out of `identity`, so that
    changing them throws nothing away. They may stand in a file and wait, so they seldom have a row in `uses`.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)
    knobs: ClassVar[frozenset[str]] = frozenset()
    uses: ClassVar[tuple[Use, ...]] = ()
    clashes: ClassVar[tuple[Clash, ...]] = ()

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        for clash in self.clashes:
            if clash.wrong(self):
                raise ValueError(clash.why)
        return self

    def idle(self) -> list[Use]:
        """The rows of what does nothing beside the other settings."""
        return [use for use in self.uses if not use.acts(self)]

    def at_default(self, name: str) -> bool:
        """Whether a setting decides nothing that its default would not; of settings within settings knobs don't count."""
        value, default = getattr(self, name), type(self).model_fields[name].get_default(call_default_factory=True)
        if isinstance(value, Settings) and isinstance(default, Settings):
            return value.identity() == default.identity()
        return bool(value == default)

    def identity(self) -> dict[str, Any]:
        """The settings that decide the result, JSON-able: part of the key. Settings within settings have theirs."""
        unused = {name for use in self.idle() if not use.keyed for name in use.names}
        dumped = self.model_dump(mode="json", exclude=unused | self.knobs)
        return dumped | {k: v.identity() for k, v in self if isinstance(v, Settings) and k in dumped}


def checked(kind: type[Settings], values: Mapping[str, Any], section: str) -> Any:
    """Checked settings, or a SparkError in one line that names the key and the nearest known one."""
    try:
        return kind.model_validate(_listed_as_tuples(values))
    except ValidationError as fault:
        raise SparkError(_explained(kind, fault, section)) from None


def refuse_idle(settings: Settings, given: Mapping[str, Any], section: str, changed: Collection[Place] = ()) -> None:
    """Raise a SparkError for one of the settings given in a section that does nothing and is not at its default.

    Where `--set` wrote something of a section, at a place in `changed`, only that is looked at: it may have switched off
    what the file holds the rest for. Sections within are looked at by themselves.
    """
    place = tuple(section.split("."))
    asked = {other[len(place)] for other in changed if other[: len(place)] == place and len(other) > len(place)}
    for use in settings.idle():
        for name in use.names:
            if use.why and name in given and name in (asked or given) and not settings.at_default(name):
                raise SparkError(f"{section}.{name}: does nothing {use.why}; leave it out, or change that")
    for name, value in settings:
        if isinstance(value, Settings) and isinstance(given.get(name), Mapping):
            refuse_idle(value, given[name], f"{section}.{name}", changed)


def _listed_as_tuples(value: Any) -> Any:
    # TOML has lists, frozen settings hold tuples; strict validation would refuse the one for the other.
    if isinstance(value, list):
        return tuple(_listed_as_tuples(v) for v in value)
    if isinstance(value, Mapping):
        return {k: _listed_as_tuples(v) for k, v in value.items()}
    return value


def _explained(kind: type[Settings], fault: ValidationError, section: str) -> str:
    first = fault.errors(include_url=False)[0]
    place = [str(part) for part in first["loc"]]
    name = ".".join([section, *place])
    if first["type"] == "extra_forbidden":
        return f"{name}: unknown setting{did_you_mean(place[-1], _known(kind, place[:-1]))}"
    if first["type"] == "missing":
        return f"{name}: setting is missing; add it to stages/{section}.toml"
    if first["type"] == "value_error":
        return f"{name}: {first['ctx']['error']}"
    return f"{name}: {first['msg']}, got {first['input']!r}"


def _known(kind: type[BaseModel], place: list[str]) -> list[str]:
    for part in place:
        annotation = kind.model_fields[part].annotation if part in kind.model_fields else None
        inner = [t for t in (annotation, *get_args(annotation)) if isinstance(t, type) and issubclass(t, BaseModel)]
        if not inner:
            break
        kind = inner[0]
    return list(kind.model_fields)
