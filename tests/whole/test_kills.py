"""`kill -9` at random instants over all stages: what is made in the end has the same bytes as without.

A run goes on after each kill; one that got to its end is compared, removed, and begun anew, until so many were killed.
`SPARKCTL_KILLS=100` asks for more kills than the usual ten, and `pytest -s` shows where they fell.
"""

import json
import multiprocessing
import os
import random
import shutil
from collections import Counter

import pytest

from helpers.judge_client import command_line

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("SPARKCTL_KILLS", "10"))
SEED = 12
SOONEST_S, LATEST_S = 0.01, 1.0
"""Of a kill after a node of the graph began, drawn evenly in the logarithm: most take less than a second."""
MOST_NODES = 4
"""How many nodes a run may finish before it is killed. Counted in nodes, kills fall over all stages on a busy machine too;
counted in seconds all of a hundred fell on the first."""
STARTING = 0.1
"""Share of kills that fall, within a second, on a run that has not begun yet."""
SETTINGS = (
    "synth.limit=4", "synth.steps=2", "eval.limit=14", "eval.policies=['base', 'sft_best', 'spark']", "train.epochs=2",
    "train.checkpoint_every=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def forks():
    """Starts processes that need not import everything anew."""
    context = multiprocessing.get_context("forkserver")
    heavy = ("torch", "transformers", "peft", "sparkctl.models.learner", "sparkctl.models.transformers_engine")
    light = (
        "sparkctl.nano.judge",
        "sparkctl.nano.questions",
        "sparkctl.tools.offline.calculator",
        "sparkctl.tools.offline.retrieval",
        "sympy",
        "pint",
        "litellm",
    )
    context.set_forkserver_preload(["judging", "sparkctl.pipeline.experiment", "sparkctl.report.write", *heavy, *light])
    return context


def run(args, log):
    """One thread: on cores that others use too, threads that wait for one another made a run of 12 s one of 77 s."""
    import torch

    torch.set_num_threads(1)
    command_line(args, {}, log)


def start(forks, data):
    """`sparkctl run`, under way."""
    args = ["run", "--data", str(data), *(word for setting in SETTINGS for word in ("--set", setting))]
    process = forks.Process(target=run, args=(args, f"{data}.log"))
    process.start()
    return process


def bytes_of(data):
    """Name in the run -> bytes, adapters included."""
    links = [link for link in (data / "default").iterdir() if link.is_symlink()]
    files = [p for link in links for p in ([link] if link.is_file() else link.rglob("*"))]
    return {str(p.relative_to(data / "default")): p.read_bytes() for p in files if p.is_file()}


def done(data):
    """The nodes that a run has finished, in order."""
    path = data / "default" / "runs.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return list(dict.fromkeys(json.loads(line)["node"] for line in lines if line.endswith("\n")))


def wait(process, data, moments):
    """Until a random instant of the run, or its end."""
    if moments.random() < STARTING:
        process.join(moments.random())
        return
    goal = len(done(data)) + moments.randint(0, MOST_NODES)
    lock = data / ".lock"
    while process.is_alive() and not (begun(process, lock) and len(done(data)) >= goal):
        process.join(0.01)
    process.join(SOONEST_S * (LATEST_S / SOONEST_S) ** moments.random())


def begun(process, lock):
    """Whether the process makes things."""
    return lock.exists() and f'"pid": {process.pid},' in lock.read_text()


def finish(process, data, whole):
    """A run that was killed before ends with exit code 0 and the same bytes, and takes nothing for damaged."""
    process.join()
    log = data.with_name(f"{data.name}.log").read_text()
    assert process.exitcode == 0, log
    assert "damaged" not in log
    found = bytes_of(data)
    assert found.keys() == whole.keys()
    assert [name for name in whole if found[name] != whole[name]] == []


def test_kill_9_at_random_instants_leaves_the_same_bytes(forks, tmp_path):
    data, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    first = start(forks, undisturbed)
    first.join()
    assert first.exitcode == 0, (tmp_path / "undisturbed.log").read_text()
    whole, order = bytes_of(undisturbed), done(undisturbed)
    moments, fell, ended, killed = random.Random(SEED), Counter(), 0, False
    while fell.total() < KILLS:
        process = start(forks, data)
        wait(process, data, moments)
        process.kill()
        process.join()
        if process.exitcode == -9:
            killed = True
            fell[next((node for node in order if node not in done(data)), "report")] += 1
        else:
            finish(process, data, whole)
            ended += killed
            shutil.rmtree(data)
            killed = False
    finish(start(forks, data), data, whole)
    stages = Counter(node.partition(".")[0] for node in fell.elements())
    print(
        f"\n{KILLS} kills, {ended + 1} runs to their end, {len(whole)} files the same each time; kills by stage: {dict(stages)}"
    )
