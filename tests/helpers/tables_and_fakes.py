"""Small tables and fakes that several tests share."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from sparkctl.method import tables
from sparkctl.method.episode import ACTION, ACTIONS, CATEGORIES, COT
from sparkctl.method.ids import seed_of
from sparkctl.method.ports import Reply, Request

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data"


def question(question_id: int = 1, **changes: Any) -> dict[str, Any]:
    """A row of the questions table."""
    return {
        "question_id": question_id,
        "question": f"what is {question_id} + 1?",
        "options": [str(question_id + 1), str(question_id), "0", "-7"],
        "answer": "A",
        "answer_index": 0,
        "cot_content": f"Answer: {question_id + 1}",
        "category": CATEGORIES[question_id % 14],
        "src": "test",
    } | changes


def questions_table(n: int = 4) -> pa.Table:
    """n simple questions."""
    return tables.from_rows("questions", [question(i + 1) for i in range(n)])


def step_row(rollout_id: str = "q1-s0", **changes: Any) -> dict[str, Any]:
    """A row of the steps table, for a rollout of question 1 to 9."""
    row = {"rollout_id": rollout_id, "step_idx": 1, "question_id": int(rollout_id[1]), "sample_id": 0, "thought": "t"}
    row |= {"tool_name": "search", "action_query": "x", "observation": "seen", "observation_ok": True}
    return row | {"viable": 1, "rule": "best", "usage": [0] * 9, "done": False} | changes


def fork_rows(
    rollout_id: str, scores: dict[str, float], step_idx: int = 1, queries: dict[str, str] | None = None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(candidates, scores) of one state; actions without a score are null."""
    base = {"rollout_id": rollout_id, "step_idx": step_idx}
    common = base | {"question_id": int(rollout_id[1]), "sample_id": 0, "policy": "p", "thought": "t", "finish": "stop"}
    candidates = [common | {"tool_name": a, "action_query": (queries or {}).get(a, f"ask {a}")} for a in ACTIONS]
    judged = [base | {"tool_name": a, "judge": "j", "score": scores.get(a), "votes": 1} for a in ACTIONS]
    return candidates, judged


class FakeWorld:
    """Ports that answer from the request's digest alone, and count what they are asked.

    The policy answers once it has seen an observation; the judge's scores spread over 0-10.
    """

    def __init__(self) -> None:
        self.asked: dict[str, list[Request]] = {"policy": [], "judge": [], "tools": []}
        self.fail: Callable[[str, Request], str | None] = lambda port, request: None

    def policy(self, requests: Sequence[Request]) -> list[Reply]:
        return [self._reply("policy", r, self._write) for r in requests]

    def judge(self, requests: Sequence[Request]) -> list[Reply]:
        return [self._reply("judge", r, self._score) for r in requests]

    def tools(self, requests: Sequence[Request]) -> list[Reply]:
        return [self._reply("tools", r, lambda r: {"text": f"seen {r['query']}", "ok": True}) for r in requests]

    def _reply(self, port: str, request: Request, body: Callable[[Request], dict[str, Any]]) -> Reply:
        self.asked[port].append(request)
        if error := self.fail(port, request):
            return Reply(None, error)
        return Reply(body(request), None, 0.001)

    def _write(self, request: Request) -> dict[str, Any]:
        asked = request["messages"][1]["content"].split("Options:\nA. ")[1].split("\n")[0]
        later = len(request["messages"]) > 2
        if request["stop"] == [ACTION]:
            texts = [" a thought"]
        elif len(request["forced"]) > 1:
            texts = [
                f" Answer: {asked}" if later and COT in f else f" query of {f.split()[0]}" for f in request["forced"]
            ]
        else:
            tool = ACTIONS[seed_of(request["seed"]) % 8]
            texts = [f" a thought\nAction: cot\nInput: Answer: {asked}" if later else f" a\nAction: {tool}\nInput: x"]
        return {
            "completions": [
                {"text": t, "ids": [1, 2, 3], "logprobs": [-0.5, -0.25, -0.125], "finish": "stop"} for t in texts
            ]
        }

    def _score(self, request: Request) -> dict[str, Any]:
        shown = json.loads(request["messages"][1]["content"])
        scores = {}
        for candidate in shown["candidates"]:
            tool = candidate["tool_name"]
            value = (
                10
                if "Answer:" in candidate["action_query"]
                else seed_of(shown["question"], tool, len(shown["steps"])) % 10
            )
            scores[tool] = {"score": value, "reason": "by digest"}
        return {"content": json.dumps(scores)}
