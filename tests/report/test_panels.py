"""The figures of a report, on a run small enough to count by hand."""

import math

import pytest

from helpers.finished_runs import answers, evaluated, kept, rollouts, sampled, whole
from sparkctl.method import tables
from sparkctl.report import page, write
from sparkctl.report.figures.verdict import no_verdict, subject, verdicts
from sparkctl.report.findings import Findings

EVALUATED = ("tool_mix", "tool_mix_by_step", "diversity", "tool_use", "effort")


def findings(folder, made, **changes):
    return Findings.of(write._gathered(kept(folder, made, **changes)))


def rows_of(found, name):
    return next(panel.table.to_pylist() for panel in found.panels if panel.name == name)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return findings(tmp_path_factory.mktemp("data"), whole())


def test_a_whole_run_has_every_part(found):
    names = ["headline", "categories", "tool_mix", "tool_mix_by_step", "diversity", "tool_use", "effort"]
    names += ["training", "rewards", "rounds", "judged_outcomes", "cost", "provenance"]
    assert [panel.name for panel in found.panels] == names
    assert found.run.missing == []


def test_the_headline_by_hand(found):
    base, sft, spark = rows_of(found, "headline")
    assert (base["policy"], base["accuracy"], base["entropy_bits"], base["accuracy_change"]) == ("base", 1.0, 0.0, None)
    assert (sft["accuracy"], sft["accuracy_change"]) == (0.75, -0.25)
    # Two tools, half each: one bit more, and 1 / (400 ln 2) for two actions in 200. One question in 200 lost: p = 1.
    assert (spark["entropy_change_bits"], spark["accuracy_change"], spark["accuracy_p"]) == (
        pytest.approx(1 + 1 / (400 * math.log(2))),
        pytest.approx(-0.005),
        1.0,
    )
    assert spark["in_words"] == "diversity: rose; accuracy: no evidence of a difference"
    assert sft["in_words"] == "diversity: no evidence of a difference; accuracy: fell"


def test_the_verdict_is_about_spark_and_says_what_is_not_ruled_out(found):
    diversity, accuracy, certainty = verdicts(found.run)
    assert diversity.answer == "Yes, it rose: +1.00 bits"
    assert accuracy.answer == "No evidence of a difference: -0.5 points"
    assert "A loss of up to 2.2 points is not ruled out" in accuracy.because
    # d = .005 is taken as .01, of which 783 questions are needed (see test_statistics).
    assert certainty.answer == "Too few questions to see one point (n = 200)"
    assert "About 783 questions" in certainty.because
    assert "another training run" in certainty.because


def test_a_fall_is_called_one(tmp_path):
    made = {name: table for name, table in evaluated().items() if name != "answers.spark"}
    _, accuracy, _ = verdicts(findings(tmp_path, made).run)
    assert accuracy.answer == "No, it fell: -25.0 points"
    assert "not ruled out" not in accuracy.because


@pytest.mark.parametrize(
    ("made", "says"),
    [
        ({}, "No policy has been evaluated yet"),
        ({"answers.base": answers("base", [True], lambda i: ["cot"])}, "Only 'base' has been evaluated"),
        ({"answers.spark": answers("spark", [True], lambda i: ["cot"])}, "'base' has not been evaluated"),
        (
            {
                "answers.base": answers("base", [True], lambda i: ["cot"]),
                "answers.spark": answers("spark", [True] * 2, lambda i: []),
            },
            "have not answered the same questions",
        ),
    ],
)
def test_without_a_comparison_there_is_no_verdict_but_a_reason(tmp_path, made, says):
    run = findings(tmp_path, made or dict(rollouts(2))).run
    assert verdicts(run) == []
    assert says in no_verdict(run)


def test_tool_mix_counts_choices(found):
    mix = {(row["policy"], row["action"]): row for row in rows_of(found, "tool_mix")}
    spark = mix["spark", "calculator"]
    assert (spark["count"], spark["share"]) == (100, 0.5)
    # Binomial standard error of a half of 200: .0354.
    assert (spark["share_low"], spark["share_high"]) == pytest.approx(
        (0.5 - 1.96 * 0.0354, 0.5 + 1.96 * 0.0354), abs=0.02
    )
    assert mix["base", "search"]["share"] == 1.0


def test_each_step_of_the_tool_mix_is_of_its_own(tmp_path):
    taken = [["search", "cot"], ["search"], ["calculator", "wikipedia"]]
    made = {"answers.base": answers("base", [True] * 3, lambda i: taken[i])}
    by = {(r["step"], r["action"]): r["share"] for r in rows_of(findings(tmp_path, made), "tool_mix_by_step")}
    assert by[1, "search"] == pytest.approx(2 / 3)
    assert (by[2, "cot"], by[2, "wikipedia"], by[2, "search"]) == (0.5, 0.5, 0.0)


