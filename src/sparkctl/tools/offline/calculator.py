"""Exact arithmetic on a model-written expression.

The text is parsed by Python's `ast` and walked over a white list of nodes; it is never evaluated as code.
Rational values are exact: `0.1 + 0.2` is 3/10. Irrational ones are carried with 200 digits, multiples of pi exactly.
Angles are radians, `log` is natural.

What is bounded: 1000 characters, 60 levels of nesting, and 4000 digits for every intermediate value. What would
pass a bound is refused before it is computed.
What is not covered: complex results, variables, comparisons, bit operations.
"""

import ast
import re
import warnings
from collections.abc import Callable
from decimal import Context, Decimal

import sympy

from sparkctl.tools.observation import Observation
from sparkctl.tools.offline.decimals import decimal_text, rounded_text
from sparkctl.tools.offline.exact import MAX_DIGITS, Refused, bounded, divided, floor_divided, power_of, remainder, sum
from sparkctl.tools.offline.functions import CONSTANTS, FUNCTIONS, SEVERAL

MAX_CHARACTERS = 1000
MAX_NESTING = 60


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
            several = opening is not None and opening[1].lower() in SEVERAL
            return number[0] if several else number[0].replace(",", "")
    return number[0].replace(",", "")


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
        value = bounded(operation(value, _value(link.right, depth + 1)))
    return value


def _leaf(node: ast.expr, depth: int) -> sympy.Expr:
    if isinstance(node, ast.Constant):
        return constant(node)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _value(node.operand, depth + 1)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.Name) and node.id.lower() in CONSTANTS:
        return bounded(CONSTANTS[node.id.lower()])
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        return _call(node.func.id.lower(), node.args, depth + 1)
    if isinstance(node, ast.Name):
        raise Refused(f"unknown name '{node.id[:40]}'")
    raise Refused("not an arithmetic expression")


def constant(node: ast.Constant) -> sympy.Expr:
    """A literal as an exact number: `0.1` is 1/10."""
    if type(node.value) is int:
        return bounded(sympy.Integer(node.value))
    if type(node.value) is float and abs(node.value) != float("inf"):
        return sympy.Rational(repr(node.value))
    raise Refused("not a number")


def _call(name: str, arguments: list[ast.expr], depth: int) -> sympy.Expr:
    if name not in FUNCTIONS:
        raise Refused(f"unknown function '{name[:40]}'")
    function, fewest, most = FUNCTIONS[name]
    if not fewest <= len(arguments) <= most:
        wanted = f"{fewest}" if fewest == most else f"{fewest} to {most}"
        raise Refused(f"{name} takes {wanted} argument(s), not {len(arguments)}")
    return bounded(function(*[_value(argument, depth) for argument in arguments]))


_OPERATIONS: dict[type[ast.operator], Callable[[sympy.Expr, sympy.Expr], sympy.Expr]] = {
    ast.Add: sum,
    ast.Sub: lambda a, b: sum(a, -b),
    ast.Mult: lambda a, b: a * b,
    ast.Div: divided,
    ast.FloorDiv: floor_divided,
    ast.Mod: remainder,
    ast.Pow: power_of,
}
