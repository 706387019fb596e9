"""What must hold of recipes: each that is checked in loads in every profile; overrides are applied and checked."""

import re
from pathlib import Path

import pytest

from helpers.tables_and_fakes import ROOT
from sparkctl.config import recipe
from sparkctl.errors import SparkError
from sparkctl.pipeline import plan
from sparkctl.pipeline.graph import refuse_missing

STAGES = ROOT / "stages"


def load(*overrides, profile="nano"):
    return recipe.load(STAGES, profile, overrides)


@pytest.mark.parametrize("profile", ["nano", "paper"])
def test_every_recipe_gives_a_graph(profile, tmp_path, monkeypatch):
    (tmp_path / "mmlu_pro").mkdir()
    (tmp_path / "mmlu_pro" / "test.parquet").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    graph = plan.nodes(load(profile=profile))
    assert [n.name for n in graph][:5] == ["questions", "eval_questions", "synth.1", "judge.1", "select.1"]
    assert sum(n.stage.name == "synth" for n in graph) == 5
    assert [n.name for n in graph if n.stage.name == "eval"] == [
        f"eval.{p}" for p in ("base", "sft_best", "sft_selected", "spark")
    ]


def test_the_paper_profile_changes_only_what_it_says():
    nano, paper = load(), load(profile="paper")
    assert paper["judge"]["model"] == "gpt-4o"
    assert paper["select"] == nano["select"] | {"viable": "above"}
    assert paper["synth"]["limit"] == 2500
    assert paper["synth"]["steps"] == nano["synth"]["steps"] == 5


def test_an_override_is_a_toml_value_or_plain_text():
    values = load("train.kl=0.1", "judge.model=gpt-4o-mini", "eval.policies=['base']", "select.cot_competes=false")
    assert values["train"]["kl"] == 0.1
    assert values["judge"]["model"] == "gpt-4o-mini"
    assert values["eval"]["policies"] == ["base"]
    assert values["select"]["cot_competes"] is False


def test_an_override_reaches_into_a_variant():
    graph = plan.nodes(load("train.variant.spark.clip=0.3"))
    clips = {n.name: n.settings.clip for n in graph if n.stage.name == "train"}
    assert clips == {"train.sft_best": 0.2, "train.sft_selected": 0.2, "train.spark": 0.3}


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("train.kll=1", "train.kll: unknown setting; did you mean 'kl'?"),
        ("trian.kl=1", "unknown section 'trian'; did you mean 'train'?"),
        ("train.kl", "write SECTION.NAME=VALUE"),
        ("train.kl=much", "train.kl: Input should be a valid number, got 'much'"),
        ("train.epochs=2.5", "train.epochs: Input should be a valid integer"),
        ("judge.votes.x=1", "'votes' is a value"),
        ("select.rule=rarest", "select.rule: Input should be"),
        ("eval.policies=['bse']", "eval.policies: unknown policy 'bse'; did you mean 'base'?"),
        (
            "eval.policies=['bse']",
            "There are: base, sft_best, sft_selected, spark, expected; or give an adapter's folder",
        ),
        ("eval.policies=3", "eval.policies: must be a list"),
        ("eval.shots=-1", "eval.shots: Input should be greater than or equal to 0"),
        ("eval.shots=5", "eval: shots needs shots_from"),
        ("synth.steps=0", "synth.steps: must be a whole number from 1"),
        ("synth.questions=nowhere.parquet", "synth.questions: no file 'nowhere.parquet'"),
        ("tools.descriptions.hammer=hits", "tools.descriptions: 'hammer' is no action"),
        ("synth.categories=3", "synth.categories: must be 'all' or a list of names"),
        ("train.variant=3", "train.variant: must hold sections"),
        ("train.variant.spark.quantise=nf4", "train.variant.spark.quantise: cannot be set here; it comes from train."),
        ("train.variant.spark.dtype=bfloat16", "train.variant.spark.dtype: cannot be set here; it comes from synth."),
        ("train.kl=nan", "train.kl: Input should be a finite number"),
        ("judge.votes=0", "judge.votes: Input should be greater than or equal to 1"),
        ("select.temperature=0", "select.temperature: Input should be greater than 0"),
        ("synth.limit=-1", "synth.limit: Input should be greater than or equal to 1"),
        ("tools.hitz=2", "tools.hitz: unknown setting; did you mean 'hits'?"),
        ("select.tools.hits=2", "select.tools: cannot be set here; it comes from tools.toml"),
        ("eval.steps=3", "eval.steps: cannot be set here; it comes from synth.steps"),
    ],
)
def test_a_wrong_override_is_named(override, says):
    with pytest.raises(SparkError) as fault:
        refuse_missing(plan.nodes(load(override)))
    assert says in str(fault.value)


def test_an_unknown_profile_lists_the_known():
    with pytest.raises(SparkError, match="there are: nano, paper"):
        load(profile="big")


def test_broken_toml_is_named(tmp_path):
    for path in STAGES.glob("*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "judge.toml").write_text("model = ")
    with pytest.raises(SparkError, match=r"judge\.toml: not valid TOML"):
        recipe.load(tmp_path)
    with pytest.raises(SparkError, match=r"synth\.toml: cannot be read"):
        recipe.load(tmp_path / "nowhere")


def test_a_prompts_bytes_decide_the_key():
    changed = load()
    changed["judge"]["prompt"] += " "
    nodes = [next(n for n in plan.nodes(r) if n.name == "judge.1") for r in (load(), changed)]
    assert nodes[0].settings.identity() != nodes[1].settings.identity()


def test_knobs_do_not_decide_the_key():
    plain = next(n for n in plan.nodes(load()) if n.name == "synth.1")
    tuned = next(n for n in plan.nodes(load("synth.batch_size=3", "synth.device=cpu")) if n.name == "synth.1")
    assert plain.settings.identity() == tuned.settings.identity()
    assert tuned.settings.batch_size == 3


def test_no_key_stands_in_a_recipe():
    for path in Path(STAGES).glob("*"):
        assert not re.search(r"(sk-|api_key\s*=)", path.read_text())


def test_what_the_embedded_judge_runs_decides_its_key():
    judges = [next(n for n in plan.nodes(load(*o)) if n.name == "judge.1") for o in ((), ("tools.hits=3",))]
    assert judges[0].identities != judges[1].identities
