"""A part of the report: a table of figures with what it shows in words and, where that helps, its charts.

A part whose tables the run does not have is None. Tables are in plain units: shares from 0 to 1, seconds, US dollars.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from sparkctl.report import charts
from sparkctl.report.figures.statistics import RESAMPLES, SEED

Row = dict[str, Any]


DRAWN = f"{RESAMPLES:,} resamples of the questions, seed {SEED}"


@dataclass(frozen=True)
class Chart:
    """A drawing and its text alternative."""

    svg: str
    says: str


@dataclass(frozen=True)
class Cut:
    """A text too long for a page: what is shown of it, and the whole for those who ask."""

    short: str
    whole: str

    def __str__(self) -> str:
        return self.short


@dataclass(frozen=True)
class Panel:
    """One part of the report. `name` is also that of its files and its place on the page."""

    name: str
    title: str
    explains: str
    table: pa.Table
    draw: Callable[[str], list[Chart]] = lambda prefix: []
    """The charts; `prefix` tells the drawings of several runs on one page apart."""
    shown: tuple[Row, ...] = ()
    """The table as people read it, where that is not the table as it is."""


def table_of(rows: Sequence[Row]) -> pa.Table:
    return pa.Table.from_pylist(list(rows))


def with_interval(name: str, value: float | None, interval: tuple[float, float] | tuple[None, None]) -> Row:
    return {name: value, f"{name}_low": interval[0], f"{name}_high": interval[1]}


def mean_of(rows: Sequence[Row], name: str) -> float | None:
    return sum(row[name] or 0.0 for row in rows) / len(rows) if rows else None


def shown_point(point: charts.Point, percent: bool) -> str:
    value, low, high = (f"{p:.1%}" if percent else f"{p:.2f}" for p in point)
    return f"{value} ({low} to {high})"


def extremes(points: Mapping[str, charts.Point]) -> str:
    least, most = min(points, key=lambda k: points[k][0]), max(points, key=lambda k: points[k][0])
    return f"lowest {least} ({points[least][0]:.1%}), highest {most} ({points[most][0]:.1%})"
