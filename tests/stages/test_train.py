"""What must hold of train: which actions are trained on, what they earn, why others are dropped, which tokens are seen."""

import math
from collections import defaultdict

import hypothesis
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.tables_and_fakes import fork_rows, questions_table, step_row
from sparkctl.config.settings import checked
from sparkctl.errors import SparkError
from sparkctl.method import chat, checks, tables
from sparkctl.method.episode import ACTIONS, THOUGHT
from sparkctl.models import loading
from sparkctl.models.learner import Learner
from sparkctl.pipeline.progress import progress
from sparkctl.stages import train
from sparkctl.stages.reference import Reference
from sparkctl.stages.stage import Context
from sparkctl.stages.train import STAGE
from sparkctl.training import credit as crediting
from sparkctl.training import tokens
from sparkctl.training.settings import Train
from sparkctl.training.tokens import Reader
from sparkctl.training.trees import distinguishing

COMMON = {"policy": "nano", "prompt": "s", "descriptions": {a: a for a in ACTIONS}}
SETTINGS = Train(
    **COMMON, epochs=1, lora_r=2, min_score=6.0, rarity_of="selection", rarity_baseline="none", group="none"
)
TOKENIZER = loading.open_tokenizer("nano")
END = TOKENIZER.eos_token_id


def step(rollout, tool, **changes):
    return step_row(rollout, tool_name=tool, **({"done": True, "is_correct": True} | changes))


def fork(rollout, scores, step_idx=1, **changes):
    """A state whose candidates are real tokens of the nano policy's tokenizer."""
    candidates, judged = fork_rows(rollout, scores, step_idx, queries=dict.fromkeys(ACTIONS, "1 + 1"))
    rows = []
    for c in candidates:
        ids = chat.encode_text(TOKENIZER, f" {c['tool_name']}\nInput: 1 + 1")
        rows.append(c | {"policy": "nano", "thought_ids": [11, 12], "action_ids": [*ids, END]} | changes)
    return rows, judged


def learner(settings):
    return Learner(settings, identity="i", progress=progress, tell=print)


def inputs(steps, forks, reference=True):
    made = {
        "questions": questions_table(5),
        "steps": tables.from_rows("steps", steps),
        "candidates": tables.from_rows("candidates", [c for f in forks for c in f[0]]),
        "scores": tables.from_rows("scores", [s for f in forks for s in f[1]]),
    }
    if reference:
        reader = Reader.of(learner(SETTINGS), SETTINGS)
        states = tokens.states(made, reader, "nano") if _readable(made) else ()
        length = defaultdict(int, {(s.rollout_id, s.step_idx): len(s.prompt_ids) for s in states})
        rows = [
            {k: c[k] for k in ("rollout_id", "step_idx", "tool_name")}
            | {"logprobs": [-1.0] * len(c["action_ids"]), "prompt_tokens": length[c["rollout_id"], c["step_idx"]]}
            for f in forks
            for c in f[0]
        ]
        made["reference"] = tables.from_rows("reference", rows)
    return made


def _readable(made):
    ids = [i for ids in made["candidates"]["action_ids"].to_pylist() for i in ids or []]
    return set(made["candidates"]["policy"].to_pylist()) == {"nano"} and max(ids) < 1000 and 21 not in ids


def changed(**changes):
    return Train(**(SETTINGS.model_dump() | changes))


def credit(steps, forks, reference=True, **changes):
    """The rows of the credit table, without training."""
    settings = changed(**changes)
    found = crediting.credited(inputs(steps, forks, reference), settings, Reader.of(learner(settings), settings))
    return checks.check(crediting.credit_table(found), "credit", "made").to_pylist()


def run(tmp_path, steps, forks, **changes):
    settings = changed(**changes)
    made = STAGE.run(inputs(steps, forks), settings, Context(learner=lambda: learner(settings), scratch=tmp_path))
    checks.check(made["updates"], "updates", "made")
    return checks.check(made["credit"], "credit", "made").to_pylist(), made


# ---- what is trained on, and what it earns ---------------------------------------------------------------------------


def test_every_step_has_its_row_and_what_it_was_trained_on(tmp_path):
    forks = [fork("q1-s0", {"search": 7, "cot": 10}), fork("q2-s0", {"search": 6})]
    rows, made = run(tmp_path, [step("q1-s0", "search"), step("q2-s0", "search", is_correct=False)], forks)
    # quality 1 * 0.7; rarity 0.3 * 1 (nothing taken yet); correctness 0.3
    assert [(r["quality"], r["rarity"], r["correctness"]) for r in rows] == [
        pytest.approx((0.7, 0.3, 0.3)),
        pytest.approx((0.6, 0.3, 0.0)),
    ]
    assert [r["reward"] for r in rows] == [r["advantage"] for r in rows] == pytest.approx([1.3, 0.9])
    assert {r["trained_tokens"] for r in rows} == {len(forks[0][0][3]["action_ids"])}
    assert sorted(p.name for p in made["adapter"].iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "base.json",
        "trained_on.json",
    ]


def test_best_trains_on_the_highest_score_and_selected_on_what_was_taken():
    forks, taken = [fork("q1-s0", {"search": 7, "wikipedia": 9, "cot": 9})], [step("q1-s0", "search")]
    assert [r["tool_name"] for r in credit(taken, forks, action="selected")] == ["search"]
    (best,) = credit(taken, forks, action="best")
    assert best["tool_name"] == "wikipedia"
    assert best["correctness"] is None, "the rollout says nothing of what was not executed"


