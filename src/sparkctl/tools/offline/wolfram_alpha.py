"""A small offline stand-in for a computational answer engine. It is not Wolfram|Alpha and asks nobody.

It reads a handful of forms: arithmetic, unit conversion, `solve 2*x + 3 = 11 for x`, `gcd of 12 and 18`,
`lcm of 4 and 6`, `factor 84`, `is 91 prime`, `derivative of x^2 + 3x`. Everything else is refused.
Equations are polynomials in one variable, of degree 6 at most; only their real solutions are given.
"""

import re
from collections.abc import Callable

import sympy

from sparkctl.tools.observation import Observation
from sparkctl.tools.offline.calculator import evaluate, value_text
from sparkctl.tools.offline.exact import Refused
from sparkctl.tools.offline.polynomial import polynomial, polynomial_text, variable_of
from sparkctl.tools.offline.unit_converter import unit_converter

MAX_CHARACTERS = 1000
MAX_FACTORED = 10**15
_ASKING = re.compile(
    r"(?:(?:please|what is|what's|calculate|compute|evaluate|find|the value of|the)\s+)+", re.IGNORECASE
)


def wolfram_alpha(query: str) -> Observation:
    """The answer to one of the forms above: numbers exact if whole, else at most ten significant digits."""
    if len(query) > MAX_CHARACTERS:
        return Observation(f"error: query too long: {len(query)} characters, at most {MAX_CHARACTERS}", ok=False)
    text = " ".join(query.split()).rstrip("?. ")
    text = _ASKING.sub("", text, count=1) if _ASKING.match(text) else text
    try:
        for form, answer in _FORMS:
            if found := form.fullmatch(text):
                return Observation(answer(*found.groups(default="")))
    except Refused as error:
        return Observation(f"error: {error}", ok=False)
    return _converted_or_computed(text)


def _converted_or_computed(text: str) -> Observation:
    if _CONVERSION.match(text):
        return unit_converter(text)
    try:
        return Observation(value_text(evaluate(text)))
    except Refused as error:
        return Observation(f"error: {error}", ok=False)


def _solve(equation: str, variable: str) -> str:
    """Rational and irrational real solutions in ascending order, each once."""
    left, sign, right = equation.partition("=")
    variable = variable or variable_of(equation)
    poly = polynomial(left, variable) - polynomial(right if sign else "0", variable)
    if poly.is_zero:
        return f"every {variable}"
    roots = list(dict.fromkeys(poly.real_roots())) if poly.degree() > 0 else []
    if not roots:
        return "no solution" if poly.is_ground else "no real solution"
    return " or ".join(f"{variable} = {value_text(root)}" for root in roots)


def _derivative(expression: str, variable: str) -> str:
    variable = variable or variable_of(expression)
    return polynomial_text(polynomial(expression, variable).diff())


def _factors(text: str) -> str:
    number = _whole(text)
    if not 2 <= number <= MAX_FACTORED:
        raise Refused(f"a whole number from 2 to {MAX_FACTORED} is needed")
    powers = sorted(sympy.factorint(number).items())
    return " * ".join(f"{prime}^{power}" if power > 1 else f"{prime}" for prime, power in powers)


def _factored(expression: str) -> str:
    constant, factors = polynomial(expression, variable_of(expression)).factor_list()
    parts = [value_text(constant)] if constant != 1 else []
    for factor, power in factors:
        parts.append(f"({polynomial_text(factor)})" + (f"^{power}" if power > 1 else ""))
    return " * ".join(parts)


def _is_prime(text: str) -> str:
    return "yes" if sympy.isprime(_whole(text)) else "no"


def _whole(text: str) -> int:
    digits = text.replace(",", "")
    if len(digits) > 60:
        raise Refused("number too large: more than 60 digits")
    return int(digits)


def _of_several(function: str) -> Callable[[str], str]:
    def answer(numbers: str) -> str:
        listed = re.sub(r"\s*,?\s*\band\b\s*|\s*,\s*", ", ", numbers, flags=re.IGNORECASE)
        return value_text(evaluate(f"{function}({listed})"))

    return answer


def _form(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


_INTEGER = r"(\d[\d,]*)"
_VARIABLE = r"(?:,?\s+(?:for|with respect to|wrt)\s+([a-z]))?"
_CONVERSION = re.compile(
    r"(?:convert|how many)\b|[\d.,+-]+(?:e[+-]?\d+)?\s*\S.*\s(?:to|in|into|as)\s|.*(?:->|→)", re.IGNORECASE
)
_FORMS: tuple[tuple[re.Pattern[str], Callable[..., str]], ...] = (
    (_form(rf"solve\s+(?:for\s+[a-z]\s*[:,]\s*)?(.+?){_VARIABLE}"), _solve),
    (_form(rf"(?:derivative of|differentiate|d/dx)\s+(.+?){_VARIABLE}"), _derivative),
    (
        _form(r"(?:gcd|greatest common divisor|gcf|hcf)\s*(?:of\s+)?\(?([\d,\s]+(?:and[\d,\s]+)*)\)?"),
        _of_several("gcd"),
    ),
    (_form(r"(?:lcm|least common multiple)\s*(?:of\s+)?\(?([\d,\s]+(?:and[\d,\s]+)*)\)?"), _of_several("lcm")),
    (_form(rf"(?:prime\s+)?(?:factor|factors of|factorize|factorise|factorization of)\s+{_INTEGER}"), _factors),
    (_form(r"(?:factor|factorize|factorise)\s+(.+)"), _factored),
    (_form(rf"is\s+{_INTEGER}\s+(?:a\s+)?prime(?:\s+number)?"), _is_prime),
)
