"""What may come of a damaged input, and nothing else: a refusal in one line, or the result of the sound one."""

import re
import signal
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, Literal, NamedTuple

from helpers.command_line import sparkctl

LIMIT_S = 30
"""Seconds that a mutant may take on a busy machine; a sound input takes less than one."""
_RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""What no terminal should be sent."""


class Verdict(NamedTuple):
    """`other`: the mutant was another valid input, and what came of it was no fault."""

    outcome: Literal["refused", "same", "other", "bad"]
    why: str = ""


class TooLong(BaseException):
    """No `except Exception` on the way may take it."""


@contextmanager
def limited(seconds: int = LIMIT_S) -> Iterator[None]:
    """Raises TooLong in what takes longer."""

    def ring(*_: Any) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def verdict(
    args: Collection[Any],
    result: Callable[["CompletedProcess[str]"], Any],
    sound: Any,
    *,
    names: Collection[str],
    clean: Path,
    other: bool = False,
    warns: bool = False,
) -> Verdict:
    """Call the command and judge it.

    `result`: what came of a call that ended well, `sound` the same of the sound input; `names`: a refusal must hold one of
    them; `clean`: the folder in which nothing half written may be left; `other`: see Verdict; `warns`: lines may stand before
    the refusal, for the stage had begun.
    """
    try:
        with limited():
            done = sparkctl(*args)
            fault = _fault(done, names, clean, warns)
            if fault:
                return Verdict("bad", fault)
            if done.returncode == 2:
                return Verdict("refused", done.stderr.strip())
            found = result(done)
    except TooLong:
        return Verdict("bad", f"no end after {LIMIT_S} s")
    except Exception as fault:  # a traceback is what we look for
        return Verdict("bad", described(fault))
    if found == sound:
        return Verdict("same")
    return Verdict("other") if other else Verdict("bad", f"another result without a word: {_difference(found, sound)}")


def _fault(done: "CompletedProcess[str]", names: Collection[str], clean: Path, warns: bool) -> str:
    lines = done.stderr.strip().splitlines()
    if left := [p.name for p in clean.rglob("*.part")]:
        return f"left half written: {left}"
    if raw := _RAW.search(done.stderr + done.stdout):
        return f"sent {raw[0]!r} to the terminal: {done.stderr[:200]!r}"
    if done.returncode == 0:
        return ""
    if done.returncode != 2:
        return f"exit code {done.returncode}: {done.stderr[:300]!r}"
    # All that a run lacks is said at once, a line each; else it is one line, but for what a stage said before.
    said = lines[-1:] if warns else lines
    if not said or not all(line.startswith("sparkctl: ") for line in said):
        return f"{len(lines)} lines: {done.stderr[:300]!r}"
    silent = [line for line in said if not any(name in line for name in names)]
    return f"does not say which file, column or key: {silent[0][:300]!r}" if silent else ""


def described(fault: BaseException) -> str:
    """A traceback in one line."""
    line = (str(fault).splitlines() or [""])[0][:200]
    return f"{type(fault).__name__}: {line} {_where(fault)}"


def _where(fault: BaseException) -> str:
    """The last of our own lines on the way to the fault."""
    found, trace = "", fault.__traceback__
    while trace:
        code = trace.tb_frame.f_code
        if "sparkctl" in code.co_filename:
            found = f"in {Path(code.co_filename).name}:{trace.tb_lineno} {code.co_name}"
        trace = trace.tb_next
    return found


def _difference(found: Any, sound: Any) -> str:
    one, two = repr(found), repr(sound)
    at = next((i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))
    return f"...{one[max(0, at - 60) : at + 60]} instead of ...{two[max(0, at - 60) : at + 60]}"
