"""Exact arithmetic on a model-written expression.

The text is parsed by Python's `ast` and walked over a white list of nodes; it is never evaluated as code.
Rational values are exact: `0.1 + 0.2` is 3/10. Irrational ones are carried with 200 digits, multiples of pi exactly.
Angles are radians, `log` is natural.

What is bounded: 1000 characters, 60 levels of nesting, and 4000 digits for every intermediate value. What would
pass a bound is refused before it is computed.
What is not covered: complex results, variables, comparisons, bit operations.
"""

import ast
import math
import re
import warnings
from collections.abc import Callable
from decimal import Context, Decimal
from fractions import Fraction

import sympy

from sparkctl.tools.decimals import decimal_text, rounded_text
from sparkctl.tools.observation import Observation

MAX_CHARACTERS = 1000
MAX_NESTING = 60
MAX_DIGITS = 4000
_MAX_BITS = 13_288  # 4000 digits
_DIGITS = 200  # of a value that is not exact
_SURE_DIGITS = 180  # of them, those that count; the rest is noise
_MAX_FLOAT_BITS = 400  # 120 digits: a Float up to here has 80 left below the point
_NOTHING = sympy.Rational(1, 10**20)


class Refused(ValueError):
    """An expression that is not computed; the message says why, for the model to read."""


def calculator(query: str) -> Observation:
    """The value of an arithmetic expression: a whole number, or at most ten significant digits."""
    try:
        return Observation(value_text(evaluate(query)))
    except Refused as error:
        return Observation(f"error: {error}", ok=False)


def evaluate(text: str) -> sympy.Expr:
    """The exact value of an expression, or `Refused`."""
    return _value(parse(_plain(text)), 0)


def value_text(value: sympy.Expr) -> str:
    """A real sympy number as text, at most ten significant digits if it is not whole."""
    if value.is_Rational:
        exact = Context(prec=MAX_DIGITS + 100, Emin=-(10**9), Emax=10**9)
        return decimal_text(exact.divide(Decimal(value.p), Decimal(value.q)))
    return rounded_text(Decimal(str(value.evalf(25))))


# ---- reading -----------------------------------------------------------------------------------------------------

_SIGNS = str.maketrans(
    {"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-", "^": "**", "[": "(", "]": ")", "π": " pi ", "√": "sqrt", "$": ""}
)
_THOUSANDS = re.compile(r"(?<![\w.])\d{1,3}(?:,\d{3})+(?![\d,])")
_SMALL = re.compile(r"\d[eE]-(\d+)")
_OPENING = re.compile(r"(\w*)\s*\($")


def parse(text: str) -> ast.expr:
    """The syntax tree of an expression, of bounded size. Raises `Refused`."""
    if not text:
        raise Refused("empty expression")
    if len(text) > MAX_CHARACTERS:
        raise Refused(f"expression too long: {len(text)} characters, at most {MAX_CHARACTERS}")
    if not text.isascii() or not text.isprintable():
        raise Refused("not an arithmetic expression")
    if any(int(power) > 300 for power in _SMALL.findall(text)):
        raise Refused("number too small: below 1e-300")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "2and 3" warns before it is refused
        try:
            return ast.parse(text, mode="eval").body
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            raise Refused("not an arithmetic expression") from None


def _plain(text: str) -> str:
    """The expression in Python's spelling."""
    if len(text) > MAX_CHARACTERS:
        raise Refused(f"expression too long: {len(text)} characters, at most {MAX_CHARACTERS}")
    text = " ".join(text.translate(_SIGNS).split()).rstrip("=? ").replace("math.", "")
    text = re.sub(r"(?<=[\d)])\s*(?<![\w.]0)[xX]\s*(?=[\d(.+-])", "*", text)
    text = re.sub(r"(?<=[\d)]) [xX] (?=\w)", " * ", text)
    text = re.sub(r"(?<![\w.])(\d+)!(?!=)", r"factorial(\1)", text)
    text = re.sub(r"\bmod\b", "%", text)
    text = re.sub(r"%\s*of\b", "/100 *", text)
    text = re.sub(r"(?<=[\d)])\s*%\s*(?=$|[)*/])", "/100", text)
    return _THOUSANDS.sub(_without_commas, text).strip()