def test_the_curve_of_rewards_says_where_it_begins_and_ends(found):
    says = next(c.says for c in panel_of(found, "training").draw("") if "reward" in c.says)
    assert "spark from 0.5 to 0.54" in says


def test_older_updates_have_no_curve_of_rewards(tmp_path):
    from helpers.finished_runs import updates

    older = {"updates.spark": updates().drop_columns(["reward"])}
    found = findings(tmp_path, older)
    assert [row["reward"] for row in rows_of(found, "training")] == [None] * 5
    assert len(panel_of(found, "training").draw("")) == 4


def test_reward_terms_are_means_over_what_was_trained(found):
    rows = {row["action"]: row for row in rows_of(found, "rewards")}
    assert set(rows) == {"search", "cot"}
    assert (rows["search"]["quality"], rows["search"]["correctness"], rows["search"]["reward"]) == (0.8, 0.0, 1.1)
    assert rows["cot"]["correctness"] == 0.4


def test_scores_against_outcomes_by_hand(found):
    # Right rollouts were all scored 9, wrong ones all 3: every pair is in order.
    rows = {(r["scores_of"], r["mean_score"]): r for r in rows_of(found, "judged_outcomes")}
    assert set(rows) == {(of, score) for of in ("all steps", "before the last step") for score in ("2-4", "8-10")}
    assert (rows["all steps", "8-10"]["rollouts"], rows["all steps", "8-10"]["right"]) == (6, 1.0)
    assert rows["all steps", "2-4"]["right"] == 0.0
    assert rows["all steps", "2-4"]["pairs_ordered"] == 1.0


def test_ties_are_ordered_by_half():
    import numpy as np

    from sparkctl.report.panels.rollouts import _pairs_ordered

    # Pairs: 5-5 tie, 5-3 in order, 1-5 and 1-3 not: (0.5 + 1) / 4.
    assert _pairs_ordered(np.array([5.0, 1.0]), np.array([5.0, 3.0])) == 0.375
    assert _pairs_ordered(np.array([5.0]), np.array([])) is None


def test_cost_says_what_is_unknown(tmp_path):
    made = dict(rollouts(2, steps=1))
    rows = made["scores.1"].to_pylist()
    rows[0]["cost_usd"] = None
    found = findings(tmp_path, made | {"scores.1": tables.from_rows("scores", rows)})
    judge = next(row for row in rows_of(found, "cost") if row["stage"] == "judge")
    assert (judge["usd"], judge["price_unknown"]) == (pytest.approx(0.017), 1)
    assert (judge["seconds"], judge["calls"], judge["remembered"]) == (2.5, 3, 1)
    explains = next(panel.explains for panel in found.panels if panel.name == "cost")
    assert "1 candidates whose price is unknown" in explains


@pytest.mark.parametrize(("price", "usd", "unknown"), [(0.001, 0.2, 400), (None, None, None)])
def test_an_evaluation_costs_what_its_answers_do(tmp_path, price, usd, unknown):
    """200 answers of base with a price, those of the other policies without."""
    made = dict(evaluated())
    rows = [row | {"cost_usd": price} for row in made["answers.base"].to_pylist()]
    store = kept(tmp_path, made | {"answers.base": tables.from_rows("answers", rows)})
    store.log(node="eval.base", seconds=1.0)
    spent = next(row for row in rows_of(Findings.of(write._gathered(store)), "cost") if row["stage"] == "eval")
    assert (spent["usd"], spent["price_unknown"]) == (pytest.approx(usd) if usd else None, unknown)


def test_time_is_that_of_the_latest_making_and_of_all(tmp_path):
    store = kept(tmp_path, rollouts(1, steps=1))
    store.log(node="judge.1", seconds=1.0)
    found = Findings.of(write._gathered(store))
    judge = next(row for row in rows_of(found, "cost") if row["stage"] == "judge")
    assert (judge["seconds"], judge["seconds_in_all"]) == (1.0, 3.5)


def test_provenance_names_key_version_seed_and_inputs(found):
    row = next(row for row in rows_of(found, "provenance") if row["artifact"] == "answers.spark")
    assert row["file"].startswith("answers.spark-")
    assert (row["version"], row["seed"], row["inputs"]) == (1, 7, "questions " + "ab" * 32)


