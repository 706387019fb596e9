"""The command line: parse, call, print. Nothing heavy is imported before a command runs.

Exit code 0: done. 1: doctor found something that does not work. 2: what was asked for cannot be done; one line on
standard error says what, where, and what to do; where several things are missing each has its line.
"""

import os
import signal
import sys
import traceback
from types import TracebackType

import typer

from sparkctl.cli import runs, scores, stages, tables  # noqa: F401 (each registers its commands)
from sparkctl.cli.app import app
from sparkctl.errors import SparkError
from sparkctl.method import masking
from sparkctl.method.plain import say

_ORDER = (
    "synth",
    "select",
    "judge",
    "train",
    "eval",
    "run",
    "report",
    "score",
    "compare",
    "plan",
    "show",
    "path",
    "schema",
    "doctor",
    "gc",
)
"""Of the commands in the help."""
app.registered_commands.sort(key=lambda command: _ORDER.index(str(command.name)))


_INTERRUPTED = 130
"""What typer gives back, instead of raising, where Ctrl-C was pressed."""

_LONGEST_LINE = 2000
"""Characters of an error: some quote what a file holds, which may be of any length."""


def main() -> None:
    """Entry point: every fault that a user can mend is one line and exit code 2. At the end, what was masked."""
    try:
        _main()
    finally:
        if line := masking.told():
            say(f"sparkctl: {line}", sys.stderr)


def _main() -> None:
    interrupted = "interrupted; what was finished is kept, and the same command goes on from there"
    # A scheduler's way to say Ctrl-C: what was opened is closed, and no scratch folder stays.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # No command reads from the terminal, and no library may ask there: `yes |` would answer for the user.
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    try:
        code = app(standalone_mode=False)
        if code == _INTERRUPTED:
            _fail(interrupted)
        if code:
            raise SystemExit(code)
    except SparkError as fault:
        _fail(*fault.lines)
    except (KeyboardInterrupt, typer.Abort):
        _fail(interrupted)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as fault:
        _fail(f"{fault.filename or 'a file'}: {fault.strerror or fault}; check disk space and permissions")
    except Exception as fault:
        if hasattr(fault, "exit_code") and hasattr(fault, "format_message"):  # a usage error of click
            said = fault.format_message().rstrip(".")
            if not said:  # the help was asked for, by giving no command, and has been shown
                raise SystemExit(2) from None
            _fail(f"{said}; see sparkctl --help")
        sys.excepthook = _crashed  # here, for typer sets its own
        raise


def _crashed(kind: type[BaseException], fault: BaseException, trace: TracebackType | None) -> None:
    """A traceback, in whose message others' words may stand."""
    say("".join(traceback.format_exception(kind, fault, trace)).rstrip(), sys.stderr)


def _fail(*lines: str) -> None:
    for line in (" ".join(line.split()) for line in lines):
        say(f"sparkctl: {line if len(line) <= _LONGEST_LINE else line[:_LONGEST_LINE] + ' ...'}", sys.stderr)
    sys.stderr.flush()
    raise SystemExit(2)
