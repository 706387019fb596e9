"""What must hold of judging a run with a real HTTP judge: nothing is paid twice, money is bounded and said beforehand, what
failed can be completed, keys are found nowhere. The policy and the tools are fakes; the judge is not."""

import io
import json

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from helpers.command_line import sparkctl
from helpers.judge_client import KEY, reached, serving, states
from helpers.tables_and_fakes import ROOT, question
from sparkctl.errors import SparkError
from sparkctl.method import tables
from sparkctl.pipeline.experiment import Workbench
from sparkctl.pipeline.ports import judge as judge_ports
from sparkctl.pipeline.previews import judge_estimates, judge_reliability
from sparkctl.report import terminal
from sparkctl.report.figures.reliability import reliability
from sparkctl.storage.files import write_table

JUDGE_PORT = judge_ports.judge_port
"""The real one, before the fakes take its place."""
FAULTS = ("", "fault=always_broken", "fault=eleven", "fault=always_empty", "", "")


@pytest.fixture(scope="module")
def server():
    with serving() as found, reached(found):
        yield found


@pytest.fixture
def bench(tmp_path, fakes, monkeypatch, server):
    """Opens a workbench on six questions, of which two cannot be judged, one only after a re-ask."""
    monkeypatch.setattr(judge_ports, "judge_port", JUDGE_PORT)
    server.forget()
    path = tmp_path / "questions.parquet"

    def open_bench(*overrides, faults=FAULTS, run="r"):
        rows = [question(i + 1, question=f"what is {i + 1} + 1? {f}") for i, f in enumerate(faults)]
        if not path.exists():
            write_table(tables.from_rows("questions", rows), "questions", path, {})
        sets = (
            "synth.limit=6", "eval.limit=1", "eval.policies=['base']", "synth.steps=2", f"synth.questions={path}",
            "judge.model=openai/gpt-4o", "judge.retries=0", "judge.max_tokens=200", "judge.max_failed=0.5", "select.max_failed=0.5",
            *overrides,
        )  # fmt: skip
        return Workbench.open("nano", run, sets, tmp_path / "data", ROOT / "stages")

    return open_bench


def errors(bench):
    """Question -> why it has no scores, at step 1."""
    return {row["rollout_id"]: row["error"] for row in bench.table("scores", "1").to_pylist() if row["error"]}


def asked(server):
    return sum(server.seen()["asked"].values())


def test_what_failed_is_a_row_and_is_asked_again_only_on_request(bench, server, capsys):
    b = bench()
    b.stage("judge", "1")
    assert {e.partition(":")[0].partition(" (")[0] for e in errors(b).values()} == {
        "InternalServerError",
        "the judge's answer is not JSON",
    }
    assert asked(server) == 3 + 2 + 1 + 2, "six calls and two re-asks"
    assert "judge.1: 2 of 6 calls failed, 1 of them with: " in capsys.readouterr().err
    assert b.stage("judge", "1")[-1].runs is False
    assert asked(server) == 8
    before = b.table("scores", "1")
    fate = b.stage("judge", "1", retry_failed=True)[-1]
    assert (fate.runs, fate.why) == (True, "some calls had failed")
    assert asked(server) == 8 + 1 + 2, "the two that failed, of which one is re-asked"
    assert b.table("scores", "1").equals(before), "this server fails again"


def test_a_completed_table_makes_its_readers_stale(bench, server):
    b = bench()
    b.stage("select", "1")
    kept = [r for r in b.table("scores", "1").to_pylist() if r["error"] is None]
    server.heal()
    b.stage("judge", "1", retry_failed=True)
    whole = b.table("scores", "1").to_pylist()
    assert [r["error"] for r in whole] == [None] * 54
    assert [r for r in whole if r in kept] == kept, "what had succeeded is as it was"
    plan = {f.node.name: f.why for f in b.plan()}
    assert plan["judge.1"] == "up to date"
    assert plan["select.1"] == "scores changed"
    assert b.stage("judge", "1", retry_failed=True)[-1].runs is False, "nothing is left to complete"


