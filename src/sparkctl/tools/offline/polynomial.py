"""Polynomials in one variable, read from model-written text: `2*x + 3`, `3x^2 - (x - 1)/2`.

Parsed by `ast` over a white list of nodes, computed as sympy polynomials with exact coefficients. Bounded: degree
6, coefficients of 64 bits: the roots of larger ones can take seconds.
"""

import ast
import re

import sympy

from sparkctl.tools.offline.calculator import MAX_NESTING, constant, parse
from sparkctl.tools.offline.exact import Refused

MAX_DEGREE = 6
_MAX_BITS = 64


def polynomial(text: str, variable: str) -> sympy.Poly:
    """The polynomial that the text writes, or `Refused`."""
    text = text.replace("^", "**").replace("−", "-").replace("×", "*").strip()
    text = re.sub(r"(?<=[\d)])\s*(?=[A-Za-z(])", "*", text)  # 3x, 2(x + 1), (x + 1)(x - 1)
    text = re.sub(rf"\b{variable}\s*(?=\()", f"{variable}*", text)
    return _value(parse(text), sympy.Symbol(variable), 0)


def variable_of(text: str) -> str:
    """The one letter that an expression is about, or `Refused`."""
    letters = sorted(set(re.findall(r"(?<![A-Za-z])[A-Za-z](?![A-Za-z])", text)))
    if len(letters) != 1:
        raise Refused("one variable of one letter is needed")
    return letters[0]


def polynomial_text(poly: sympy.Poly) -> str:
    """Written as in `3*x^2 - 1`."""
    return str(poly.as_expr()).replace("**", "^")


def _value(node: ast.expr, symbol: sympy.Symbol, depth: int) -> sympy.Poly:
    if depth > MAX_NESTING:
        raise Refused(f"more than {MAX_NESTING} terms or levels of nesting")
    if isinstance(node, ast.Constant):
        return _bounded(sympy.Poly(constant(node), symbol, domain="QQ"))
    if isinstance(node, ast.Name) and node.id == symbol.name:
        return sympy.Poly(symbol, symbol, domain="QQ")
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _value(node.operand, symbol, depth + 1)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp):
        left, right = (_value(side, symbol, depth + 1) for side in (node.left, node.right))
        return _bounded(_combined(node.op, left, right))
    raise Refused("not a polynomial in one variable")


def _combined(operator: ast.operator, left: sympy.Poly, right: sympy.Poly) -> sympy.Poly:
    if isinstance(operator, ast.Add):
        return left + right
    if isinstance(operator, ast.Sub):
        return left - right
    if isinstance(operator, ast.Mult):
        return left * right
    if isinstance(operator, ast.Div) and right.is_ground and not right.is_zero:
        return left.quo_ground(right.LC())
    if isinstance(operator, ast.Pow) and right.is_ground and right.LC().is_Integer and 0 <= right.LC() <= MAX_DEGREE:
        return left ** int(right.LC())
    raise Refused(f"not a polynomial of degree at most {MAX_DEGREE} in one variable")


def _bounded(poly: sympy.Poly) -> sympy.Poly:
    if poly.degree() > MAX_DEGREE:
        raise Refused(f"degree above {MAX_DEGREE}")
    if any(max(abs(number.p), number.q).bit_length() > _MAX_BITS for number in poly.coeffs()):
        raise Refused("coefficients too large")
    return poly
