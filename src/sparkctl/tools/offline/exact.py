"""Exact numbers of bounded size: what the calculator computes with."""

import math

import sympy

MAX_DIGITS = 4000
_MAX_BITS = 13_288  # 4000 digits
_DIGITS = 200  # of a value that is not exact
_SURE_DIGITS = 180  # of them, those that count; the rest is noise
MAX_FLOAT_BITS = 400  # 120 digits: a Float up to here has 80 left below the point
_NOTHING = sympy.Rational(1, 10**20)


class Refused(ValueError):
    """An expression that is not computed; the message says why, for the model to read."""


def bounded(value: sympy.Expr) -> sympy.Expr:
    """The value in one of its three forms, if it is a real number of bounded size."""
    exact = value.is_Rational or turns_of(value).is_Rational
    kept = value if exact else as_float(value)
    if _bits(kept) > _MAX_BITS:
        raise Refused(f"number too large: more than {MAX_DIGITS} digits")
    return kept


def as_float(value: sympy.Expr) -> sympy.Expr:
    """The value in 200 digits; zero stays exact."""
    if value.has(sympy.zoo, sympy.oo, sympy.nan):
        raise Refused("division by zero or undefined value")
    number = value if value.is_Float else value.evalf(_DIGITS)
    if not number.is_Float and number != 0:
        raise Refused("the result is not a real number")
    return number or sympy.S.Zero


def turns_of(value: sympy.Expr) -> sympy.Expr:
    """What a value is in units of pi; a Rational where it is a multiple of pi."""
    return value.as_coefficient(sympy.pi) or sympy.nan


def _bits(value: sympy.Expr) -> float:
    """How many bits a value takes: those of numerator or denominator, or the size of its logarithm."""
    exact = value if value.is_Rational else turns_of(value)
    if exact.is_Rational:
        return math.log2(max(abs(exact.p), exact.q))
    return abs(float(sympy.log(abs(value.evalf(15)), 2).evalf(15))) if value else 0.0


def sum(left: sympy.Expr, right: sympy.Expr) -> sympy.Expr:
    """What cancels in all the digits that a Float has is zero, and not the noise behind them."""
    total = bounded(left + right)
    lost = total.is_Float and abs(total) < abs(as_float(left)) / 10**_SURE_DIGITS
    return sympy.S.Zero if lost else total


def divided(number: sympy.Expr, by: sympy.Expr) -> sympy.Expr:
    if by == 0:
        raise Refused("division by zero")
    return number / by


def floor_divided(number: sympy.Expr, by: sympy.Expr) -> sympy.Expr:
    return floor(bounded(divided(number, by)))


def remainder(number: sympy.Expr, by: sympy.Expr) -> sympy.Expr:
    return sum(number, bounded(-by * floor_divided(number, by)))


def power_of(base: sympy.Expr, exponent: sympy.Expr) -> sympy.Expr:
    power = as_float(exponent)
    if base == 0:
        if power < 0:
            raise Refused("division by zero")
        return sympy.Integer(int(power == 0))
    if base in (1, -1) and exponent.is_Integer:
        return base if exponent.p % 2 else sympy.S.One
    if abs(power) * _bits(base) > _MAX_BITS or abs(power) * abs(sympy.log(abs(as_float(base)), 2)) > _MAX_BITS:
        raise Refused(f"number too large: more than {MAX_DIGITS} digits")
    if exponent.is_Integer:
        return (base if base.is_Rational else as_float(base)) ** exponent
    if as_float(base) < 0:
        raise Refused("the result is not a real number")
    return _exact_root(base, exponent) or as_float(base) ** power


def _exact_root(base: sympy.Expr, exponent: sympy.Expr) -> sympy.Expr | None:
    """`16 ** (3/4)` is 8; None where it is not rational, or of a root above the tenth."""
    if not (base.is_Rational and exponent.is_Rational and exponent.q <= 10):
        return None
    above, whole_above = sympy.integer_nthroot(base.p, exponent.q)
    below, whole_below = sympy.integer_nthroot(base.q, exponent.q)
    return sympy.Rational(above, below) ** exponent.p if whole_above and whole_below else None


def whole(value: sympy.Expr, most: int | None = None) -> int:
    if value.is_Float and abs(value - (nearest := floor(value + sympy.S.Half))) < _NOTHING:
        value = nearest
    if not value.is_Integer:
        raise Refused("a whole number is needed")
    if most is not None and not 0 <= value <= most:
        raise Refused(f"a whole number from 0 to {most} is needed")
    return int(value)


def floor(value: sympy.Expr) -> sympy.Expr:
    """A Float that lacks less than 1e-20 to a whole number is that number."""
    if value.is_Rational:
        return sympy.floor(value)
    number = as_float(value)
    if abs(number) > 2**MAX_FLOAT_BITS:
        raise Refused("number too large to be rounded exactly")
    below = sympy.floor(number)
    return below + 1 if below + 1 - number < _NOTHING else below