def test_a_changed_threshold_and_another_run_pay_nothing(bench, server):
    bench(faults=("",) * 6).stage("select", None)
    n = asked(server)
    assert n > 6
    bench().stage("select", None)
    bench(run="other").stage("select", None)
    bench("judge.concurrency=3", "judge.rpm=100000", "judge.budget_usd=9").stage("select", None)
    bench("select.threshold=6.5").stage("judge", "1")
    assert asked(server) == n


def test_the_rubric_enters_the_key_and_the_requests(bench, server, tmp_path):
    b = bench(faults=("",) * 6)
    b.stage("judge", "1")
    recipes = tmp_path / "stages"
    recipes.mkdir()
    for path in (ROOT / "stages").iterdir():
        (recipes / path.name).write_text(path.read_text() + ("\nBe strict.\n" if path.name == "judge.md" else ""))
    overrides = [f"synth.questions={tmp_path / 'questions.parquet'}", "synth.limit=6", "synth.steps=2", "eval.limit=1"]
    overrides += ["eval.policies=['base']", "judge.model=openai/gpt-4o", "judge.retries=0", "judge.max_tokens=200"]
    other = Workbench.open("nano", "r", tuple(overrides), tmp_path / "data", recipes)
    assert "prompt changed" in {f.node.name: f.why for f in other.plan()}["judge.1"]
    other.stage("judge", "1")
    assert asked(server) == 12
    assert server.seen()["last"]["messages"][0]["content"].endswith("Be strict.")


def test_an_estimate_says_what_is_still_to_be_paid_and_makes_nothing(bench, server, tmp_path):
    b = bench(faults=("",) * 6)
    found = judge_estimates(b, None, [])
    assert [(e["calls"], e["at_most_calls"]) for e in found] == [(None, None)] * 2
    assert not (tmp_path / "data").exists()
    b.stage("synth", "1")
    one, two = judge_estimates(b, None, [])
    assert (one["step"], one["calls"], one["remembered"], one["answer_tokens"]) == ("1", 6, 0, 6 * 200)
    assert one["cost_usd"] == one["most_usd"] == pytest.approx(one["prompt_tokens"] * 2.5e-6 + 1200 * 10e-6)
    assert (two["calls"], two["at_most_calls"]) == (None, 6)
    assert asked(server) == 0
    b.stage("judge", "1")
    free = judge_estimates(bench("judge.reference='none'"), "1", [])[0]
    assert (free["calls"], free["remembered"]) == (6, 0)
    assert judge_estimates(b, "1", [])[0]["calls"] == 0
    again = judge_estimates(bench("judge.votes=2"), "1", [])[0]
    assert (again["calls"], again["remembered"]) == (6, 6), "the first vote is paid"


def test_a_budget_stops_and_a_larger_one_goes_on(bench, server):
    with pytest.raises(SparkError, match=r"judge\.budget_usd 0\.02: \$0\.0\d+ was spent"):
        bench("judge.budget_usd=0.02", faults=("",) * 6).stage("judge", "1")
    n = asked(server)
    assert 0 < n < 6
    with pytest.raises(SparkError, match=r"judge\.budget_usd 0\.02"):
        bench("judge.budget_usd=0.02").stage("judge", "1")
    assert asked(server) == n, "what was paid before counts"
    b = bench("judge.budget_usd=1")
    b.stage("judge", "1")
    assert asked(server) == 6
    assert sum(r["cost_usd"] for r in b.table("scores", "1").to_pylist()) == pytest.approx(
        b.maker().memory.paid(judge_ports.JUDGE_ACCOUNT)
    )


def test_failed_calls_are_booked_as_well(bench):
    b = bench()
    b.stage("judge", "1")
    spent = b.maker().memory.paid(judge_ports.JUDGE_ACCOUNT)
    rows = b.table("scores", "1").to_pylist()
    assert spent == pytest.approx(sum(r["cost_usd"] or 0 for r in rows))
    by_error = {(r["error"] or "").partition(" ")[0]: r["cost_usd"] for r in rows}
    assert by_error["InternalServerError:"] is None, "nobody knows what it cost"
    assert by_error["the"] > 0