def _without_commas(number: re.Match[str]) -> str:
    """`1,234` is one number, but in `max(1,234)` the comma parts two arguments."""
    before, depth = number.string[: number.start()], 0
    for place in range(len(before) - 1, -1, -1):
        depth += {")": 1, "(": -1}.get(before[place], 0)
        if depth < 0:
            opening = _OPENING.search(before[: place + 1])
            several = opening is not None and opening[1].lower() in _SEVERAL
            return number[0] if several else number[0].replace(",", "")
    return number[0].replace(",", "")


# ---- computing ---------------------------------------------------------------------------------------------------
# A value is a Rational, a Float of 200 digits, or a rational multiple of pi. Nothing else is kept: sympy's symbolic
# powers, logarithms and assumptions can take minutes on a short expression.


def _value(node: ast.expr, depth: int) -> sympy.Expr:
    """Walks a chain such as `1 + 2 + 3 ...` in a loop, so that only brackets and powers nest."""
    if depth > MAX_NESTING:
        raise Refused(f"more than {MAX_NESTING} levels of nesting")
    chain = []
    while isinstance(node, ast.BinOp):
        chain.append(node)
        node = node.left
    value = _leaf(node, depth)
    for link in reversed(chain):
        operation = _OPERATIONS.get(type(link.op))
        if operation is None:
            raise Refused(f"unknown operator {type(link.op).__name__}")
        value = _kept(operation(value, _value(link.right, depth + 1)))
    return value


def _leaf(node: ast.expr, depth: int) -> sympy.Expr:
    if isinstance(node, ast.Constant):
        return constant(node)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _value(node.operand, depth + 1)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.Name) and node.id.lower() in _CONSTANTS:
        return _kept(_CONSTANTS[node.id.lower()])
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        return _call(node.func.id.lower(), node.args, depth + 1)
    if isinstance(node, ast.Name):
        raise Refused(f"unknown name '{node.id[:40]}'")
    raise Refused("not an arithmetic expression")


def constant(node: ast.Constant) -> sympy.Expr:
    """A literal as an exact number: `0.1` is 1/10."""
    if type(node.value) is int:
        return _kept(sympy.Integer(node.value))
    if type(node.value) is float and abs(node.value) != float("inf"):
        return sympy.Rational(repr(node.value))
    raise Refused("not a number")


def _call(name: str, arguments: list[ast.expr], depth: int) -> sympy.Expr:
    if name not in _FUNCTIONS:
        raise Refused(f"unknown function '{name[:40]}'")
    function, fewest, most = _FUNCTIONS[name]
    if not fewest <= len(arguments) <= most:
        wanted = f"{fewest}" if fewest == most else f"{fewest} to {most}"
        raise Refused(f"{name} takes {wanted} argument(s), not {len(arguments)}")
    return _kept(function(*[_value(argument, depth) for argument in arguments]))


def _kept(value: sympy.Expr) -> sympy.Expr:
    """The value in one of its three forms, if it is a real number of bounded size."""
    exact = value.is_Rational or _turns(value).is_Rational
    kept = value if exact else _float(value)
    if _bits(kept) > _MAX_BITS:
        raise Refused(f"number too large: more than {MAX_DIGITS} digits")
    return kept


def _float(value: sympy.Expr) -> sympy.Expr:
    """The value in 200 digits; zero stays exact."""
    if value.has(sympy.zoo, sympy.oo, sympy.nan):
        raise Refused("division by zero or undefined value")
    number = value if value.is_Float else value.evalf(_DIGITS)
    if not number.is_Float and number != 0:
        raise Refused("the result is not a real number")
    return number or sympy.S.Zero


