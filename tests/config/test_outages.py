"""What must hold of outages: how many end a stage, what is kept, and that they are asked again; through whole runs."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.command_line import refused, sparkctl
from helpers.tables_and_fakes import ROOT, questions_table
from sparkctl.config import outages
from sparkctl.errors import SparkError
from sparkctl.pipeline.experiment import Workbench
from sparkctl.pipeline.results import result_of
from sparkctl.storage import files

SMALL = ("synth.limit=30", "eval.limit=60", "eval.policies=['base']", "synth.steps=2")


def settled(errors, n, allowed=outages.USUAL):
    """What is said of so many errors among n calls; None where the stage ends."""
    said = []
    try:
        outages.settle("judge", "calls failed", n, ["down"] * errors, allowed, said.append, then="so")
    except SparkError:
        return None
    return said


@given(st.integers(1, 400), st.data())
def test_a_share_that_is_allowed_goes_on_and_one_call_more_ends_the_stage(n, data):
    allowed = data.draw(st.integers(0, n - 1))
    assert settled(allowed, n, allowed / n) is not None
    assert settled(allowed + 1, n, allowed / n) is None
    assert settled(n, n, 1.0) is None, "nothing can follow from a table without any result"


def test_two_in_a_hundred_are_usual():
    ended = [(errors, n) for n in (20, 49, 50, 100, 150) for errors in range(5) if settled(errors, n) is None]
    assert ended == [
        *((e, n) for n in (20, 49) for e in (1, 2, 3, 4)),
        *((e, 50) for e in (2, 3, 4)),
        *((e, 100) for e in (3, 4)),
        (4, 150),
    ]
    assert settled(0, 100) == []
    assert settled(0, 0) == []


def test_what_is_said_names_the_most_frequent_error_and_what_follows():
    said = []
    outages.settle("judge", "calls failed", 9, ["rare", "busy", "busy"], 0.5, said.append, then="they have no score")
    assert said == ["3 of 9 calls failed, 2 of them with: busy; they have no score"]


@pytest.fixture
def sets(tmp_path):
    """A small recipe on 90 simple questions."""
    path = tmp_path / "questions.parquet"
    files.write_table(questions_table(90), "questions", path, {})
    return (*SMALL, f"synth.questions={path}")


@pytest.fixture
def bench(tmp_path, fakes, sets):
    """Opens a workbench."""

    def open_bench(*overrides, data="data"):
        return Workbench.open("nano", "r", (*sets, *overrides), tmp_path / data, ROOT / "stages")

    return open_bench


def fails(port, *ids):
    """Calls of a port about these questions fail."""
    asked = re.compile(rf"what is ({'|'.join(map(str, ids))}) \+ 1")
    return lambda p, request: f"{port} is down" if p == port and asked.search(str(request.get("messages"))) else None


def two_of(bench, table):
    """The ids of two of its questions."""
    return files.read_table(bench.store.linked(table), "questions")["question_id"][:2].to_pylist()


@pytest.mark.parametrize(
    ("port", "says", "again"),
    [
        # 30 thoughts, and forks of the 28 that came.
        ("policy", "synth: 2 of 58 calls of the policy failed", {"policy": 4, "judge": 30, "tools": 0}),
        ("judge", "judge: 2 of 30 calls failed", {"policy": 0, "judge": 2, "tools": 0}),
    ],
)
def test_an_outage_ends_a_run_and_the_next_asks_for_what_failed_alone(bench, fakes, port, says, again):
    fresh = bench(data="fresh")
    fresh.stage("judge", "1")
    fakes.fail = fails(port, *two_of(fresh, "questions"))
    with pytest.raises(
        SparkError, match=f"^{says}, more than .* the first with: {port} is down; mend that and run again"
    ):
        bench().everything()
    assert [a for a in bench().store.artifacts() if a.startswith(("scores", "steps"))] == []
    before = {kind: len(requests) for kind, requests in fakes.asked.items()}
    fakes.fail = lambda p, request: None
    bench().stage("judge", "1")
    assert {kind: len(requests) - before[kind] for kind, requests in fakes.asked.items()} == again
    assert bench().table("scores", "1").equals(fresh.table("scores", "1"))


def test_an_outage_of_eval_ends_it_as_well(bench, fakes):
    fresh = bench(data="fresh")
    fresh.everything()
    fakes.fail = fails("policy", *two_of(fresh, "eval_questions"))
    # 60 first turns, of which two failed, and 58 answers.
    with pytest.raises(
        SparkError, match=r"^eval: 2 of 118 calls of the policy failed, more than eval\.max_failed = 0\.01"
    ):
        bench("eval.max_failed=0.01").everything()
    bench().everything()
    rows = bench().table("answers", "base").to_pylist()
    assert sorted(row["is_correct"] is None for row in rows) == [False] * 58 + [True] * 2
    assert result_of(bench(), bench().everything()).policies["base"].errors == 2
    fakes.fail = lambda p, request: None
    bench().stage("eval", None, retry_failed=True)
    assert bench().table("answers", "base").equals(fresh.table("answers", "base"))


def test_what_may_fail_is_a_knob_and_lost_rollouts_are_null_to_the_end(bench, fakes):
    fresh = bench(data="fresh")
    fresh.stage("judge", "1")
    ids = two_of(fresh, "questions")
    fakes.fail = fails("judge", *ids)
    patient = [f"{stage}.max_failed=1" for stage in ("judge", "select")]
    with pytest.raises(SparkError, match=r"^select: 2 of 30 states have no candidate with a score, more than "):
        bench(patient[0]).everything()
    bench(*patient).everything()
    ends = [row for row in bench().table("steps", None).to_pylist() if row["done"]]
    assert sorted(row["question_id"] for row in ends if row["is_correct"] is None) == sorted(ids)
    assert {row["error"] for row in ends if row["is_correct"] is None} == {"no candidate has a score: judge is down"}
    assert not any(fate.runs for fate in bench().plan()), "of no key"


def test_the_command_says_it_in_one_line(fakes, sets, tmp_path):
    fakes.fail = lambda port, request: "no route to host" if port == "judge" else None
    words = ["run", "--data", tmp_path / "data", *(w for s in sets for w in ("--set", s))]
    done = sparkctl(*words)
    done.stderr = done.stderr.splitlines()[-1]
    refused(done, "judge: 30 of 30 calls failed, the first with: no route to host; mend that and run again")
    wrong = sparkctl(*words, "--set", "judge.max_failed=2")
    refused(wrong, "judge.max_failed", "less than or equal to 1")
