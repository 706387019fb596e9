"""Figures as SVG, drawn by matplotlib: no script, so that a page shows them from disk, on paper and without JavaScript.

Colours are CSS variables of the page, so that one drawing serves light and dark. They are those of Okabe and Ito (2008)
that stand out on white and on black; curves and dots are told apart by marker and dash as well.
"""

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Point = tuple[float, float, float]
"""A value with the ends of its interval."""
Curve = tuple[Sequence[float], Sequence[float]]
"""x and y."""

_VARIABLES = ("ink", "grid", "series0", "series1", "series2", "series3", "series4", "series5", "series6", "series7")
_STAND_IN = {name: f"#fe00{i:02x}" for i, name in enumerate(_VARIABLES)}
"""Colours that matplotlib is given in place of the page's variables."""
_SERIES = [_STAND_IN[name] for name in _VARIABLES if name.startswith("series")]
_MARKERS = "os^DvPX*"
_DASHES = ("-", "--", "-.", ":")
_WIDTH = 5.6
"""Inches; the page scales it."""
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: it can be searched, read aloud and takes the page's font
    "text.parse_math": False,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _STAND_IN["grid"],
    "axes.labelcolor": _STAND_IN["ink"],
    "text.color": _STAND_IN["ink"],
    "xtick.color": _STAND_IN["grid"],
    "ytick.color": _STAND_IN["grid"],
    "xtick.labelcolor": _STAND_IN["ink"],
    "ytick.labelcolor": _STAND_IN["ink"],
    "grid.color": _STAND_IN["grid"],
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "lines.markersize": 5,
}


def dots(
    name: str,
    series: Mapping[str, Mapping[str, Point]],
    label: str,
    order: Sequence[str] = (),
    *,
    percent: bool = False,
) -> str:
    """One line of the chart per key of a series, one dot with its interval per series. A row may lack a series.

    `order`, here and below: names by whose place a series gets its colour, so that it has the same one in all charts.
    """
    styles = _styles(series, order)
    rows = list(dict.fromkeys(row for points in series.values() for row in points))
    sharing = {row: [name for name, points in series.items() if row in points] for row in rows}
    most = max(map(len, sharing.values()), default=1)

    def place(name: str, row: str) -> float:
        names = sharing[row]
        return rows.index(row) + 0.7 / most * (names.index(name) - (len(names) - 1) / 2)

    def draw(axes: "Axes") -> None:
        for i, (name, points) in zip(styles, series.items(), strict=True):
            values = list(points.values())
            # At 0 and 1 rounding may put a value outside its interval by a hair.
            sides = [[max(0.0, v - low) for v, low, _ in values], [max(0.0, high - v) for v, _, high in values]]
            x, y = [value for value, _, _ in values], [place(name, row) for row in points]
            axes.errorbar(x, y, xerr=sides, fmt=_mark(i), color=_color(i), elinewidth=1.2)
        axes.set_yticks(range(len(rows)), rows)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.grid(axis="x")
        axes.set_xlabel(label)
        if percent:
            axes.xaxis.set_major_formatter(_percent)

    height = len(rows) * max(0.28, 0.13 * most)
    legend = dict(zip(series, map(_line_key, styles), strict=True)) if most > 1 else {}
    return _drawn(name, [draw], height, rows, legend)


