"""How a tool writes a number: whole numbers whole, all others with at most ten significant digits."""

from decimal import Context, Decimal

WHOLE_DIGITS = 500
"""A whole number of more digits is rounded too, and written as 4.023872601e+2567."""

_TEN = Context(prec=10, Emin=-(10**9), Emax=10**9)


def decimal_text(value: Decimal) -> str:
    """The number as text: `12000`, `0.3333333333`, `1.5e-07`. `value` must be finite."""
    if value.adjusted() < WHOLE_DIGITS and value == value.to_integral_value():
        return str(int(value))
    return rounded_text(value)


def rounded_text(value: Decimal) -> str:
    """At most ten significant digits, without trailing zeros; a power of ten below 1e-5 and from 1e16 on."""
    digits = _TEN.plus(value).normalize(_TEN)
    if -6 < digits.adjusted() < 16 or not digits:
        return f"{digits:f}"
    return f"{digits:e}"