def test_supervised_fine_tuning_weighs_every_step_alike(tmp_path):
    forks = [fork("q1-s0", {"search": 7}), fork("q2-s0", {"search": 10})]
    rows, made = run(tmp_path, [step("q1-s0", "search"), step("q2-s0", "search")], forks, objective="sft")
    assert [(r["advantage"], r["reward"]) for r in rows] == [(1.0, None), (1.0, None)]
    assert made["updates"]["clip_frac"].null_count == 1
    assert made["updates"]["reward"].null_count == 1


def test_all_trains_on_every_judged_candidate_against_the_forks_mean():
    forks, taken = [fork("q1-s0", {"search": 8, "cot": 5, "wikipedia": 2})], [step("q1-s0", "search")]
    rows = credit(taken, forks, objective="expected", action="all", group="fork", min_score=0.0)
    found = {r["tool_name"]: r for r in rows}
    assert set(found) == set(ACTIONS)
    # Quality 0.8, 0.5, 0.2 and the same rarity: less their mean; the taken one's outcome of 0.3 comes on top.
    advantages = {t: found[t]["advantage"] for t in ("search", "cot", "wikipedia")}
    assert advantages == pytest.approx({"search": 0.3 + 0.3, "cot": 0.0, "wikipedia": -0.3})
    assert [found[t]["correctness"] for t in ("search", "cot")] == [pytest.approx(0.3), None]
    assert found["calculator"]["dropped_because"] == "not judged"


def test_the_reward_that_is_watched_is_that_of_the_credit_table():
    forks, taken = [fork("q1-s0", {"search": 7, "wikipedia": 9, "cot": 2})], [step("q1-s0", "search")]
    (tree,) = trees_of(taken, forks, action="all", group="fork", min_score=0)
    rows = credit(taken, forks, action="all", group="fork", min_score=0)
    rows = [row for row in rows if row["dropped_because"] is None]
    assert [a.reward for a in tree.actions] == [r["reward"] for r in rows] != [r["advantage"] for r in rows]


def test_the_selected_action_against_its_fork_by_hand():
    forks, taken = [fork("q1-s0", {"search": 8, "cot": 5, "wikipedia": 2})], [step("q1-s0", "search", is_correct=False)]
    (row,) = credit(taken, forks, group="fork", min_score=0.0)
    assert (row["advantage"], row["reward"]) == (pytest.approx(0.3), pytest.approx(1.1))
    (row,) = credit(taken, forks, group="fork", baseline="loo", min_score=0.0)
    assert row["advantage"] == pytest.approx(0.8 - 0.35)
    (row,) = credit(taken, forks, group="fork", scale="std", min_score=0.0)
    assert row["advantage"] == pytest.approx(0.3 / 0.06**0.5, rel=1e-4)  # deviations of 0.3, 0, -0.3
    (row,) = credit(taken, forks, group="fork", min_score=6.0)
    assert row["advantage"] == pytest.approx(0.3), "a candidate below min_score is not trained on, but compared with"


def test_rollouts_of_a_question_are_compared_step_by_step():
    forks = [fork(f"q1-s{i}", {"search": s}) for i, s in enumerate((6, 10))] + [fork("q2-s0", {"search": 7})]
    taken = [step("q1-s0", "search"), step("q1-s1", "search", is_correct=False), step("q2-s0", "search")]
    rows = credit(taken, forks, group="question", outcome_group="question")
    # Quality 0.6 and 1.0 around 0.8; correctness 0.3 and 0 around 0.15; the other question has one rollout.
    assert [r["advantage"] for r in rows] == pytest.approx([-0.2 + 0.15, 0.2 - 0.15, 0.0])
    with pytest.raises(SparkError, match=r'train\.spark: group "question" compares .* set synth\.samples to 2 or more'):
        credit(taken[:1] + taken[2:], [forks[0], forks[2]], group="question")


def several(rights):
    """Rollouts of question 1, with as many steps each and the outcome: ("q1-s0", 3, True)."""
    taken, forks = [], []
    for rollout, steps, right in rights:
        for i in range(1, steps + 1):
            forks.append(fork(rollout, {"search": 8}, step_idx=i))
            end = {"done": True, "is_correct": right} if i == steps else {"done": False, "is_correct": None}
            taken.append(step(rollout, "search", step_idx=i, **end))
    return taken, forks


@pytest.mark.parametrize("group", ["question", "batch"])
def test_an_outcome_is_compared_by_rollout_however_long_it_was(group):
    """A right rollout of four steps beside two wrong ones of one: a third of the rollouts is right, not four sixths."""
    given = several([("q1-s0", 4, True), ("q1-s1", 1, False), ("q1-s2", 1, False)])
    rows = credit(*given, outcome_group=group, quality=0.0, rarity=0.0, correctness=0.3)
    assert [r["advantage"] for r in rows] == pytest.approx([0.2] * 4 + [-0.1] * 2)


