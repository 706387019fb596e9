"""The command line, called from tests: within this process, which is quick, or in one of its own, as a user would."""

import io
import os
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any
from unittest import mock

from helpers.tables_and_fakes import ROOT
from sparkctl.cli.main import main


def sparkctl(*args: Any, env: dict[str, str] | None = None) -> "CompletedProcess[str]":
    """The command, run by `main` within this process; with this environment only, where one is given.

    Signals, limits and what a fresh process imports want `in_a_process`.
    """
    words = ["sparkctl", *map(str, args)]
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", words),
        mock.patch.dict(os.environ, env or {}, clear=env is not None),
        chdir(ROOT),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
    return CompletedProcess(words, code, out.getvalue(), err.getvalue())


def in_a_process(*args: Any, **how: Any) -> "CompletedProcess[str]":
    command = [sys.executable, "-m", "sparkctl", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, **{"cwd": ROOT} | how)


def refused(done: "CompletedProcess[str]", *says: str) -> None:
    """One line on standard error with these words, exit code 2."""
    assert done.returncode == 2, (done.returncode, done.stderr)
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert done.stderr.startswith("sparkctl: ")
    for words in says:
        assert words in done.stderr, done.stderr


def written(folder: Path) -> list[Path]:
    """What lies in a data folder."""
    return [p for p in folder.rglob("*") if p.is_file()] if folder.exists() else []