def test_reliability_scores_again_in_another_order(bench, server):
    b = bench(faults=("",) * 6)
    b.stage("judge", "1")
    server.forget()
    found = judge_reliability(b, "1", 4)
    assert asked(server) == 4
    # This judge looks at the question and the tool alone, never at the order.
    assert (found.states, found.candidates, found.alpha, found.mean_shift) == (4, 36, 1.0, 0.0)
    assert (found.viable_set_changed, found.threshold) == (0.0, 6.0)
    judge_reliability(b, "1", 4)
    assert asked(server) == 4, "these replies are remembered too"
    assert b.stage("judge", "1")[-1].runs is False, "the run's own scores stay"


def test_no_key_in_any_table_footer_log_memory_or_error(bench, tmp_path, capfd):
    """The server repeats the key in its error of status 500."""
    b = bench()
    b.stage("select", "1")
    path = tmp_path / "refusing.parquet"
    rows = [question(1, question="what? fault=always_refused")]
    write_table(tables.from_rows("questions", rows), "questions", path, {})
    with pytest.raises(SparkError) as refused:
        bench(f"synth.questions={path}").stage("judge", "1")
    assert KEY not in str(refused.value)
    files = [p for p in (tmp_path / "data").rglob("*") if p.is_file()]
    assert {"memory.sqlite", "runs.jsonl"} <= {p.name for p in files}
    told = capfd.readouterr()
    texts = [p.read_bytes() for p in files] + [told.out.encode(), told.err.encode()]
    # Parquet compresses: the rows and the footers are looked into as well.
    read = [pq.ParquetFile(p) for p in files if p.suffix == ".parquet"]
    texts += [json.dumps([f.read().to_pylist(), str(f.metadata.metadata)]).encode() for f in read]
    for part in (KEY, KEY[3:12], KEY[-8:]):
        assert not [t for t in texts if part.encode() in t]


def test_an_estimate_of_files_is_printed_and_an_unknown_price_is_said_to_be_unknown(tmp_path):
    questions, candidates = states(["", ""])
    pq.write_table(questions, tmp_path / "q.parquet")
    pq.write_table(candidates, tmp_path / "c.parquet")
    command = ["judge", "--estimate", "--data", tmp_path / "data"]
    command += ["--read", f"questions={tmp_path / 'q.parquet'}", "--read", f"candidates={tmp_path / 'c.parquet'}"]
    for model, said in (("openai/mine", "unknown"), ("gpt-4o", "0.0")):
        done = sparkctl(*command, "--set", f"judge.model={model}")
        assert done.returncode == 0, done.stderr
        row = next(line for line in done.stdout.splitlines() if line.startswith("│ 1 "))
        assert row.count("unknown") == (2 if said == "unknown" else 0), row
        assert said in row
        assert row.split("│")[2].strip() == "2"
    assert not (tmp_path / "data").exists()


def printed(what, found):
    """What a person sees in 100 columns."""
    shown = io.StringIO()
    what(Console(file=shown, width=100), found)
    return shown.getvalue()


def test_steps_without_candidates_are_said_and_the_sum_leaves_them_out():
    made = {
        "calls": 10,
        "remembered": 2,
        "prompt_tokens": 5000,
        "answer_tokens": 2700,
        "cost_usd": 0.5,
        "most_usd": 2.0,
    }
    steps = [{"step": "1"} | made, {"step": "2"} | made, {"step": "3", "calls": None, "at_most_calls": 12}]
    shown = printed(terminal.estimates, steps)
    assert "at most 12" in shown
    assert "not made yet" in shown
    total = next(line for line in shown.splitlines() if line.startswith("│ so far"))
    assert [cell.strip() for cell in total.split("│")[2:8]] == ["20", "4", "10,000", "5,400", "1.00", "4.00"]


def test_agreement_is_printed_and_what_cannot_be_said_is_not_a_number():
    shown = printed(terminal.agreement, reliability({("a", 1): {"cot": 5.0}}, {("a", 1): {"cot": 5.0}}, 6.0))
    assert "1 states scored again" in shown
    assert next(line for line in shown.splitlines() if "alpha" in line).count("cannot be said") == 1
    assert next(line for line in shown.splitlines() if "viable" in line).count("0.0%") == 1