def test_two_rollouts_of_one_question_are_enough_at_any_depth():
    """Step by step the third step of the longer one would have nothing to be compared with."""
    rows = credit(
        *several([("q1-s0", 3, True), ("q1-s1", 1, False)]), outcome_group="question", quality=0.0, rarity=0.0
    )
    assert [r["advantage"] for r in rows] == pytest.approx([0.15] * 3 + [-0.15])


def test_scale_reaches_the_outcome():
    given = several([("q1-s0", 2, True), ("q1-s1", 1, False), ("q1-s2", 1, False)])
    rows = credit(*given, outcome_group="question", scale="std", quality=0.0, rarity=0.0, correctness=0.3)
    deviation = (0.3**2 * 2 / 9) ** 0.5  # of 0.3, 0, 0
    assert [r["advantage"] for r in rows] == pytest.approx([0.2 / deviation] * 2 + [-0.1 / deviation] * 2, rel=1e-4)


@given(st.lists(st.tuples(st.integers(1, 5), st.booleans()), min_size=2, max_size=5), st.sampled_from(["mean", "loo"]))
@hypothesis.settings(max_examples=15, deadline=None)
def test_over_the_rollouts_of_a_question_the_outcome_sums_to_zero(drawn, baseline):
    rights = [(f"q1-s{i}", steps, right) for i, (steps, right) in enumerate(drawn)]
    rows = credit(*several(rights), outcome_group="question", baseline=baseline, quality=0.0, rarity=0.0)
    of = {r["rollout_id"]: r["advantage"] for r in rows}
    assert [of[r["rollout_id"]] for r in rows] == [r["advantage"] for r in rows], "the same at each step"
    assert sum(of.values()) == pytest.approx(0, abs=1e-9)


def test_product_pays_only_right_rollouts():
    forks = [fork("q1-s0", {"search": 7}), fork("q2-s0", {"search": 10})]
    taken = [step("q1-s0", "search"), step("q2-s0", "search", is_correct=False)]
    rows = credit(taken, forks, combine="product", correctness=1.0)
    assert [r["advantage"] for r in rows] == pytest.approx([0.7 + 0.3, 0.0])
    assert [r["reward"] for r in rows] == pytest.approx([0.7 + 0.3, 0.0])


def outage(rollout, step_idx=2, **changes):
    """Where a failed call ended a rollout."""
    nothing = dict.fromkeys(("tool_name", "thought", "action_query", "observation"))
    return step(rollout, "search", step_idx=step_idx, is_correct=None, error="down") | nothing | changes


def three_rollouts():
    """One right, one wrong, one lost at its second step."""
    forks = [fork(f"q{i}-s0", {"search": 8}) for i in (1, 2, 3)]
    taken = [step("q1-s0", "search"), step("q2-s0", "search", is_correct=False)]
    lost = [step("q3-s0", "search", done=False, is_correct=None), outage("q3-s0")]
    return [*taken, *lost], [*forks, fork("q3-s0", {}, step_idx=2)]


def test_a_rollout_that_an_outage_ended_is_paid_for_quality_alone():
    right, wrong, lost, end = credit(*three_rollouts(), rarity=0.0)
    assert [row["correctness"] for row in (right, wrong, lost)] == [pytest.approx(0.3), 0.0, None]
    assert [row["reward"] for row in (right, wrong, lost)] == pytest.approx([1.1, 0.8, 0.8])
    assert (end["tool_name"], end["dropped_because"]) == (None, "down")


def test_what_is_not_known_to_be_right_is_no_part_of_what_outcomes_are_compared_with():
    right, wrong, lost, _ = credit(*three_rollouts(), rarity=0.0, outcome_group="batch", quality=0.0)
    # 0.3 and 0 around their mean 0.15, not around 0.1; the third is compared with nothing.
    assert [row["advantage"] for row in (right, wrong, lost)] == pytest.approx([0.15, -0.15, 0.0])


def test_a_product_with_an_unknown_outcome_is_dropped_not_nothing():
    right, wrong, lost, _ = credit(*three_rollouts(), rarity=0.0, combine="product", correctness=1.0, group="batch")
    # 0.8 and 0 around 0.4: a third of 0 would make it 0.27.
    assert [row["advantage"] for row in (right, wrong)] == pytest.approx([0.4, -0.4])
    assert (lost["advantage"], lost["dropped_because"]) == (None, "the outcome of its rollout is not known")


def test_what_is_imitated_needs_no_outcome():
    rows = credit(*three_rollouts(), objective="sft")
    assert [row["dropped_because"] for row in rows] == [None, None, None, "down"]


def test_with_a_critic_a_lost_rollout_is_dropped_whole():
    rows = credit(*three_rollouts(), critic="value", min_score=0.0)
    assert [row["dropped_because"] for row in rows] == [None, None, "another step of its rollout is dropped", "down"]


def test_a_nudge_moves_by_rarity_within_its_bound():
    forks, taken = [fork("q1-s0", {"search": 7})], [step("q1-s0", "search")]
    assert credit(taken, forks, nudge=0.1)[0]["advantage"] == pytest.approx(1.3 + 0.1)
    assert credit(taken, forks, nudge=5.0, nudge_cap=0.5)[0]["advantage"] == pytest.approx(1.3 * 1.5)


def two_steps():
    forks = [fork("q1-s0", {"search": 8}), fork("q1-s0", {"cot": 6}, step_idx=2)]
    return [step("q1-s0", "search", done=False, is_correct=None), step("q1-s0", "cot", step_idx=2)], forks