def _turns(value: sympy.Expr) -> sympy.Expr:
    """What a value is in units of pi; a Rational where it is a multiple of pi."""
    return value.as_coefficient(sympy.pi) or sympy.nan


def _bits(value: sympy.Expr) -> float:
    """How many bits a value takes: those of numerator or denominator, or the size of its logarithm."""
    exact = value if value.is_Rational else _turns(value)
    if exact.is_Rational:
        return math.log2(max(abs(exact.p), exact.q))
    return abs(float(sympy.log(abs(value.evalf(15)), 2).evalf(15))) if value else 0.0


def _sum(left: sympy.Expr, right: sympy.Expr) -> sympy.Expr:
    """What cancels in all the digits that a Float has is zero, and not the noise behind them."""
    total = _kept(left + right)
    lost = total.is_Float and abs(total) < abs(_float(left)) / 10**_SURE_DIGITS
    return sympy.S.Zero if lost else total


def _divided(number: sympy.Expr, by: sympy.Expr) -> sympy.Expr:
    if by == 0:
        raise Refused("division by zero")
    return number / by


def _floor_divided(number: sympy.Expr, by: sympy.Expr) -> sympy.Expr:
    return _floor(_kept(_divided(number, by)))


def _remainder(number: sympy.Expr, by: sympy.Expr) -> sympy.Expr:
    return _sum(number, _kept(-by * _floor_divided(number, by)))


def _power(base: sympy.Expr, exponent: sympy.Expr) -> sympy.Expr:
    power = _float(exponent)
    if base == 0:
        if power < 0:
            raise Refused("division by zero")
        return sympy.Integer(int(power == 0))
    if base in (1, -1) and exponent.is_Integer:
        return base if exponent.p % 2 else sympy.S.One
    if abs(power) * _bits(base) > _MAX_BITS or abs(power) * abs(sympy.log(abs(_float(base)), 2)) > _MAX_BITS:
        raise Refused(f"number too large: more than {MAX_DIGITS} digits")
    if exponent.is_Integer:
        return (base if base.is_Rational else _float(base)) ** exponent
    if _float(base) < 0:
        raise Refused("the result is not a real number")
    return _exact_root(base, exponent) or _float(base) ** power


def _exact_root(base: sympy.Expr, exponent: sympy.Expr) -> sympy.Expr | None:
    """`16 ** (3/4)` is 8; None where it is not rational, or of a root above the tenth."""
    if not (base.is_Rational and exponent.is_Rational and exponent.q <= 10):
        return None
    above, whole_above = sympy.integer_nthroot(base.p, exponent.q)
    below, whole_below = sympy.integer_nthroot(base.q, exponent.q)
    return sympy.Rational(above, below) ** exponent.p if whole_above and whole_below else None


_OPERATIONS: dict[type[ast.operator], Callable[[sympy.Expr, sympy.Expr], sympy.Expr]] = {
    ast.Add: _sum,
    ast.Sub: lambda a, b: _sum(a, -b),
    ast.Mult: lambda a, b: a * b,
    ast.Div: _divided,
    ast.FloorDiv: _floor_divided,
    ast.Mod: _remainder,
    ast.Pow: _power,
}


# ---- functions ---------------------------------------------------------------------------------------------------


def _whole(value: sympy.Expr, most: int | None = None) -> int:
    if value.is_Float and abs(value - (nearest := _floor(value + sympy.S.Half))) < _NOTHING:
        value = nearest
    if not value.is_Integer:
        raise Refused("a whole number is needed")
    if most is not None and not 0 <= value <= most:
        raise Refused(f"a whole number from 0 to {most} is needed")
    return int(value)


def _floor(value: sympy.Expr) -> sympy.Expr:
    """A Float that lacks less than 1e-20 to a whole number is that number."""
    if value.is_Rational:
        return sympy.floor(value)
    number = _float(value)
    if abs(number) > 2**_MAX_FLOAT_BITS:
        raise Refused("number too large to be rounded exactly")
    below = sympy.floor(number)
    return below + 1 if below + 1 - number < _NOTHING else below


