"""The functions and constants that the calculator knows."""

import math
from collections.abc import Callable
from fractions import Fraction

import sympy

from sparkctl.tools.offline.exact import (
    MAX_DIGITS,
    MAX_FLOAT_BITS,
    Refused,
    as_float,
    bounded,
    floor,
    power_of,
    turns_of,
    whole,
)


def _rounded(value: sympy.Expr, places: sympy.Expr = sympy.S.Zero) -> sympy.Expr:
    """Half goes to the even neighbour, as in Python."""
    unit = sympy.Integer(10) ** whole(places, 50)
    scaled = value * unit
    if scaled.is_Rational:
        return sympy.Integer(round(Fraction(scaled.p, scaled.q))) / unit
    return floor(bounded(scaled + sympy.S.Half)) / unit


def _factorial(n: sympy.Expr) -> sympy.Expr:
    return sympy.factorial(whole(n, 2000))


def _chosen(n: sympy.Expr, k: sympy.Expr) -> sympy.Expr:
    return sympy.Integer(math.comb(whole(n, 10_000), whole(k, 10_000)))


def _arranged(n: sympy.Expr, k: sympy.Expr) -> sympy.Expr:
    return sympy.Integer(math.perm(whole(n, 2000), whole(k, 2000)))


def _exponential(value: sympy.Expr) -> sympy.Expr:
    number = as_float(value)
    if abs(number) > 9_200:
        raise Refused(f"number too large: more than {MAX_DIGITS} digits")
    return sympy.exp(number)


def _logarithm(value: sympy.Expr, base: sympy.Expr = sympy.E) -> sympy.Expr:
    if as_float(value) <= 0 or as_float(base) <= 0 or base == 1:
        raise Refused("logarithm of a number that is not positive, or to base 1")
    return sympy.log(as_float(value)) / sympy.log(as_float(base))


def _largest(*values: sympy.Expr) -> sympy.Expr:
    return max(values, key=as_float)


def _smallest(*values: sympy.Expr) -> sympy.Expr:
    return min(values, key=as_float)


def _root(value: sympy.Expr) -> sympy.Expr:
    return power_of(value, sympy.S.Half)


def _cube_root(value: sympy.Expr) -> sympy.Expr:
    root = power_of(abs(value), sympy.Rational(1, 3))
    return -root if as_float(value) < 0 else root


def _circular(function: Callable[..., sympy.Expr]) -> Callable[[sympy.Expr], sympy.Expr]:
    """Exact at multiples of pi/12; elsewhere from the digits of the angle, as long as it has some below the point."""

    def of(angle: sympy.Expr) -> sympy.Expr:
        turns = turns_of(angle)
        if turns.is_Rational and 12 % turns.q == 0:
            return function(sympy.Rational(turns.p % (2 * turns.q), turns.q) * sympy.pi)
        if abs(as_float(angle)) > 2**MAX_FLOAT_BITS:
            raise Refused("angle too large")
        return function(as_float(angle))

    return of


def _inverse(function: Callable[..., sympy.Expr]) -> Callable[[sympy.Expr], sympy.Expr]:
    return lambda value: function(as_float(value))


CONSTANTS = {"pi": sympy.pi, "e": sympy.E, "tau": 2 * sympy.pi}
FUNCTIONS: dict[str, tuple[Callable[..., sympy.Expr], int, int]] = {  # function, fewest and most arguments
    "sqrt": (_root, 1, 1),
    "cbrt": (_cube_root, 1, 1),
    "exp": (_exponential, 1, 1),
    "log": (_logarithm, 1, 2),
    "ln": (_logarithm, 1, 1),
    "log10": (lambda value: _logarithm(value, sympy.Integer(10)), 1, 1),
    "log2": (lambda value: _logarithm(value, sympy.Integer(2)), 1, 1),
    "sin": (_circular(sympy.sin), 1, 1),
    "cos": (_circular(sympy.cos), 1, 1),
    "tan": (_circular(sympy.tan), 1, 1),
    "asin": (_inverse(sympy.asin), 1, 1),
    "acos": (_inverse(sympy.acos), 1, 1),
    "atan": (_inverse(sympy.atan), 1, 1),
    "degrees": (lambda value: value * 180 / sympy.pi, 1, 1),
    "radians": (lambda value: value * sympy.pi / 180, 1, 1),
    "abs": (abs, 1, 1),
    "floor": (floor, 1, 1),
    "ceil": (lambda value: -floor(-value), 1, 1),
    "round": (_rounded, 1, 2),
    "factorial": (_factorial, 1, 1),
    "comb": (_chosen, 2, 2),
    "perm": (_arranged, 2, 2),
    "gcd": (lambda *values: sympy.Integer(math.gcd(*map(whole, values))), 1, 20),
    "lcm": (lambda *values: sympy.Integer(math.lcm(*map(whole, values))), 1, 20),
    "max": (_largest, 1, 20),
    "min": (_smallest, 1, 20),
    "pow": (power_of, 2, 2),
}
SEVERAL = {name for name, (_, _, most) in FUNCTIONS.items() if most > 1}
