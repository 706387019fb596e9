"""What must hold of making: nothing twice, everything that must be, and the reason said. Stage runs are counted, not
only calls: memory would hide a stage that runs for nothing."""

import dataclasses
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers.command_line import refused, sparkctl
from helpers.tables_and_fakes import ROOT, questions_table
from sparkctl.config import recipe
from sparkctl.errors import SparkError
from sparkctl.pipeline.experiment import Workbench
from sparkctl.pipeline.graph import STAGES
from sparkctl.pipeline.plan import nodes
from sparkctl.pipeline.ports import policy as policy_ports
from sparkctl.pipeline.results import result_of
from sparkctl.stages import judge as judge_stage
from sparkctl.storage import digests, files, store

SMALL = ("synth.limit=4", "eval.limit=14", "eval.policies=['base']", "synth.steps=3")


@pytest.fixture
def questions_file(tmp_path):
    path = tmp_path / "questions.parquet"
    files.write_table(questions_table(30), "questions", path, {})
    return path


@pytest.fixture
def bench(tmp_path, questions_file, fakes):
    """Opens a workbench with overrides on the same data folder."""

    def open_bench(*overrides, run="r"):
        sets = (*SMALL, f"synth.questions={questions_file}", *overrides)
        return Workbench.open("nano", run, sets, tmp_path / "data", ROOT / "stages")

    return open_bench


def ran(fates):
    return [f.node.name for f in fates if f.runs]


def why(fates):
    return {f.node.name: f.why for f in fates}


def tables_of(bench):
    """Artifact -> bytes."""
    return {p.name: p.read_bytes() for p in bench.store.run.glob("*.parquet")}


def test_a_run_goes_through_every_node_and_links_every_table(bench):
    b = bench()
    names = ran(b.everything())
    assert names == [
        "questions",
        "eval_questions",
        *(f"{s}.{t}" for t in (1, 2, 3) for s in ("synth", "judge", "select")),
        "eval.base",
    ]
    assert len(b.table("candidates", "1")) == 4 * 9
    assert len(b.table("scores", "1")) == 4 * 9
    assert len(b.table("steps", "1")) == 4
    assert len(b.table("answers", "base")) == 14


def test_programs_get_diversity_effort_and_samples_of_every_policy(bench):
    b = bench()
    found = json.loads(json.dumps(result_of(b, b.everything()).as_json()))["policies"]["base"]
    # As many calls as tools were taken, the cot left out; one sample a question, so that some cannot be told.
    taken = [tool for tools in b.table("answers", "base")["tools"].to_pylist() for tool in tools]
    assert found["measures"]["calls_per_question"]["value"] == (len(taken) - taken.count("cot")) / 14
    assert found["measures"]["same_question_differs"] is None
    assert sum(row["count"] for row in found["by_tool"]) == len(taken)
    assert found["bootstrap"] == {"resamples": 2000, "seed": 0}


def test_a_second_run_runs_no_stage(bench, fakes):
    bench().everything()
    asked = {port: len(requests) for port, requests in fakes.asked.items()}
    assert ran(bench().everything()) == []
    assert {port: len(requests) for port, requests in fakes.asked.items()} == asked


def test_another_run_shares_what_is_the_same(bench):
    bench().everything()
    assert ran(bench(run="other").everything()) == []
    assert tables_of(bench(run="other")) == tables_of(bench())


def test_plan_says_what_changed_and_make_does_just_that(bench):
    bench().everything()
    plan = bench("judge.reference=answer").plan()
    assert why(plan)["judge.1"] == "reference changed solution -> answer"
    assert why(plan)["synth.1"] == "up to date"
    assert why(plan)["select.1"] == "after judge.1"
    made = bench("judge.reference=answer").everything()
    assert "synth.1" not in ran(made)
    assert {"judge.1", "judge.2", "judge.3"} <= set(ran(made))


def test_a_changed_threshold_reuses_step_one_and_asks_nothing_that_is_remembered(bench, fakes):
    bench().everything()
    before = {port: [repr(r) for r in requests] for port, requests in fakes.asked.items()}
    made = bench("select.threshold=8.5").everything()
    assert why(made)["select.1"] == "threshold changed 6.0 -> 8.5"
    assert not {"synth.1", "judge.1", "eval.base"} & set(ran(made))
    for port, requests in fakes.asked.items():
        asked = [repr(r) for r in requests]
        assert len(set(asked)) == len(asked), f"{port} was asked the same again"
        assert asked[: len(before[port])] == before[port]


def test_going_back_to_old_settings_runs_nothing(bench):
    bench().everything()
    first = tables_of(bench())
    bench("select.threshold=8.5").everything()
    assert ran(bench().everything()) == []
    assert tables_of(bench()) == first


def test_a_table_edited_by_hand_makes_its_readers_stale_once_its_digest_is_deleted(bench):
    b = bench()
    b.everything()
    path = b.paths("scores", "1")[0]
    table = pq.read_table(path)
    half = pa.array([s / 2 for s in table["score"].to_pylist()])
    pq.write_table(table.set_column(table.column_names.index("score"), "score", half), path)
    assert why(bench().plan())["judge.1"] == f"{path.name} is damaged"
    digests.place(path).unlink()
    plan = bench().plan()
    assert why(plan)["select.1"] == "scores changed"
    assert "judge.1" not in ran(plan)


def test_a_raised_version_runs_the_stage_again(bench, monkeypatch):
    bench().everything()
    raised = dataclasses.replace(STAGES["judge"], version=STAGES["judge"].version + 1)
    monkeypatch.setattr(judge_stage, "STAGE", raised)
    assert why(bench().plan())["judge.1"] == "stage version changed 1 -> 2"


