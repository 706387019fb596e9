"""Settings of a stage: strict, frozen, checked before anything runs; a misspelt one is refused with the nearest name."""

from collections.abc import Mapping
from typing import Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from sparkctl.errors import SparkError
from sparkctl.recipe import did_you_mean


class Settings(BaseModel):
    """Base of every stage's settings: strict, frozen, unknown keys refused.

    Fields named in `knobs` do not decide the result (batch size, device): they are left out of `identity`, so that
    changing them throws nothing away.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)
    knobs: ClassVar[frozenset[str]] = frozenset()

    def identity(self) -> dict[str, Any]:
        """The settings that decide the result, JSON-able: part of the key. Settings within settings have theirs."""
        dumped = self.model_dump(mode="json", exclude=set(self.knobs))
        return dumped | {k: v.identity() for k, v in self if isinstance(v, Settings) and k in dumped}


def checked(kind: type[Settings], values: Mapping[str, Any], section: str) -> Any:
    """Checked settings, or a SparkError in one line that names the key and the nearest known one."""
    try:
        return kind.model_validate(_listed_as_tuples(values))
    except ValidationError as fault:
        raise SparkError(_explained(kind, fault, section)) from None


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
