"""Progress of long work: a bar with rate and time left on a terminal, plain lines elsewhere; nothing under two seconds."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sparkctl.method.plain import plain, say
from sparkctl.method.ports import Advance

QUIET_S = 2.0
"""Seconds before anything is shown."""
LINE_EVERY_S = 5.0
"""Seconds between plain lines."""


@contextmanager
def progress(label: str, total: int) -> Iterator[Advance]:
    """`advance(n, note, remembered=0)` after n more of `total` are done; the note is shown beside.

    What was `remembered` took no time and says nothing of the rate. Writes to standard error only.
    """
    with (_bar if sys.stderr.isatty() else _lines)(label, total) as advance:
        yield advance


class _Count:
    """How far the work is, how fast it goes, and how long it will take."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.begun = time.monotonic()
        self.done = 0
        self.worked = 0

    def add(self, n: int, remembered: int) -> None:
        self.done += n
        self.worked += n - remembered

    @property
    def rate(self) -> float:
        """Per second."""
        return self.worked / max(time.monotonic() - self.begun, 1e-9)

    @property
    def left_s(self) -> float | None:
        """Seconds; None while so little is done that opening a model or a judge hides the rate."""
        return (self.total - self.done) / self.rate if self.worked * 50 >= self.total else None


@contextmanager
def _bar(label: str, total: int) -> Iterator[Advance]:
    from rich import progress as rich
    from rich.console import Console

    columns = (
        rich.TextColumn("{task.description:<18}", markup=False),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TextColumn("{task.fields[rate]}"),
        rich.TextColumn("{task.fields[note]}", markup=False),
    )
    count = _Count(total)
    with rich.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(plain(label), total=total, rate="", note="", visible=False)

        def advance(n: int, note: str = "", *, remembered: int = 0) -> None:
            count.add(n, remembered)
            visible = time.monotonic() - count.begun > QUIET_S
            bar.update(task, advance=n, visible=visible, rate=_pace(count), note=plain(note))

        yield advance


@contextmanager
def _lines(label: str, total: int) -> Iterator[Advance]:
    count = _Count(total)
    last = count.begun + QUIET_S - LINE_EVERY_S

    def advance(n: int, note: str = "", *, remembered: int = 0) -> None:
        nonlocal last
        count.add(n, remembered)
        now = time.monotonic()
        if now - last >= LINE_EVERY_S and count.done < total:
            last = now
            said = f"; {note}" if note else ""
            say(f"{label}: {count.done}/{total} ({_pace(count)}){said}", sys.stderr)

    yield advance


def _pace(count: _Count) -> str:
    left = "" if count.left_s is None else f", {_duration(count.left_s)} left"
    return f"{count.rate:.1f}/s{left}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"