def test_the_last_step_is_trained_like_the_others():
    rows = credit(*two_steps())
    # Correctness is the rollout's: known at its end, it counts for both steps.
    assert [r["correctness"] for r in rows] == pytest.approx([0.3, 0.3])
    assert [r["advantage"] for r in rows] == pytest.approx([1.4, 1.2])


def test_with_a_critic_the_outcome_is_paid_at_the_end_and_carried_back():
    rows = credit(*two_steps(), critic="value", min_score=0.0, gamma=0.5, lam=0.5)
    # Step rewards 0.8 + 0.3 and 0.6 + 0.3 + 0.3; nothing is expected yet: 1.1 + 0.25 * 1.2
    assert [r["advantage"] for r in rows] == pytest.approx([1.1 + 0.25 * 1.2, 1.2])


def test_with_a_critic_a_rollout_counts_whole_or_not_at_all(tmp_path):
    taken, forks = two_steps()
    forks[1][1][8]["score"] = None
    whole = fork("q2-s0", {"search": 7})
    rows, made = run(tmp_path, [*taken, step("q2-s0", "search")], [*forks, whole], critic="value", min_score=0.0)
    assert [r["dropped_because"] for r in rows] == ["another step of its rollout is dropped", "not judged", None]
    assert (made["adapter"] / "critic" / "value_head.pt").exists()
    assert made["updates"]["value_loss"].null_count == 0


# ---- rarity ----------------------------------------------------------------------------------------------------------

POLICY = {"rarity_of": "policy", "rarity_baseline": "viable"}


def likely(fork, **shares):
    """The fork with what the policy finds likely: these names, and 0.01 each of the others."""
    for c in fork[0]:
        rest = [-0.1 * len(c["tool_name"])] * (
            len(c["action_ids"]) - 1
        )  # of the input: how likely that is is no matter
        c["action_logprobs"] = [math.log(shares.get(c["tool_name"], 0.01)), *rest]
    return fork


def choices(**changes):
    """A state with a choice of two tools, and one where only the answer would do."""
    forks = [
        likely(fork("q1-s0", {"search": 7, "wikipedia": 9, "cot": 2}), search=0.6, wikipedia=0.2, cot=0.14),
        likely(fork("q2-s0", {"cot": 10, "search": 5}), search=0.4, wikipedia=0.04, cot=0.5),
    ]
    return [step("q1-s0", "wikipedia", viable=2), step("q2-s0", "cot", viable=1)], forks


def rare(share):
    return -math.log(share) / (2 * math.log(9))


SHARES = {"search": 0.5, "wikipedia": 0.12, "cot": 0.32}
"""Means over the two states."""
EXPECTED = (0.6 * rare(SHARES["search"]) + 0.2 * rare(SHARES["wikipedia"])) / 0.8
"""Rarity of what the policy would take of the two viable tools."""


def test_rarity_is_the_policys_own_against_what_it_would_take_of_the_viable():
    rows = credit(*choices(), **POLICY, rarity=2.0)
    assert rows[0]["rarity"] == pytest.approx(2 * (rare(SHARES["wikipedia"]) - EXPECTED))
    assert rows[1]["rarity"] == 0.0, "the answer is common, and nothing else would do"
    (common, _) = credit([step("q1-s0", "search", viable=2), choices()[0][1]], choices()[1], **POLICY, rarity=2.0)
    assert common["rarity"] == pytest.approx(2 * (rare(SHARES["search"]) - EXPECTED))
    assert common["rarity"] < 0


def test_what_was_viable_is_what_select_found_viable():
    taken, forks = choices()
    taken[0]["viable"] = 1  # at a threshold of 9 or so
    assert [r["rarity"] for r in credit(taken, forks, **POLICY)] == [0.0, 0.0]
    taken[0] |= {"viable": 0, "rule": "none_viable:best"}
    assert [r["rarity"] for r in credit(taken, forks, **POLICY)] == [0.0, 0.0]
    taken[0]["viable"] = 3  # cot too, which the policy takes with 0.14 of 0.94
    (row, _) = credit(taken, forks, **POLICY, rarity=1.0)
    expected = (EXPECTED * 0.8 + 0.14 * rare(SHARES["cot"])) / 0.94
    assert row["rarity"] == pytest.approx(rare(SHARES["wikipedia"]) - expected)


def test_the_group_compares_quality_and_leaves_rarity_alone():
    rows = credit(*choices(), **POLICY, group="batch", rarity=1.0, correctness=0.25)
    term = rare(SHARES["wikipedia"]) - EXPECTED
    # Quality 0.9 and 1.0 around 0.95; a baseline for rarity too would take half of the term from the answer.
    assert [r["advantage"] for r in rows] == pytest.approx([-0.05 + term + 0.25, 0.05 + 0.25])
    assert [r["reward"] for r in rows] == pytest.approx([0.9 + term + 0.25, 1.0 + 0.25])
    without = credit(
        *choices(), rarity_of="policy", rarity_baseline="none", group="batch", rarity=1.0, correctness=0.25
    )
    half = (rare(SHARES["wikipedia"]) - rare(SHARES["cot"])) / 2
    assert [r["advantage"] for r in without] == pytest.approx([-0.05 + half + 0.25, 0.05 - half + 0.25])


