"""Unit conversion by pint: `12 km to m`, `convert 3 hours to minutes`, `how many inches in 2 feet`.

Only a number, a unit and a target unit are read; pint sees units of bounded form, never a free expression.
What is not covered: currencies, sums such as `5 ft 3 in`, units with numbers in them.
"""

import re
from decimal import Context, Decimal, localcontext
from functools import cache
from typing import TYPE_CHECKING, Any

from sparkctl.tools.observation import Observation
from sparkctl.tools.offline.decimals import rounded_text

if TYPE_CHECKING:
    import pint

MAX_CHARACTERS = 200

_NUMBER = r"(?P<number>[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:[eE][+-]?\d{1,3}(?!\w))?(?:\s*/\s*\d+(?:\.\d+)?)?)"
_TO = r"(?:\s+(?:to|into|in|as)\s+|\s*(?:->|→|=)\s*)"
_CONVERT = re.compile(
    rf"(?:(?:please\s+)?(?:convert|what\s+is|how\s+much\s+is)\s+)?{_NUMBER}\s*(?P<unit>[^\d\s].*){_TO}(?P<target>.+)",
    re.IGNORECASE,
)
_HOW_MANY = re.compile(
    rf"how\s+many\s+(?P<target>.+?)\s+(?:(?:are|is)\s+)?(?:there\s+)?in\s+(?:an?\s+)?{_NUMBER}\s*(?P<unit>[^\d\s].*)",
    re.IGNORECASE,
)
_NAME = r"[A-Za-z_µμ°Ω]+"
_FACTOR = rf"{_NAME}(?:\s*(?:\^|\*\*)\s*-?\d|[23²³])?"
_UNIT = re.compile(rf"{_FACTOR}(?:\s*(?:\*|·|/|\s)\s*{_FACTOR})*")
_TEMPERATURE = re.compile(r"(?:[Dd]eg(?:rees?)?\s*|°)?([CFK])")
_TEMPERATURES = {"C": "degC", "F": "degF", "K": "kelvin"}


def unit_converter(query: str) -> Observation:
    """The converted value and its unit, `12000 m`: at most ten significant digits."""
    try:
        value, unit = converted(query)
    except ValueError as error:
        return Observation(f"error: {error}", ok=False)
    return Observation(f"{rounded_text(value)} {unit}")


def converted(query: str) -> tuple[Decimal, str]:
    """The value in the unit asked for, and that unit in the query's words. Raises `ValueError`."""
    if len(query) > MAX_CHARACTERS:
        raise ValueError(f"query too long: {len(query)} characters, at most {MAX_CHARACTERS}")
    text = " ".join(query.split()).rstrip("?. ")
    found = _HOW_MANY.fullmatch(text) or _CONVERT.fullmatch(text)
    if found is None:
        raise ValueError("write NUMBER UNIT to UNIT, such as 12 km to m")
    value, unit, target = _number(found["number"]), found["unit"].strip(), found["target"].strip()
    for name in (unit, target):
        if not _UNIT.fullmatch(name):
            raise ValueError(f"not a unit: '{name[:40]}'")
    return _convert(value, unit, target), target


def _number(text: str) -> Decimal:
    over, _, under = re.sub(r"[,\s]", "", text).partition("/")
    if not re.search(r"\d", over):
        if over:
            raise ValueError("write NUMBER UNIT to UNIT, such as 12 km to m")
        over = "1"
    divisor = Decimal(under or "1")
    if not divisor:
        raise ValueError("division by zero")
    return Decimal(over) / divisor


def _convert(value: Decimal, unit: str, target: str) -> Decimal:
    """Tries the names as they are written, then in lower case (`Km`, `Meters`)."""
    from pint.errors import DimensionalityError, PintError, UndefinedUnitError

    here, there = _TEMPERATURE.fullmatch(unit), _TEMPERATURE.fullmatch(target)
    if here and there:  # F and C alone are farad and coulomb
        return _in_units(value, _TEMPERATURES[here[1]], _TEMPERATURES[there[1]])
    failures = [f"cannot convert '{unit}' to '{target}'"]
    for names in dict.fromkeys([(unit, target), (unit.lower(), target.lower())]):
        try:
            return _in_units(value, *names)
        except UndefinedUnitError as error:
            failures.append(str(error).replace(" is not defined in the unit registry", ": unknown unit"))
        except DimensionalityError:
            raise ValueError(f"{failures[0]}: they measure different things") from None
        except (PintError, ArithmeticError, AttributeError, TypeError, AssertionError):
            continue
    raise ValueError(failures[min(1, len(failures) - 1)])


def _in_units(value: Decimal, unit: str, target: str) -> Decimal:
    with localcontext(Context(prec=40)):
        return Decimal(_registry().Quantity(value, _pint_name(unit)).to(_pint_name(target)).magnitude)


def _pint_name(unit: str) -> str:
    unit = unit.translate({ord("²"): "^2", ord("³"): "^3", ord("·"): "*"})
    unit = re.sub(r"(?<=[A-Za-z])([23])\b", r"^\1", unit)
    unit = re.sub(r"\b[Ll]ight\s+years?\b", "light_year", unit)
    return re.sub(r"\b[Dd]egrees?\s+(?=[Cc]elsius|[Ff]ahrenheit|[Kk]elvin)", "", unit)


@cache
def _registry() -> "pint.UnitRegistry[Any]":
    import pint

    return pint.UnitRegistry(non_int_type=Decimal)
