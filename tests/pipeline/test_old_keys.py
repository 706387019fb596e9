"""Data folders of the version before: what did not change is found in them again, and not made or paid anew.

The names and digests in golden/old_keys.json were written by commit ebe48d1 with its own recipes, the last one before stages and engines
raised their versions. One that moves without a cause is a fault: it throws away what others paid for. Where a result is
changed on purpose, the version of its stage, engine, judge or tool is raised, and the value goes to what has changed.
"""

import json

import pytest

from helpers.tables_and_fakes import ROOT, questions_table
from sparkctl.config import recipe
from sparkctl.config.settings import checked
from sparkctl.method.ids import digest
from sparkctl.models import loading
from sparkctl.pipeline import explain, plan
from sparkctl.pipeline.experiment import Workbench
from sparkctl.pipeline.graph import STAGES, outputs
from sparkctl.pipeline.ports import judge as judge_ports
from sparkctl.pipeline.ports import policy as policy_ports
from sparkctl.pipeline.ports import tools as tool_ports
from sparkctl.storage import digests, files
from sparkctl.storage.memory import Memory
from sparkctl.storage.store import Store
from sparkctl.tools.observation import Document
from sparkctl.tools.python import sandbox
from sparkctl.tools.settings import Tools

SMALL = ("synth.steps=2", "eval.policies=['base','sft_best']")
ELSEWHERE = (  # judge, tools and policy are asked over the network
    *("synth.engine='litellm'", "eval.engine='transformers'", "judge.model='openai/gpt-4o'", "judge.votes=3"),
    *("tools.search.backend='live'", "tools.search.url='https://x.org/s'", "tools.wolfram_alpha.backend='live'"),
    *("tools.python_repl.backend='mcp'", "tools.python_repl.mcp.tool='run'", "tools.python_repl.mcp.command=['a','b']"),
)
OTHERWISE = (  # what the recipes leave at its default
    *(
        "synth.samples=4",
        "synth.temperature=0.7",
        "synth.dtype='bfloat16'",
        "synth.quantise='nf4'",
        "eval.quantise='nf4'",
    ),
    *(
        "train.quantise='nf4'",
        "judge.reference='answer'",
        "tools.hits=2",
        "tools.limit=300",
        "tools.python_repl.cpu_s=3",
    ),
)
CASES = {"embedded": SMALL, "elsewhere": SMALL + ELSEWHERE, "otherwise": SMALL + OTHERWISE}
OLD = json.loads((ROOT / "tests" / "golden" / "old_keys.json").read_text())
"""Case -> what of it -> name -> what commit ebe48d1 made of it; digests are cut to 20 digits, as in the files' names."""
CHANGED = {"select": 2, "train": 3, "eval": 3}
"""Stages whose results have changed since, and their version then."""


@pytest.fixture(autouse=True)
def fixed(monkeypatch, tmp_path):
    """A policy, a corpus and a sandbox that are the same on every machine and at all times."""
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "config.json").write_text("{}")
    monkeypatch.setattr(loading, "resolve", lambda policy: str(tmp_path / "policy"))
    monkeypatch.setattr(tool_ports, "_documents", lambda: (Document("wikipedia", "a title", "a text"),))
    monkeypatch.setattr(tool_ports, "embedded_identity", tool_ports.embedded_identity.__wrapped__)
    monkeypatch.setattr(sandbox, "found", lambda wanted="auto": sandbox.Mode("bwrap"))


def keys(graph, folder):
    """Node -> the key in its files' names, were each table made of nothing but its own name."""
    store, found = Store(folder, "r"), {}
    for i, node in enumerate(graph):
        made = outputs(explain.explain(graph[: i + 1], store)[-1], store)
        for artifact, path in made.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(artifact)
            digests.keep(path)  # or it would be damaged, for it is no Parquet
        found[node.name] = next(iter(made.values())).name.removesuffix(".parquet").rpartition("-")[2]
    return found


def scopes(graph, values, monkeypatch, folder):
    """Who is asked -> the scope under which the replies are remembered."""
    seen = []

    def remembered(port, memory, scope, **how):
        seen.append(scope[:20])

    for module in (policy_ports, judge_ports, tool_ports):
        monkeypatch.setattr(module, "remembered", remembered, raising=False)
        monkeypatch.setattr(module, "remembered_singly", remembered)
    adapter = folder / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    settings, memory = {node.name: node.settings for node in graph}, Memory(folder / "memory.sqlite")
    tools = checked(Tools, values["tools"], "tools")
    policy_ports.policy_port(settings["synth.1"], None, memory, print)
    policy_ports.policy_port(settings["eval.sft_best"], adapter, memory, print)
    judge_ports.judge_port(settings["judge.1"], tools, memory, print)
    tool_ports.tools_port(tools, memory, print)
    policy, trained, judge, *rest = seen
    return {"policy": policy, "trained": trained, "judge": judge} | dict(zip(tool_ports.TOOLS, rest, strict=True))


def requests(overrides, fakes, folder):
    """Port -> a digest of all that the first step, and the evaluation of the base, ask of it."""
    files.write_table(questions_table(30), "questions", folder / "questions.parquet", {})
    small = ("synth.limit=6", "eval.limit=14", f"synth.questions={folder / 'questions.parquet'}")
    bench = Workbench.open("nano", "r", (*overrides, *small), folder / "data", ROOT / "stages")
    bench.stage("select", "1")
    bench.stage("eval", "base")
    return {port: digest(asked)[:20] for port, asked in fakes.asked.items()}


@pytest.mark.parametrize("case", CASES)
def test_what_did_not_change_is_found_under_its_old_name(case, tmp_path):
    graph = plan.nodes(recipe.load(ROOT / "stages", "nano", CASES[case]), Memory(tmp_path / "memory.sqlite"))
    now, old = keys(graph, tmp_path / "data"), OLD[case]["files"]
    assert now.keys() == old.keys()
    assert {node.name for node in graph if now[node.name] != old[node.name]} == {
        node.name for node in graph if node.stage.name in CHANGED
    }


def test_what_did_change_has_a_higher_version():
    assert all(STAGES[name].version > then for name, then in CHANGED.items())
    assert policy_ports.ENGINE_VERSION > policy_ports.NANO_ENGINE_VERSION == 1


@pytest.mark.parametrize("case", CASES)
def test_what_was_paid_for_is_found_under_its_old_scope(case, tmp_path, monkeypatch):
    values = recipe.load(ROOT / "stages", "nano", CASES[case])
    graph = plan.nodes(values, Memory(tmp_path / "memory.sqlite"))
    assert scopes(graph, values, monkeypatch, tmp_path) == OLD[case]["scopes"]


@pytest.mark.parametrize("case", CASES)
def test_what_is_asked_is_asked_in_the_old_words(case, tmp_path, fakes):
    assert requests(CASES[case], fakes, tmp_path) == OLD[case]["requests"]
