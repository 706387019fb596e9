"""5,000 states, 64 calls in flight, a server that misbehaves in every way it can, and `kill -9` at 20 random moments."""

import multiprocessing
import random
import re
import sqlite3
import time

import pyarrow.parquet as pq
import pytest

from helpers import judge_server
from helpers.judge_client import KEY, command_line, serving, states

pytestmark = pytest.mark.slow

STATES, IN_FLIGHT, KILLS = 5000, 64, 20
NAMES = (*judge_server.ANSWERS, "busy", "broken", "hang", "cut")


def faults():
    """What goes wrong in each state: 20 states per fault that can be mended, 4 per one that cannot."""
    wrong = [f"fault={name}" for name in NAMES] * 20 + [f"fault=always_{name}" for name in NAMES] * 4
    found = wrong + [""] * (STATES - len(wrong))
    random.Random(0).shuffle(found)
    return found


@pytest.fixture(scope="module")
def forks():
    """Starts processes that need not import everything anew: 21 times that would be a minute."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["sparkctl.pipeline.experiment", "sparkctl.models.litellm_judge", "litellm", "helpers.judge_client"]
    )
    return context


def start(forks, server, folder, name):
    """`sparkctl judge` on the files in the folder, under way."""
    settings = ("model=openai/gpt-4o", f"concurrency={IN_FLIGHT}", "timeout_s=2.0", "retries=1", "max_failed=1")
    args = [
        "judge", "--step", "1", "--data", f"{folder / name}", "--write", f"{folder / name}.parquet",
        "--read", f"questions={folder / 'questions.parquet'}", "--read", f"candidates={folder / 'candidates.parquet'}",
        *(word for setting in settings for word in ("--set", f"judge.{setting}")),
    ]  # fmt: skip
    process = forks.Process(target=command_line, args=(args, server.environment, f"{folder / name}.log"))
    process.start()
    return process


def kept(data):
    """The calls whose replies are remembered: each reason names its own."""
    path = data / "memory.sqlite"
    if not path.exists():
        return set()
    with sqlite3.connect(path) as db:
        return {re.search(r"call (\w+)", body)[1] for (body,) in db.execute("SELECT body FROM replies")}


def kill_at_random(forks, server, folder, moments):
    """Start and kill again and again; (what the server counted, what is remembered) at each kill."""
    seen = []
    for _ in range(KILLS):
        process = start(forks, server, folder, "killed")
        goal = server.count() + moments.randint(1, 2 * STATES // KILLS - 60)
        while server.count() < goal:
            assert process.is_alive(), "killed too late"
            time.sleep(0.02)
        time.sleep(moments.random() / 20)
        process.kill()
        process.join()
        seen.append((server.seen(), kept(folder / "killed")))
    return seen


def test_no_call_is_paid_twice_and_the_table_is_the_same_to_the_byte(forks, tmp_path):
    questions, candidates = states(faults())
    pq.write_table(questions, tmp_path / "questions.parquet")
    pq.write_table(candidates, tmp_path / "candidates.parquet")
    with serving(latency=0.02) as server:
        whole = start(forks, server, tmp_path, "whole")
        whole.join()
        assert whole.exitcode == 0, (tmp_path / "whole.log").read_text()
        undisturbed = server.seen()
    with serving(latency=0.02) as server:
        moments = kill_at_random(forks, server, tmp_path, random.Random(1))
        last = start(forks, server, tmp_path, "killed")
        last.join()
        assert last.exitcode == 0, (tmp_path / "killed.log").read_text()
        disturbed = server.seen()

    assert (tmp_path / "killed.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert undisturbed["most_in_flight"] == disturbed["most_in_flight"] == IN_FLIGHT
    check_table(pq.read_table(tmp_path / "whole.parquet").to_pylist())
    check_payment(disturbed, moments, kept(tmp_path / "killed"))
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes(), path


def check_table(rows):
    """Every state is judged, or null with its reason: nine rows alike."""
    assert len(rows) == 9 * STATES
    assert all((row["score"] is None) == (row["error"] is not None) for row in rows)
    for i, fault in enumerate(faults()):
        nine = rows[9 * i : 9 * i + 9]
        assert {row["error"] is not None for row in nine} == {"always" in fault}, (fault, nine[0]["error"])
        if "always" not in fault:
            question = f"what is {i + 1} + 1? {fault}"
            assert [row["score"] for row in nine] == [judge_server.score(question, row["tool_name"]) for row in nine]
    assert (
        len({re.sub(r": \w+ \(", " (", row["error"]) for row in rows if row["error"]}) == 7
    )  # of nine faults, two are "not JSON" and two "no score"


def check_payment(last, moments, final):
    """What was remembered at a kill was never asked again; what was paid and not remembered had been in flight."""
    paid_again, before = 0, {}
    for seen, remembered in moments:
        assert [call for call in remembered if last["asked"][call] > seen["asked"][call]] == []
        lately = {call for call, n in seen["paid"].items() if n > before.get(call, 0)}
        lost = (lately & final) - remembered
        assert len(lost) <= IN_FLIGHT
        paid_again, before = paid_again + len(lost), seen["paid"]
    assert sum(last["paid"][call] - 1 for call in final) == paid_again