def test_another_model_under_the_same_name_runs_synth_again(bench, monkeypatch):
    bench().everything()
    monkeypatch.setattr(policy_ports, "policy_identity", lambda policy: "retrained")
    assert why(bench().plan())["synth.1"] == "model changed"


def test_a_knob_changes_nothing(bench):
    bench().everything()
    assert ran(bench("synth.batch_size=1", "judge.concurrency=1").plan()) == []


def test_a_lost_file_is_made_again(bench):
    b = bench()
    b.everything()
    b.paths("scores", "2")[0].unlink()
    assert why(bench().plan())["judge.2"] == "not made yet in this run"
    assert ran(bench().everything())[0] == "judge.2"


def test_gc_beside_a_run_takes_nothing_that_it_is_about_to_link(bench, tmp_path, monkeypatch):
    """Tried at each link, when what comes after it is there and nobody links to it."""
    first = bench()
    first.everything()
    whole = tables_of(first)
    first.store.unlink_all_but(())
    assert len(first.store.garbage()) == len(whole)
    link, tried = store.Store.link, []

    def collect_first(self, artifact, target):
        tried.append(sparkctl("gc", "--yes", "--data", tmp_path / "data"))
        link(self, artifact, target)

    monkeypatch.setattr(store.Store, "link", collect_first)
    assert ran(bench().everything()) == []
    assert tables_of(bench()) == whole
    assert len(tried) == len(whole)
    for done in tried:
        refused(done, "is making things here")


def test_an_interrupted_run_goes_on_and_ends_the_same(bench, fakes, tmp_path):
    b = bench()

    def dies(port, request):
        if port == "judge" and len(fakes.asked["judge"]) > 5:
            raise KeyboardInterrupt
        return

    fakes.fail = dies
    with pytest.raises(KeyboardInterrupt):
        b.everything()
    fakes.fail = lambda port, request: None
    asked_before = len(fakes.asked["policy"])
    bench().everything()
    assert [repr(r) for r in fakes.asked["policy"][:asked_before]] not in ([], None)
    policy = [repr(r) for r in fakes.asked["policy"]]
    assert len(set(policy)) == len(policy)
    undisturbed = Workbench.open(
        "nano", "r", (*SMALL, f"synth.questions={tmp_path / 'questions.parquet'}"), tmp_path / "fresh", ROOT / "stages"
    )
    undisturbed.everything()
    assert tables_of(undisturbed) == tables_of(bench())


def test_a_stage_command_brings_only_what_it_needs(bench):
    assert ran(bench().stage("judge", "1")) == ["questions", "synth.1", "judge.1"]
    with pytest.raises(SparkError, match="judge: '9' is not one of them; this recipe has: 1, 2, 3"):
        bench().stage("judge", "9")


def test_every_node_comes_after_what_it_reads():
    graph = nodes(recipe.load(ROOT / "stages"))
    made = set()
    for node in graph:
        assert {a for artifacts in node.reads.values() for a in artifacts} <= made, node.name
        made |= set(node.writes.values())


def test_two_rounds_never_share_a_file():
    graph = nodes(recipe.load(ROOT / "stages"))
    artifacts = [a for node in graph for a in node.writes.values()]
    assert len(set(artifacts)) == len(artifacts)


def test_failed_calls_are_rows_with_their_error_and_never_zeros(bench, fakes):
    fakes.fail = lambda port, request: (
        "the judge is ill"
        if port == "judge" and request["messages"][1]["content"].startswith('{"question": "what is 1 ')
        else None
    )
    b = bench("synth.limit=30", "eval.questions=nano", "judge.max_failed=0.05", "select.max_failed=0.05")
    b.everything()
    scores = b.table("scores", "1").to_pylist()
    ill = [s for s in scores if s["rollout_id"] == "q1-s0"]
    assert len(ill) == 9
    assert all(s["score"] is None and s["error"] == "the judge is ill" and s["votes"] == 0 for s in ill)
    assert all(s["score"] is not None for s in scores if s["rollout_id"] != "q1-s0")
    step = next(s for s in b.table("steps", "1").to_pylist() if s["rollout_id"] == "q1-s0")
    assert (step["tool_name"], step["done"], step["is_correct"], step["error"]) == (
        None,
        True,
        None,
        "no candidate has a score: the judge is ill",
    )
    assert all(s["rollout_id"] != "q1-s0" for s in b.table("candidates", "2").to_pylist())


def test_a_stage_works_on_files_given_by_name(bench, tmp_path):
    b = bench()
    b.everything()
    given = [f"{name}={b.paths(name, '1')[0]}" for name in ("candidates", "scores")] + [
        f"questions={b.paths('questions', None)[0]}"
    ]
    out = tmp_path / "mine.parquet"
    b.explicit("select", "1", given, [str(out)])
    assert files.read_table(out, "steps").equals(b.table("steps", "1"))


@pytest.mark.parametrize(
    ("reads", "writes", "says"),
    [
        (["scores=x"], ["o"], "select: needs --read candidates=FILE"),
        (
            ["scores"],
            ["o"],
            "--read scores: write INPUT=FILE, where INPUT is one of: candidates, scores, questions, steps",
        ),
        (["answers=x"], ["o"], "where INPUT is one of"),
        (["candidates=x", "scores=x", "questions=x"], ["o"], "x: no such file"),
        (["candidates=x"], [], "select: --read needs --write FILE as well"),
        (["candidates=x", "scores=x", "questions=x"], ["answers=o"], "select writes steps"),
    ],
)
def test_wrong_files_are_named(bench, tmp_path, monkeypatch, reads, writes, says):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SparkError) as fault:
        bench().explicit("select", None, reads, writes)
    assert says in str(fault.value)
    assert not (tmp_path / "o").exists()