def test_only_the_page_cuts_digests(found):
    panel = panel_of(found, "provenance")
    shown = next(row["inputs"] for row in panel.shown if row["artifact"] == "answers.spark")
    assert (str(shown), shown.whole) == ("questions abababababab", "questions " + "ab" * 32)
    assert "ab" * 32 in page.markdown(panel)


@pytest.mark.parametrize(
    ("logged", "main", "about"),
    [
        (["base", "zeta", "alpha"], "alpha", "alpha against base, alpha being the last policy evaluated"),
        (["base", "alpha", "zeta", "alpha"], "zeta", "zeta against base, zeta being the last policy evaluated"),
        (["alpha"], "alpha", "alpha against base, alpha being the last policy evaluated"),  # zeta: in another run
        ([], "zeta", "zeta against base, zeta being the last policy evaluated"),
        (["base", "spark", "alpha", "zeta"], "spark", "spark against base"),
    ],
)
def test_the_verdict_is_about_spark_or_else_the_last_of_the_recipe(tmp_path, logged, main, about):
    made = {f"answers.{name}": answers(name, [True] * 3, lambda i: ["cot"]) for name in {"base", "zeta", "alpha", main}}
    store = kept(tmp_path, made)
    for name in logged:
        store.log(node=f"eval.{name}", seconds=1.0)
    run = write._gathered(store)
    assert (run.main, subject(run)) == (main, about)


def test_of_two_policies_there_is_nothing_to_choose(tmp_path):
    made = {f"answers.{name}": answers(name, [True] * 3, lambda i: ["cot"]) for name in ("base", "mine")}
    assert subject(findings(tmp_path, made).run) == "mine against base"


@pytest.mark.parametrize(
    ("stages", "parts"),
    [
        (("candidates",), ["rounds", "cost", "provenance"]),
        (("candidates", "scores"), ["rounds", "cost", "provenance"]),
        (("updates",), ["training", "cost", "provenance"]),
        (("answers",), ["headline", "categories", *EVALUATED, "cost", "provenance"]),
    ],
)
def test_a_half_made_run_shows_what_is_there_and_names_the_rest(tmp_path, stages, parts):
    made = {name: table for name, table in whole().items() if name.partition(".")[0] in stages}
    found = findings(tmp_path, made)
    assert [panel.name for panel in found.panels] == parts
    missing = [words.partition(" ")[0] for words in found.run.missing]
    assert set(missing) == {"questions", "candidates", "scores", "steps", "updates", "credit", "answers"} - set(stages)


def test_diversity_by_hand(found):
    rows = {(row["policy"], row["of"], row["group"]): row for row in rows_of(found, "diversity")}
    spark = rows["spark", "all", ""]
    # A hundred choices of each of two tools: 1 bit, and 1 / (400 ln 2) for the correction.
    assert spark["entropy_bits"] == pytest.approx(1 + 1 / (400 * math.log(2)))
    assert spark["effective_tools"] == pytest.approx(2, abs=0.01)
    assert (rows["base", "step", "1"]["entropy_bits"], rows["base", "step", "1"]["effective_tools"]) == (0.0, 1.0)


def panel_of(found, name):
    return next(panel for panel in found.panels if panel.name == name)


def test_one_sample_cannot_tell_whether_a_question_gets_different_tools(found):
    panel = panel_of(found, "effort")
    assert "cannot be told from one sample" in panel.explains
    assert "tool calls per question" in [row["measure"] for row in panel.shown]
    assert not any("same question" in row["measure"] for row in panel.shown), "no row that says nothing"
    (told,) = {row["value"] for row in panel.table.to_pylist() if row["measure"] == "same_question_differs"}
    assert told is None
    assert not any("pass@" in row["measure"] for row in panel.table.to_pylist())


def test_several_samples_tell_and_give_pass_at_k(tmp_path):
    pairs = [[(True, ["search"]), (False, ["calculator"])]] * 3
    panel = panel_of(findings(tmp_path, {"answers.p": sampled(*pairs)}), "effort")
    rows = {row["measure"]: row["value"] for row in panel.table.to_pylist()}
    assert (rows["same_question_differs"], rows["pass@1"], rows["pass@2"], rows["majority_vote"]) == (1, 0.5, 1, 1)
    assert "cannot be told from one sample" not in panel.explains


def test_with_and_without_a_tool_is_called_association(found):
    assert "association, not effect" in panel_of(found, "tool_use").explains
    rows = {(row["policy"], row["action"]): row for row in rows_of(found, "tool_use")}
    # Spark loses one question, on which it took the calculator.
    assert rows["spark", "calculator"]["difference"] == pytest.approx(0.99 - 1)
    assert rows["base", "calculator"]["difference"] is None
