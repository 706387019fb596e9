"""The judge's server in a process of its own, and what tests put to it."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pytest

from helpers.tables_and_fakes import ROOT, question
from sparkctl.method import tables
from sparkctl.method.episode import ACTIONS

KEY = "sk-planted-0123456789abcdef"
"""Stands for a key; must be found nowhere."""


@dataclass(frozen=True)
class Server:
    """A judge on loopback."""

    port: int

    @property
    def url(self) -> str:
        """Where chats are completed."""
        return f"http://127.0.0.1:{self.port}/v1/chat/completions"

    @property
    def environment(self) -> dict[str, str]:
        """What leads litellm's openai provider there."""
        return {"OPENAI_API_BASE": f"http://127.0.0.1:{self.port}/v1", "OPENAI_API_KEY": KEY}

    def seen(self) -> dict[str, Any]:
        """What the server counted."""
        return dict(self._told("seen"))

    def count(self) -> int:
        """How many calls were paid."""
        return int(self._told("count"))

    def _told(self, what: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{what}", timeout=60) as reply:
            return json.load(reply)

    def forget(self) -> None:
        """Count anew."""
        self._tell("forget")

    def heal(self) -> None:
        """From now on nothing goes wrong."""
        self._tell("heal")

    def _tell(self, what: str) -> None:
        urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{what}", data=b"", timeout=60).close()


@contextmanager
def serving(latency: float = 0.0) -> Iterator[Server]:
    """A server as long as the block lasts."""
    command = [sys.executable, str(ROOT / "tests" / "helpers" / "judge_server.py"), "--latency", str(latency)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Server(int(process.stdout.readline()))
        finally:
            process.kill()


@contextmanager
def reached(server: Server) -> Iterator[None]:
    """This process's litellm finds the server."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield


def command_line(args: list[str], environment: dict[str, str], log: str) -> None:
    """`sparkctl ARGS`, in a process that was forked for it; what it says goes to a file."""
    os.environ.update(environment)
    sys.argv = ["sparkctl", *args]
    with open(log, "a") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    from sparkctl.cli.main import main

    main()


def states(faults: list[str]) -> tuple[pa.Table, pa.Table]:
    """(questions, candidates): one state for each entry, whose question says what goes wrong."""
    asked = [question(i + 1, question=f"what is {i + 1} + 1? {fault}") for i, fault in enumerate(faults)]
    rows = [
        {
            "rollout_id": f"q{i + 1}-s0",
            "step_idx": 1,
            "tool_name": action,
            "question_id": i + 1,
            "sample_id": 0,
            "policy": "p",
            "thought": "t",
            "action_query": f"ask {action}",
            "finish": "stop",
        }
        for i in range(len(faults))
        for action in ACTIONS
    ]
    return tables.from_rows("questions", asked), tables.from_rows("candidates", rows)
