"""Run: pytest tests/tools/offline/test_wolfram_alpha.py. Expected values are worked out by hand."""

import time

import pytest

from sparkctl.tools.offline.wolfram_alpha import wolfram_alpha


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("2 + 2", "4"),
        ("What is 15% of 80?", "12"),
        ("convert 12 km to m", "12000 m"),
        ("12 km in m", "12000 m"),
        ("how many inches in 2 feet", "24 inches"),
        ("solve 2*x + 3 = 11 for x", "x = 4"),
        ("solve 2x + 3 = 11", "x = 4"),
        ("solve for y: 2y = 4", "y = 2"),
        ("solve x^2 - 5x + 6 = 0", "x = 2 or x = 3"),
        ("solve x^2 = 2", "x = -1.414213562 or x = 1.414213562"),
        ("solve x^2 + 1 = 0", "no real solution"),
        ("solve (x - 1)(x + 2) = 0", "x = -2 or x = 1"),
        ("solve 1.5x = 3", "x = 2"),
        ("solve x = x", "every x"),
        ("solve x = x + 1", "no solution"),
        ("gcd of 12 and 18", "6"),
        ("lcm of 4, 6 and 10", "60"),
        ("factor 84", "2^2 * 3 * 7"),
        ("factor x^2 - 1", "(x - 1) * (x + 1)"),
        ("is 91 prime", "no"),
        ("is 97 a prime number?", "yes"),
        ("derivative of x^2 + 3x", "2*x + 3"),
    ],
)
def test_the_forms_it_reads(query: str, text: str) -> None:
    observation = wolfram_alpha(query)
    assert observation.text == text
    assert observation.ok


@pytest.mark.parametrize(
    "query",
    [
        "population of France",
        "solve x^9 = 1",
        "solve x^99999999 = 1",
        "solve x + y = 1",
        "solve sin(x) = 0",
        "solve 1/x = 2",
        "solve x**x = 1",
        "solve __import__('os') = x",
        "solve x.__class__ = 1",
        "solve " + "(" * 500 + "x",
        "solve 9**9**9 * x = 1",
        "factor 1",
        "factor " + "9" * 50,
        "is " + "9" * 500 + " prime",
        "derivative of (x^8)^8",
        "gcd of ",
        "x" * 10**5,
    ],
)
def test_the_rest_is_refused_at_once(query: str) -> None:
    start = time.perf_counter()
    assert not wolfram_alpha(query).ok
    assert time.perf_counter() - start < 2.0