def test_rarity_of_the_selection_can_be_compared_with_the_viable_too():
    taken, forks = choices()
    taken[0]["usage"] = [0, 0, 0, 8, 0, 0, 0, 0, 0]  # search, of 17 with one count each
    (row, _) = credit(taken, forks, rarity_of="selection", rarity_baseline="viable", rarity=1.0)
    of_search, of_wikipedia = math.log(17 / 9) / math.log(9), math.log(17) / math.log(9)
    assert row["rarity"] == pytest.approx(of_wikipedia - (0.6 * of_search + 0.2 * of_wikipedia) / 0.8)


def test_all_nine_have_their_rarity_and_what_is_not_viable_has_none():
    rows = credit(*choices(), **POLICY, objective="expected", action="all", group="fork", rarity=1.0, min_score=0)
    found = {r["tool_name"]: r["rarity"] for r in rows if r["rollout_id"] == "q1-s0" and r["reward"] is not None}
    expected = {"search": rare(SHARES["search"]) - EXPECTED, "wikipedia": rare(SHARES["wikipedia"]) - EXPECTED}
    assert found == pytest.approx(expected | {"cot": 0.0})


def test_a_right_rollout_earns_its_rarity_times_the_outcome():
    rows = credit(*choices(), **POLICY, combine="product", rarity=1.0, correctness=0.5)
    term = rare(SHARES["wikipedia"]) - EXPECTED
    assert [r["advantage"] for r in rows] == pytest.approx([(0.9 + term) * 0.5, 1.0 * 0.5])


def test_rarity_with_its_baseline_is_added_to_the_critic_s_estimate_and_is_no_return():
    trees = trees_of(*choices(), **POLICY, critic="value", rarity=1.0, min_score=0)
    term = rare(SHARES["wikipedia"]) - EXPECTED
    assert [t.forks[0].reward for t in trees] == pytest.approx([0.9 + 0.3, 1.0 + 0.3])
    assert [t.forks[0].actions[0].advantage for t in trees] == pytest.approx([term, 0.0])
    rows = credit(*choices(), **POLICY, critic="value", rarity=1.0, min_score=0)
    assert [row["advantage"] for row in rows] == pytest.approx([0.9 + 0.3 + term, 1.0 + 0.3])


def test_rarity_without_a_baseline_is_left_to_the_critic():
    trees = trees_of(*choices(), **POLICY | {"rarity_baseline": "none"}, critic="value", rarity=1.0, min_score=0)
    assert [t.forks[0].actions[0].advantage for t in trees] == [0.0, 0.0]
    assert trees[0].forks[0].reward == pytest.approx(0.9 + rare(SHARES["wikipedia"]) + 0.3)


def test_a_table_that_does_not_say_how_likely_names_are_is_refused_where_it_matters():
    taken, forks = [step("q1-s0", "search")], [fork("q1-s0", {"search": 9})]
    with pytest.raises(
        SparkError, match=r'no action_logprobs of q1-s0, step 1, calculator, .* rarity_of = "selection"'
    ):
        credit(taken, forks, **POLICY)
    for changes in ({"rarity": 0.0}, {"objective": "sft"}):
        assert len(credit(taken, forks, **POLICY, **changes)) == 1


def test_the_spread_of_a_term_is_what_its_baseline_leaves():
    def spreads(**changes):
        settings = changed(**changes)
        reader = Reader.of(learner(settings), settings)
        found = crediting.credited(inputs(*choices()), settings, reader)
        return crediting.spreads(found, settings)

    term = rare(SHARES["wikipedia"]) - EXPECTED
    # Two values each: half of their difference. Quality 0.9 and 1.0, rarity and 0, correctness twice 0.3.
    found = spreads(**POLICY, rarity=1.0, group="batch")
    assert found == pytest.approx({"quality": 0.05, "rarity": term / 2, "correctness": 0.0})
    # Within their forks: 0.9 less the mean of 0.7, 0.9, 0.2; 1.0 less that of 1.0, 0.5.
    found = spreads(**POLICY, group="fork")
    assert found["quality"] == pytest.approx((0.9 - 0.6 - 0.25) / 2)
    assert spreads(objective="sft") == {}


def test_a_weighted_term_that_does_not_act_is_said_in_training(tmp_path):
    settings, said = changed(**POLICY, rarity=0.1, quality=0.0), []
    context = Context(learner=lambda: learner(settings), scratch=tmp_path, warn=said.append)
    STAGE.run(inputs(*choices()), settings, context)
    assert [line.split(":")[0] for line in said] == ["rarity = 0.1 is not acting", "correctness = 0.3 is not acting"]
    assert "differs by 0.012 among the trained actions (standard deviation; under 0.05)" in said[0]