def lines(name: str, series: Mapping[str, Curve], label: str, x_label: str, order: Sequence[str] = ()) -> str:
    """A curve per series over a common x."""
    styles = _styles(series, order)

    def draw(axes: "Axes") -> None:
        for i, (x, y) in zip(styles, series.values(), strict=True):
            every = max(1, len(x) // 8)
            axes.plot(x, y, color=_color(i), linestyle=_dash(i), marker=_mark(i), markevery=every, linewidth=1.4)
        axes.grid(axis="y")
        axes.set(xlabel=x_label, ylabel=label)

    return _drawn(name, [draw], 2.2, ["000000"], dict(zip(series, map(_line_key, styles), strict=True)))


def apart(name: str, series: Mapping[str, Curve], label: str, x_label: str, order: Sequence[str] = ()) -> str:
    """A curve per series, each in axes of its own, where their values are not of one scale."""
    styles = _styles(series, order)

    def draw(i: int, of: str) -> Any:
        x, y = series[of]

        def one(axes: "Axes") -> None:
            axes.plot(x, y, color=_color(styles[i]), linewidth=1.4)
            axes.grid(axis="y")
            axes.set(xlabel=x_label if i == len(series) - 1 else "", ylabel=label)
            axes.set_title(of, loc="left", fontsize=10)

        return one

    return _drawn(name, [draw(i, of) for i, of in enumerate(series)], 1.1 * len(series), ["000000"], {})


def bars(name: str, rows: Sequence[str], parts: Mapping[str, Sequence[float]], label: str) -> str:
    """Horizontal bars, one per row, made up of parts; negative parts go to the left."""

    def draw(axes: "Axes") -> None:
        ends = {1: [0.0] * len(rows), -1: [0.0] * len(rows)}
        for i, values in enumerate(parts.values()):
            for row, value in enumerate(values):
                sign = 1 if value >= 0 else -1
                axes.barh(row, value, left=ends[sign][row], height=0.65, color=_color(i + 1))
                ends[sign][row] += value
        axes.set_yticks(range(len(rows)), rows)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        axes.set_xlabel(label)

    legend = {part: _bar_key(i + 1) for i, part in enumerate(parts)} if len(parts) > 1 else {}
    return _drawn(name, [draw], len(rows) * 0.28, rows, legend)


def grid(name: str, rows: Sequence[str], columns: Sequence[str], shares: Sequence[Sequence[float]], label: str) -> str:
    """A table of shares whose cells are the darker the larger the share; each cell says its percentage."""
    from matplotlib.patches import Rectangle

    def draw(axes: "Axes") -> None:
        for y, values in enumerate(shares):
            for x, share in enumerate(values):
                axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, color=_SERIES[1], alpha=0.75 * share, lw=0))
                if share >= 0.005:
                    axes.text(x, y, f"{share:.0%}", ha="center", va="center")
        axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5), xlabel=label)
        axes.set_xticks(range(len(columns)), columns)
        axes.set_yticks(range(len(rows)), rows)
        axes.tick_params(length=0)

    return _drawn(name, [draw], len(rows) * 0.28, rows, {})


def _drawn(name: str, parts: Sequence[Any], height: float, labels: Sequence[str], legend: Mapping[str, Any]) -> str:
    """The SVG of axes one below the other, with room for the labels on the left and the legend on top.

    The margins are reckoned, not solved for: matplotlib's own layout engines take longer than the drawing.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    columns = 4
    top, bottom = 0.1 + 0.22 * -(-len(legend) // columns) + 0.2 * (len(parts) > 1), 0.5
    whole = height + top + bottom
    with rc_context(_STYLE | {"svg.hashsalt": name}):  # the salt keeps the ids of several drawings on a page apart
        figure = Figure(figsize=(_WIDTH, whole))
        FigureCanvasSVG(figure)
        left = (0.25 + 0.085 * max(map(len, labels), default=0)) / _WIDTH
        figure.subplots_adjust(left=left, right=0.97, top=1 - top / whole, bottom=bottom / whole, hspace=0.8)
        for i, draw in enumerate(parts):
            draw(figure.add_subplot(len(parts), 1, i + 1))
        if legend:
            keys, names = list(legend.values()), list(legend)
            figure.legend(keys, names, loc="upper left", ncols=columns, borderaxespad=0, columnspacing=1.2)
        return _inline(figure)


def _line_key(i: int) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=_color(i), marker=_mark(i), linestyle=_dash(i))


def _bar_key(i: int) -> Any:
    from matplotlib.patches import Patch

    return Patch(facecolor=_color(i))


def _styles(series: Iterable[str], order: Sequence[str]) -> list[int]:
    """Which colour, marker and dash each series has."""
    return [order.index(name) if name in order else i for i, name in enumerate(series)]


def _inline(figure: "Figure") -> str:
    """The drawing as an element of a page: without a prologue or a fixed size, in the page's colours."""
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    svg = out.getvalue()
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(
        r'(<svg[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1), count=1
    )
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # nothing refers to groups, and theirs repeat from drawing to drawing
    for variable, color in _STAND_IN.items():
        svg = svg.replace(color, f"var(--{variable})")
    return svg


def _color(i: int) -> str:
    return _SERIES[i % len(_SERIES)]


def _mark(i: int) -> str:
    return _MARKERS[i % len(_MARKERS)]


def _dash(i: int) -> Any:
    return _DASHES[i % len(_DASHES)]


def _percent(value: float, _: float) -> str:
    return f"{value:.0%}"