def _rounded(value: sympy.Expr, places: sympy.Expr = sympy.S.Zero) -> sympy.Expr:
    """Half goes to the even neighbour, as in Python."""
    unit = sympy.Integer(10) ** _whole(places, 50)
    scaled = value * unit
    if scaled.is_Rational:
        return sympy.Integer(round(Fraction(scaled.p, scaled.q))) / unit
    return _floor(_kept(scaled + sympy.S.Half)) / unit


def _factorial(n: sympy.Expr) -> sympy.Expr:
    return sympy.factorial(_whole(n, 2000))


def _chosen(n: sympy.Expr, k: sympy.Expr) -> sympy.Expr:
    return sympy.Integer(math.comb(_whole(n, 10_000), _whole(k, 10_000)))


def _arranged(n: sympy.Expr, k: sympy.Expr) -> sympy.Expr:
    return sympy.Integer(math.perm(_whole(n, 2000), _whole(k, 2000)))


def _exponential(value: sympy.Expr) -> sympy.Expr:
    number = _float(value)
    if abs(number) > 9_200:
        raise Refused(f"number too large: more than {MAX_DIGITS} digits")
    return sympy.exp(number)


def _logarithm(value: sympy.Expr, base: sympy.Expr = sympy.E) -> sympy.Expr:
    if _float(value) <= 0 or _float(base) <= 0 or base == 1:
        raise Refused("logarithm of a number that is not positive, or to base 1")
    return sympy.log(_float(value)) / sympy.log(_float(base))


def _largest(*values: sympy.Expr) -> sympy.Expr:
    return max(values, key=_float)


def _smallest(*values: sympy.Expr) -> sympy.Expr:
    return min(values, key=_float)


def _root(value: sympy.Expr) -> sympy.Expr:
    return _power(value, sympy.S.Half)


def _cube_root(value: sympy.Expr) -> sympy.Expr:
    root = _power(abs(value), sympy.Rational(1, 3))
    return -root if _float(value) < 0 else root


def _circular(function: Callable[..., sympy.Expr]) -> Callable[[sympy.Expr], sympy.Expr]:
    """Exact at multiples of pi/12; elsewhere from the digits of the angle, as long as it has some below the point."""

    def of(angle: sympy.Expr) -> sympy.Expr:
        turns = _turns(angle)
        if turns.is_Rational and 12 % turns.q == 0:
            return function(sympy.Rational(turns.p % (2 * turns.q), turns.q) * sympy.pi)
        if abs(_float(angle)) > 2**_MAX_FLOAT_BITS:
            raise Refused("angle too large")
        return function(_float(angle))

    return of


def _inverse(function: Callable[..., sympy.Expr]) -> Callable[[sympy.Expr], sympy.Expr]:
    return lambda value: function(_float(value))


_CONSTANTS = {"pi": sympy.pi, "e": sympy.E, "tau": 2 * sympy.pi}
_FUNCTIONS: dict[str, tuple[Callable[..., sympy.Expr], int, int]] = {  # function, fewest and most arguments
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
    "floor": (_floor, 1, 1),
    "ceil": (lambda value: -_floor(-value), 1, 1),
    "round": (_rounded, 1, 2),
    "factorial": (_factorial, 1, 1),
    "comb": (_chosen, 2, 2),
    "perm": (_arranged, 2, 2),
    "gcd": (lambda *values: sympy.Integer(math.gcd(*map(_whole, values))), 1, 20),
    "lcm": (lambda *values: sympy.Integer(math.lcm(*map(_whole, values))), 1, 20),
    "max": (_largest, 1, 20),
    "min": (_smallest, 1, 20),
    "pow": (_power, 2, 2),
}
_SEVERAL = {name for name, (_, _, most) in _FUNCTIONS.items() if most > 1}