# ---- what is dropped, and what stops ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("taken", "judged", "candidate", "why"),
    [
        ("search", {"search": 5.9}, {}, "score below min_score"),
        ("search", {}, {}, "not judged"),
        (None, {}, {}, "no candidate has a score"),
        ("search", {"search": 9}, {"error": "too long"}, "the candidate failed"),
        ("search", {"search": 9}, {"finish": "length"}, "cut at its token limit"),
        ("search", {"search": 9}, {"action_ids": [5] * 2100}, "longer than the model's context of 2048 tokens"),
    ],
)
def test_what_is_not_trained_on_says_why(taken, judged, candidate, why):
    good, odd = fork("q1-s0", {"search": 9}), fork("q2-s0", judged, **candidate)
    if "action_ids" in candidate:  # past the states that are read back as text
        good[0][:] = [c for f in [good, *(fork(f"q3-s{i}", {}) for i in range(9))] for c in f[0]]
    rows = credit([step("q1-s0", "search"), step("q2-s0", taken, error=None)], [good, odd])
    assert [r["dropped_because"] for r in rows] == [None, why]
    assert (rows[1]["reward"], rows[1]["trained_tokens"]) == (None, 0)


def test_what_was_cut_at_its_limit_is_trained_on_if_asked():
    (row,) = credit([step("q1-s0", "search")], [fork("q1-s0", {"search": 9}, finish="length")], truncated="train")
    assert row["dropped_because"] is None
    assert row["trained_tokens"] > 0


def test_one_judged_candidate_has_nothing_to_be_compared_with():
    rows = credit(
        [step("q1-s0", "search")], [fork("q1-s0", {"search": 9})], objective="expected", action="all", min_score=0.0
    )
    assert {r["dropped_because"] for r in rows} == {"not judged", "no other candidate to compare with"}


@pytest.mark.parametrize(
    ("scores", "changes", "why"),
    [
        ({"search": 2}, {}, r"\(1 actions; dropped: 1 score below min_score\)"),
        ({}, {}, r"\(1 actions; dropped: 1 not judged\)"),
        ({"search": 9}, {"group": "batch", "correctness": 0.0}, r"\(1 actions; dropped: none\)"),
    ],
)
def test_no_signal_stops_with_the_reasons(tmp_path, scores, changes, why):
    with pytest.raises(SparkError, match=rf"train\.spark: no step carries signal {why}; .*--audit"):
        run(tmp_path, [step("q1-s0", "search")], [fork("q1-s0", scores)], **changes)


def test_what_is_dropped_counts_in_no_baseline():
    """A state with one judged candidate is dropped; the others' outcome is compared among themselves only."""
    forks = [
        fork("q1-s0", {"search": 6, "cot": 6}),
        fork("q2-s0", {"search": 0}),
        fork("q3-s0", {"search": 6, "cot": 6}),
    ]
    taken = [step(f"q{i}-s0", "search", is_correct=i != 3) for i in (1, 2, 3)]
    changes = {"objective": "expected", "action": "all", "group": "fork", "outcome_group": "batch", "min_score": 0.0}
    found = {(r["rollout_id"], r["tool_name"]): r["advantage"] for r in credit(taken, forks, **changes)}
    assert (found["q1-s0", "search"], found["q3-s0", "search"]) == pytest.approx((0.15, -0.15))
    assert found["q2-s0", "search"] is None


def test_a_state_whose_earlier_steps_are_not_there_is_refused():
    taken, forks = two_steps()
    settings = changed()
    given = inputs(taken, forks)
    given["steps"] = tables.from_rows("steps", taken[1:])
    with pytest.raises(
        SparkError, match="steps: no row for q1-s0, step 1, which its step 2 follows; give the steps of"
    ):
        crediting.credited(given, settings, Reader.of(learner(settings), settings))


def test_a_reference_of_other_prompts_is_refused():
    given = inputs([step("q1-s0", "search")], [fork("q1-s0", {"search": 9})])
    at = given["reference"].column_names.index("prompt_tokens")
    given["reference"] = given["reference"].set_column(at, "prompt_tokens", pa.array([5] * 9))
    settings = changed()
    with pytest.raises(
        SparkError, match="reference: no log-probs of the 8 tokens of q1-s0, step 1, search, after their"
    ):
        crediting.credited(given, settings, Reader.of(learner(settings), settings))


def test_a_missing_candidate_is_named():
    with pytest.raises(SparkError, match="candidates: no row for q2-s0, step 1, search"):
        credit([step("q1-s0", "search"), step("q2-s0", "search")], [fork("q1-s0", {"search": 9})])


def test_a_reference_of_other_candidates_is_refused():
    given = inputs([step("q1-s0", "search")], [fork("q1-s0", {"search": 9})])
    given["reference"] = given["reference"].slice(0, 2)
    settings = changed()
    with pytest.raises(
        SparkError, match="reference: no log-probs of the 8 tokens of q1-s0, step 1, search, after their prompt; give"
    ):
        crediting.credited(given, settings, Reader.of(learner(settings), settings))


