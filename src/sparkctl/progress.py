"""Progress of long work: a bar with rate and time left on a terminal, plain lines elsewhere; nothing under two seconds."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sparkctl.ports import Advance

QUIET_S = 2.0
"""Seconds before anything is shown."""
LINE_EVERY_S = 5.0
"""Seconds between plain lines."""


@contextmanager
def progress(label: str, total: int) -> Iterator[Advance]:
    """`advance(n, note)` after n more of `total` are done; the note is shown beside. Writes to standard error only."""
    with (_bar if sys.stderr.isatty() else _lines)(label, total) as advance:
        yield advance


@contextmanager
def _bar(label: str, total: int) -> Iterator[Advance]:
    from rich import progress as rich
    from rich.console import Console

    columns = (
        rich.TextColumn("{task.description:<18}"),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TextColumn("{task.fields[rate]}"),
        rich.TimeRemainingColumn(),
        rich.TextColumn("{task.fields[note]}"),
    )
    begun, done = time.monotonic(), 0
    with rich.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total, rate="", note="", visible=False)

        def advance(n: int, note: str = "") -> None:
            nonlocal done
            done += n
            taken = time.monotonic() - begun
            bar.update(task, advance=n, visible=taken > QUIET_S, rate=f"{done / max(taken, 1e-9):.1f}/s", note=note)

        yield advance


@contextmanager
def _lines(label: str, total: int) -> Iterator[Advance]:
    begun = time.monotonic()
    last, done = begun + QUIET_S - LINE_EVERY_S, 0

    def advance(n: int, note: str = "") -> None:
        nonlocal last, done
        done += n
        now = time.monotonic()
        if now - last >= LINE_EVERY_S and done < total:
            last, rate = now, done / (now - begun)
            left = (total - done) / rate
            said = f"; {note}" if note else ""
            print(f"{label}: {done}/{total} ({rate:.1f}/s, {left:.0f} s left){said}", file=sys.stderr, flush=True)

    yield advance
