"""The report as one HTML file: no script is needed to read it, nothing is loaded, and what a model wrote is only ever text.

Text is escaped by jinja2. Rollouts are embedded as compressed JSON in base64, which holds no character that HTML knows,
and the page's own script puts them in place as text nodes. The content security policy names that script by its digest:
no other script runs, and no request is allowed.
"""

import base64
import gzip
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sparkctl.report.figures.verdict import no_verdict, subject, verdicts, walled
from sparkctl.report.findings import Findings
from sparkctl.report.panels.panel import Chart, Panel, Row
from sparkctl.report.rollout_browser import rollouts
from sparkctl.report.run_tables import Material
from sparkctl.report.terminal import NANO_SAYS

_HERE = Path(__file__).parent
_ROWS_SHOWN = 400
"""Longer tables are thinned out on the page."""


def render(found: Sequence[Findings], key: str) -> str:
    """The page. `key` says what it was made of, so that an unchanged one need not be made again."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"svg": _svg, "cell": cell, "breakable": _breakable}
    script = (_HERE / "page.js").read_text()
    return environment.get_template("page.html").render(
        key=key,
        title=f"sparkctl: {', '.join(of.run.name for of in found)}",
        runs=[_section(of, len(found) > 1) for of in found],
        notices=list(dict.fromkeys(line for of in found for line in _notices(of.run))),
        style=Markup((_HERE / "page.css").read_text()),
        script=Markup(script),
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _notices(run: Material) -> list[str]:
    """What stands above all figures."""
    return [*walled(run), *([NANO_SAYS] if run.is_nano else [])]


def made_of(page: str) -> str | None:
    """The key that a page was rendered with."""
    _, found, rest = page.partition('<meta name="sparkctl-key" content="')
    return rest.partition('"')[0] if found else None


def markdown(panel: Panel) -> str:
    """A panel's table with its title and what it is, every row and column."""
    names = panel.table.column_names
    lines = [f"# {panel.title}", "", panel.explains, "", _line(names), _line(["---"] * len(names))]
    return "\n".join([*lines, *(_line(map(cell, row.values())) for row in panel.table.to_pylist())]) + "\n"


def cell(value: Any) -> str:
    """A value as people read it: four digits, thousands apart, an en dash where there is none."""
    if value is None:
        return "–"
    if isinstance(value, float):
        value = 0.0 if abs(value) < 1e-9 else value  # what rounding left of nothing
        return f"{value:.4g}" if abs(value) < 10_000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**9 else str(value)


def _svg(chart: Chart) -> Any:
    from markupsafe import Markup

    return Markup(chart.svg)


def _breakable(text: str) -> Any:
    """Long names may break at their underscores, where a line has no room: on paper a table cannot be scrolled."""
    from markupsafe import Markup, escape

    return escape(text).replace("_", Markup("_<wbr>"))


def _line(cells: Any) -> str:
    shown = (
        " ".join(str(text).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").split()) for text in cells
    )
    return f"| {' | '.join(shown)} |"


def _section(of: Findings, several: bool) -> dict[str, Any]:
    """What the template shows of a run."""
    run, walked = of.run, rollouts(of.run)
    prefix = f"{run.name}." if several else ""
    return {
        "name": run.name,
        "prefix": prefix,
        "verdicts": verdicts(run),
        "no_verdict": None if run.main else no_verdict(run),
        "subject": subject(run) if run.main else None,
        "missing": run.missing,
        "panels": [_shown(panel, prefix) for panel in of.panels],
        "rollouts": len(walked),
        "data": base64.b64encode(gzip.compress(json.dumps(walked).encode(), 6, mtime=0)).decode(),
        "settings": {artifact: _settings(made) for artifact, made in run.provenance.items()},
    }


def _shown(panel: Panel, prefix: str) -> dict[str, Any]:
    rows: list[Row] = list(panel.shown) or panel.table.to_pylist()
    every = -(-len(rows) // _ROWS_SHOWN)
    thinned = f"One row in {every} is shown; all {len(rows):,} are in the file." if every > 1 else ""
    return {"panel": panel, "charts": panel.draw(prefix), "rows": rows[::every], "thinned": thinned}


def _settings(made: Any) -> str:
    return json.dumps(made.get("settings", {}), indent=1, sort_keys=True, ensure_ascii=False)