def test_an_audit_needs_no_reference():
    given = [step("q1-s0", "search")], [fork("q1-s0", {"search": 9})]
    assert credit(*given, reference=False) == credit(*given)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"objective": "sft", "action": "all"}, 'objective = "sft" imitates one action, action = "all" has nine'),
        ({"objective": "expected"}, 'objective = "expected" sums over the fork; set action = "all"'),
        ({"action": "all"}, 'action = "all" compares with low scores; set min_score = 0'),
        ({"objective": "sft", "critic": "value"}, 'critic = "value" needs objective = "ppo"'),
        ({"ratio": "sequence", "action": "best"}, 'ratio = "sequence" needs action = "selected"'),
        (
            {"combine": "product", "outcome_group": "batch"},
            'combine = "product" makes one reward, compared within group',
        ),
        ({"combine": "product", "group": "fork"}, 'combine = "product" needs correctness, which only the executed'),
        ({"kl_form": "fork"}, 'kl_form = "fork" needs action = "all"'),
        ({"quality": 0.0, "rarity": 0.0, "correctness": 0.0}, "quality, rarity and correctness are all 0, so that"),
        ({"combine": "product", "correctness": 0.0}, 'combine = "product" multiplies by correctness, which is 0'),
        ({"nudge": 0.1, "nudge_cap": 0.0}, "nudge_cap = 0 lets no advantage be nudged"),
        (
            {"critic": "value", "min_score": 0.0, "nudge": 0.1},
            'critic = "value" makes its own advantages; set nudge = 0',
        ),
        (
            {"critic": "value", "min_score": 0.0, "combine": "product"},
            'critic = "value" adds up the terms; set combine',
        ),
        ({"critic": "value", "group": "fork"}, 'critic = "value" is the baseline; set group and outcome_group'),
        ({"critic": "value"}, 'critic = "value" needs every step of a rollout; set min_score = 0'),
        ({"critic": "value", "action": "best"}, 'critic = "value" follows the executed steps; set action = "selected"'),
    ],
)
def test_parts_that_contradict_each_other_are_refused(changes, why):
    values = COMMON | {"min_score": 6.0} | changes
    with pytest.raises(SparkError) as fault:
        checked(Train, values, "train")
    assert str(fault.value).startswith(f"train: {why}")


# ---- tokens ----------------------------------------------------------------------------------------------------------


def trees_of(steps, forks, **changes):
    settings = changed(**changes)
    reader = Reader.of(learner(settings), settings)
    return train.trees(crediting.credited(inputs(steps, forks), settings, reader), settings, reader)


def test_the_tokens_are_those_that_synth_put_to_the_policy():
    (tree,) = trees_of([step("q1-s0", "search")], [fork("q1-s0", {"search": 9})])
    (made,) = tree.forks
    text = TOKENIZER.decode(list(made.prompt_ids))
    assert text.startswith("<|user|>Question: what is 1 + 1?\nOptions:\nA. 2\nB. 1")
    assert TOKENIZER.decode(made.actions[0].ids) == " search\nInput: 1 + 1<|end|>"
    opening = chat.thought_prefix(TOKENIZER)
    tail = [*opening, 11, 12, *chat.action_prefix(TOKENIZER, [11, 12], "t")]
    assert TOKENIZER.decode(opening) == THOUGHT
    assert list(made.prompt_ids)[-len(tail) :] == tail
    assert made.actions[0].start == [-1.0] * 8


def test_a_rollouts_steps_make_one_tree_and_its_trunk_is_shared():
    (tree,) = trees_of(*two_steps())
    assert [f.label for f in tree.forks] == [1, 2]
    first, second = (list(f.prompt_ids) for f in tree.forks)
    assert len(tree.layout.ids) < tree.row_tokens, "the question is stored once"
    assert first[:20] == second[:20]
    names = distinguishing([chat.encode_text(TOKENIZER, f" {a}\nInput:") for a in ACTIONS])
    assert [list(n) for n in tree.names] == names


def test_the_tokens_of_another_policy_are_refused():
    with pytest.raises(SparkError, match="candidates: written by policy 'llama', whose tokens are not those of 'nano'"):
        credit([step("q1-s0", "search")], [fork("q1-s0", {"search": 9}, policy="llama")])


def test_a_query_that_was_sampled_without_a_space_is_its_own():
    """`synth` forces "Input:" and keeps the query without the space around it."""
    candidates, judged = fork("q1-s0", {"search": 9})
    for c in candidates:
        c["action_ids"] = [*chat.encode_text(TOKENIZER, f" {c['tool_name']}\nInput:1 + 1"), END]
    assert [r["advantage"] for r in credit([step("q1-s0", "search")], [(candidates, judged)])] == [pytest.approx(1.5)]


@pytest.mark.parametrize(
    ("ids", "why"),
    [
        (
            [10**6],
            r"column 'action_ids' holds token ids outside the vocabulary of 'nano' \(0 to \d+\); run synth again",
        ),
        (
            [20, 21],
            "the token ids of q1-s0, step 1, calculator read '.*' with the tokenizer of 'nano', not what its text",
        ),
    ],
)
def test_the_tokens_of_another_tokenizer_are_refused(ids, why):
    with pytest.raises(SparkError, match=f"candidates: {why}"):
        credit([step("q1-s0", "search")], [fork("q1-s0", {"search": 9}, action_ids=ids)])


# ---- keys ------------------------------------------------------------------------------------------------------------


ALWAYS = {"critic", "critic_lr", "gamma", "lam"}
"""Left out of the key where there is no critic; and so on."""
NUDGE, TAU, COMPARED = {"nudge", "nudge_cap"}, {"tau_pos", "tau_neg"}, {"baseline", "scale"}
RATIO = {"ratio", "gate", "clip", "clip_high", "dual_clip"} | TAU
IMITATED = ALWAYS | NUDGE | COMPARED | RATIO | {"quality", "rarity", "correctness", "combine", "group", "outcome_group"}
IMITATED |= {"kl", "kl_form", "llds"}


