"""From the runs on disk to a report on disk: what a run holds is gathered, rendered, and written beside it.

data/<run>/report.html              the page; of several runs data/<run>+<run>/report.html
data/<run>/report/<part>.parquet    the same figures for programs, and as Markdown (.md)
"""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from sparkctl.errors import SparkError
from sparkctl.method.ids import digest
from sparkctl.report import page
from sparkctl.report.figures.statistics import RESAMPLES, SEED
from sparkctl.report.findings import Findings
from sparkctl.report.run_tables import Material
from sparkctl.storage import digests
from sparkctl.storage import files as stores
from sparkctl.storage.store import Store

VERSION = 5
"""Raised when the same runs give another report: those written before are then made again."""
_NEEDED = ("questions", "candidates", "scores", "steps", "updates", "credit", "answers")


def report(data: Path, names: Sequence[str], out: Path | None) -> tuple[Path, list[Findings]]:
    """Write the report of these runs; where it is, and what it was made of."""
    runs = [_opened(data, name) for name in dict.fromkeys(names)]
    path = _checked(out) if out else _place(runs)
    found = [Findings.of(_gathered(run)) for run in runs]
    for of in found:
        _write_tables(of, path.with_suffix("") / (of.run.name if len(runs) > 1 else ""))
    stores.write_text(page.render(found, _key(runs)), path)
    return path, found


def report_if_changed(run: Store) -> Path:
    """Where the report of one run is, written again only if the run has changed since."""
    path = _place([run])
    if path.is_file() and page.made_of(path.read_text(encoding="utf-8", errors="replace")) == _key([run]):
        return path
    return report(run.root, [run.run.name], None)[0]


def _opened(data: Path, name: str) -> Store:
    """A run that has something to report."""
    run = Store(data, name)
    if not run.run.is_dir():
        there = sorted(path.parent.name for path in data.glob("*/runs.jsonl"))
        raise SparkError(f"{run.run}: there is no such run; there are: {', '.join(there) or 'none'}")
    if not any(run.linked(artifact) for artifact in run.artifacts()):
        raise SparkError(f"{run.run}: this run has no tables yet; `sparkctl run` makes them")
    return run


def _place(runs: Sequence[Store]) -> Path:
    # '+' is in no run's name.
    return runs[0].root / "+".join(run.run.name for run in runs) / "report.html"


def _checked(out: Path) -> Path:
    if out.suffix not in (".html", ".htm") or out.is_dir():
        raise SparkError(f"--out {out}: {'is a folder' if out.is_dir() else 'must end in .html'}; name a new HTML file")
    if out.with_suffix("").is_file():
        raise SparkError(f"--out {out}: the tables go to {out.with_suffix('')}, which is a file; name another")
    return out


def _key(runs: Sequence[Store]) -> str:
    """Digest of all that a report depends on: artifacts are named by what they hold."""
    return digest([VERSION, [[run.run.name, _files(run), run.records()] for run in runs]])


def _files(run: Store) -> dict[str, str]:
    """Artifact -> its file's name in the store, of those whose file is there."""
    return {artifact: path.name for artifact in run.artifacts() if (path := run.linked(artifact))}


def _gathered(run: Store) -> Material:
    files = _files(run)
    tables: dict[str, dict[str, pa.Table]] = {}
    for artifact, file in files.items():
        name, _, part = artifact.partition(".")
        if name in _NEEDED and len(table := stores.read_table(run.files / file, name, may_be_empty=True)):
            tables.setdefault(name, {})[part] = table
    for file in files.values():  # also those of which the provenance alone is shown
        digests.check(run.files / file)
    made = {artifact: stores.provenance(run.files / file) or {} for artifact, file in files.items()}
    return Material(run.run.name, tables, files, made, run.records())


def _write_tables(found: Findings, folder: Path) -> None:
    """Every part as Parquet and as Markdown."""
    for panel in found.panels:
        made_of = {"report": panel.name, "run": found.run.name, "bootstrap": {"resamples": RESAMPLES, "seed": SEED}}
        stores.write_parquet(panel.table, folder / f"{panel.name}.parquet", made_of)
        stores.write_text(page.markdown(panel), folder / f"{panel.name}.md")
