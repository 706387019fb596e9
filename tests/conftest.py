"""Fixtures. Run all: `make test`; without the slow ones: `make fast`."""

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest

from helpers.tables_and_fakes import FakeWorld
from sparkctl.pipeline import preflight
from sparkctl.pipeline.ports import judge as judge_ports
from sparkctl.pipeline.ports import policy as policy_ports
from sparkctl.pipeline.ports import tools as tool_ports
from sparkctl.storage.memory import Memory, remembered


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> FakeWorld:
    """The pipeline's ports replaced by a FakeWorld, memory still in front of them; it needs nothing of this machine."""
    world = FakeWorld()

    def policy_port(settings: Any, adapter: Path | None, memory: Memory, watch: Any) -> Any:
        return remembered(world.policy, memory, f"policy {adapter}", chunk=4, watch=watch)

    monkeypatch.setattr(policy_ports, "policy_port", policy_port)
    monkeypatch.setattr(
        judge_ports, "judge_port", lambda s, t, m, w: remembered(world.judge, m, "judge", chunk=4, watch=w)
    )
    monkeypatch.setattr(tool_ports, "tools_port", lambda s, m, w: remembered(world.tools, m, "tools", chunk=4, watch=w))
    monkeypatch.setattr(policy_ports, "policy_identity", lambda policy: "fake")
    monkeypatch.setattr(preflight, "check", lambda nodes, tools, data, say: None)
    return world