@pytest.mark.parametrize(
    ("changes", "left_out"),
    [
        ({"objective": "sft"}, IMITATED),
        ({}, ALWAYS | NUDGE | TAU | COMPARED),
        ({"kl": 0.0}, ALWAYS | NUDGE | TAU | COMPARED | {"kl", "kl_form"}),
        ({"nudge": 0.1}, ALWAYS | TAU | COMPARED),
        ({"gate": "soft"}, ALWAYS | NUDGE | COMPARED),
        ({"group": "batch"}, ALWAYS | NUDGE | TAU),
        ({"outcome_group": "batch"}, ALWAYS | NUDGE | TAU | {"scale"}),
        ({"outcome_group": "batch", "scale": "std"}, ALWAYS | NUDGE | TAU),
        ({"group": "fork", "outcome_group": "batch"}, ALWAYS | NUDGE | TAU),
        ({"critic": "value"}, NUDGE | TAU | COMPARED),
        ({"objective": "expected", "action": "all", "group": "fork"}, ALWAYS | NUDGE | RATIO),
        ({"correctness": 0.0}, ALWAYS | NUDGE | TAU | COMPARED),
        ({"correctness": 0.0, "outcome_group": "batch"}, ALWAYS | NUDGE | TAU | {"scale"}),
        ({"combine": "product"}, ALWAYS | NUDGE | TAU | COMPARED),
    ],
)
def test_what_the_key_leaves_out_is_what_it_always_left_out(changes, left_out):
    """Written down from the code as it was before there was a table of it: old runs stay valid. (`scale` beside an
    outcome_group alone could not be set then.)"""
    plain = {"group": "none", "outcome_group": "none", "min_score": 0.0}
    made = changed(**plain | changes)
    before = COMMON.keys() | left_out | TRAIN_BEFORE
    assert made.identity().keys() & before == before - left_out


TRAIN_BEFORE = {"name", "policy", "dtype", "quantise", "prompt", "descriptions", "objective", "action", "min_score"}
TRAIN_BEFORE |= IMITATED | {"epochs", "batch_size", "lr", "warmup", "max_grad_norm", "lora_r", "lora_alpha"}
TRAIN_BEFORE |= {"lora_targets", "seed"}


OTHER = {"baseline": "loo", "scale": "std", "outcome_group": "batch", "nudge_cap": 0.1, "gamma": 0.5, "lam": 0.5}
OTHER |= {"critic_lr": 1.0, "kl_form": "k1", "tau_pos": 2.0, "tau_neg": 2.0, "clip": 0.1, "clip_high": 0.5}
OTHER |= {"dual_clip": 3.0, "ratio": "token", "gate": "soft", "quality": 3.0, "rarity": 3.0, "correctness": 3.0}
OTHER |= {"rarity_of": "selection", "rarity_baseline": "none"}
OTHER |= {"group": "batch", "nudge": 0.2, "kl": 0.9, "llds": 0.9, "combine": "product"}


@pytest.mark.parametrize(
    "values",
    [
        {"objective": "sft"},
        {"objective": "ppo"},
        {"objective": "ppo", "kl": 0.0, "group": "batch"},
        {"objective": "ppo", "correctness": 0.0},
        {"objective": "ppo", "gate": "soft"},
        {"objective": "expected", "action": "all", "min_score": 0.0},
    ],
)
def test_what_is_said_to_do_nothing_does_nothing(values):
    """In another value it changes no advantage and, where it is not kept for old runs, no key."""
    given = several([("q1-s0", 2, True), ("q2-s0", 1, False), ("q3-s0", 1, True)])
    for judged in given[1]:
        judged[1][8]["score"] = 6.0  # cot's: all states have two that can be compared
    plain = {"group": "none", "outcome_group": "none"} | values
    settings, before = changed(**plain), credit(*given, **plain)
    for use in settings.idle():
        for name in use.names:
            other = plain | {name: OTHER.get(name, "off")}
            if use.why:  # what has none switches its part on and off
                assert credit(*given, **other) == before, name
                assert use.keyed or changed(**other).identity() == settings.identity(), name


def test_knobs_and_what_acts():
    assert changed().identity() == changed(packing="rows", micro_batch_tokens=1, processes=2, warn_kl=9.0).identity()
    assert changed(kl=0.3).identity() != changed().identity()
    with_critic = {"critic": "value", "min_score": 0.0, "group": "none", "outcome_group": "none"}
    assert changed(**with_critic, gamma=0.5).identity() != changed(**with_critic).identity()


def test_reference_and_train_share_the_precision():
    assert Reference(**COMMON, quantise="nf4").identity() != Reference(**COMMON).identity()
    assert Reference(**COMMON, packing="rows").identity() == Reference(**COMMON).identity()


def test_what_rarity_is_counted_against_decides_only_where_rarity_acts():
    other = {"rarity_of": "selection", "rarity_baseline": "none"}
    plain = {"rarity_of": "policy", "rarity_baseline": "viable"}
    for values in ({"objective": "sft"}, {"objective": "ppo", "rarity": 0.0}):
        assert changed(**values, **plain).identity() == changed(**values, **other).identity()
    for values in ({"objective": "ppo"}, {"rarity": 0.0, "nudge": 0.1}):
        assert changed(**values, **plain).identity() != changed(**values, **other).identity()
