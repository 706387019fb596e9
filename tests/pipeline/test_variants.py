"""What must hold of [train] beside its variants: what `--set` writes is heard by one of them, or refused by name."""

import pytest

from sparkctl.config.recipe import default_folder, load
from sparkctl.errors import SparkError
from sparkctl.pipeline import plan


def graph(*overrides, profile="nano"):
    return {node.name: node for node in plan.nodes(load(default_folder(), profile, overrides))}


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["train.action=best"], "train.action: every variant compared has its own (sft_best: best, sft_selected: selected"),
        (["train.action=best"], "write --set train.variant.spark.action=best"),
        (["train.objective=expected"], "train.objective: every variant compared has its own"),
        (["eval.policies=['base','expected']", "train.group=batch", "train.group=question"], "train.group: every variant"),
        (["eval.policies=['base','sft_best']", "train.kl=0.3"], 'train.kl: does nothing beside objective = "sft"'),
        (["train.gamma=0.5"], 'train.gamma: does nothing without critic = "value"'),
        (["train.variant.spark.lam=0.5"], 'train.variant.spark.lam: does nothing without critic = "value"'),
        (["train.variant.spark.nudge_cap=0.1"], "train.variant.spark.nudge_cap: does nothing with nudge = 0"),
        (["train.variant.spark.tau_pos=2.0"], 'train.variant.spark.tau_pos: does nothing without gate = "soft"'),
        (["train.variant.spark.kl=0", "train.variant.spark.kl_form=k1"], "kl_form: does nothing with kl = 0"),
        (["train.variant.sft_best.rarity=1.0"], 'train.variant.sft_best.rarity: does nothing beside objective = "sft"'),
        (["train.variant.spark.group=none", "train.variant.spark.scale=std"], "scale: does nothing without a group"),
        (["train.variant.sprak.kl=0.1"], "train.variant.sprak: no policy in eval.policies has this name; did you mean"),
        (["train.variant.spark.critic=value"], 'critic = "value" is the baseline; set group and outcome_group to "none"'),
        (["select.temperature=0.5"], 'select.temperature: does nothing without rule = "softmax"'),
        (["eval.shots_from=x.parquet"], "eval.shots_from: does nothing"),
        (["tools.wikipedia.url=https://x/"], 'tools.wikipedia.url: does nothing without backend = "live"'),
        (["judge.votes=3"], 'judge.votes: does nothing beside model = "nano/rubric"'),
        (["synth.vllm.max_model_len=2048"], 'synth.vllm: does nothing without engine = "vllm"'),
    ],
)  # fmt: skip
def test_what_nobody_hears_is_refused_with_what_shadows_it(overrides, says):
    with pytest.raises(SparkError) as fault:
        graph(*overrides)
    assert says in str(fault.value)
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["train.gamma=1.0", "train.group=batch", "select.temperature=1.0"],  # what it is already
        ["train.kl=0.1"],  # spark hears it
        ["train.variant.spark.action=selected"],
        ["train.variant.spark.rarity=0"],
        ["train.variant.spark.rarity=1.0"],
        ["train.variant.spark.critic=value", "train.variant.spark.group=none", "train.variant.spark.gamma=0.9"],
        [
            "train.variant.spark.group=none"
        ],  # then nobody hears the file's own group, which is no slip of who typed this
        ["eval.policies=['base','sft_best']", "train.action=best"],  # it has its own, which says the same
        ["eval.policies=['base']"],
    ],
)
def test_what_somebody_hears_is_not(overrides):
    graph(*overrides)


def test_it_is_the_variant_s_own_value_that_is_trained_with():
    made = graph("train.kl=0.4", "train.variant.spark.rarity=0.7")
    assert (made["train.spark"].settings.kl, made["train.spark"].settings.rarity) == (0.4, 0.7)


@pytest.mark.parametrize(("profile", "rule"), [("paper", "rarest_viable"), ("paper_lowest", "lowest_viable")])
def test_the_paper_s_two_sentences_on_selection_are_two_profiles(profile, rule):
    """What its abstract and its model card say, and that evaluation reads the model as training does: in 4 bits."""
    made = graph(profile=profile)
    spark, select, answers = made["train.spark"].settings, made["select.1"].settings, made["eval.spark"].settings
    assert (spark.quantise, spark.critic, spark.objective, spark.group) == ("nf4", "value", "ppo", "none")
    assert (select.rule, select.threshold, select.viable) == (rule, 6.0, "above")
    assert made["train.sft_best"].settings.critic == "none"
    assert answers.quantise == "nf4" or answers.any_precision
    assert made["judge.1"].settings.model == "gpt-4o"
    assert made["questions"].settings.limit == 2500
