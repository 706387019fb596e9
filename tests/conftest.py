"""Fixtures. Run all: `make test`; without the slow ones: `make fast`."""

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest

from sparkctl import wiring
from sparkctl.ports import Memory, remembered
from support import FakeWorld


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> FakeWorld:
    """The pipeline's ports replaced by a FakeWorld, memory still in front of them."""
    world = FakeWorld()

    def policy_port(settings: Any, adapter: Path | None, memory: Memory, advance: Any) -> Any:
        return remembered(world.policy, memory, f"policy {adapter}", chunk=4, advance=advance)

    monkeypatch.setattr(wiring, "policy_port", policy_port)
    monkeypatch.setattr(
        wiring, "judge_port", lambda s, t, m, a: remembered(world.judge, m, "judge", chunk=4, advance=a)
    )
    monkeypatch.setattr(wiring, "tools_port", lambda s, m, a: remembered(world.tools, m, "tools", chunk=4, advance=a))
    monkeypatch.setattr(wiring, "policy_identity", lambda policy: "fake")
    return world
