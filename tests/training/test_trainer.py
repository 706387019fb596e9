"""What must hold of training, on a random tiny Llama: the invariants that a wrong loss or a wrong resume would break."""

import math
import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, OPTConfig, OPTForCausalLM

from helpers.tables_and_fakes import ROOT
from helpers.tiny_models import NAMES, plain_model, rollouts, settings, started
from sparkctl.errors import SparkError
from sparkctl.training import checkpoints, forward, lora, trainer
from sparkctl.training.packing import pack_rows, pack_tree
from sparkctl.training.trainer import Job, fit


def training(trees, model=None, tmp_path=Path("unused"), **changes):
    """A training whose adapter has been moved away from the start, unless the model is given."""
    made = trainer._Training(model or plain_model(), Job(trees, settings(**changes), tmp_path), print)
    if model is None:
        with torch.no_grad():
            draw = torch.Generator().manual_seed(0)
            for weight in made.actor + made.critic:
                weight.add_(0.05 * torch.randn(weight.shape, generator=draw))
    return made


def gradients(trees, model=None, **changes):
    made = training(trees, model, **changes)
    row = made.accumulate(trees)
    return [w.grad.clone() for w in made.actor + made.critic], row


def same(one, two, atol=1e-6):
    for a, b in zip(one, two, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=atol)


# ---- the objective in the loop ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["token", "action", "sequence"])
@pytest.mark.parametrize("packing", ["tree", "rows"])
def test_the_ratio_is_one_at_the_first_update(level, packing):
    """Old log-probs come from another packing: rounding apart, nothing has moved."""
    trees = started(plain_model(), rollouts(3, 2))
    _, row = gradients(trees, plain_model(), ratio=level, clip=1e-5, packing=packing)
    assert row["clip_frac"] == 0.0
    assert row["approx_kl"] == pytest.approx(0.0, abs=1e-9)
    assert row["policy_loss"] == pytest.approx(-1.0, abs=1e-6)


def test_the_ratio_is_exactly_one_where_the_packing_is_the_same():
    model, trees = plain_model(), rollouts(2, 3)
    with torch.no_grad():
        old = forward.score(model, pack_tree(trees)).logprobs
    fresh = lora.with_lora(model, settings())
    now = forward.score(fresh, pack_tree(trees)).logprobs
    assert torch.equal(now, old)


def test_at_the_start_the_gradient_is_that_of_supervised_fine_tuning():
    """At ratio 1 the gradient of r A is A times that of the log-prob; so with A = 1 both objectives agree."""
    trees = started(plain_model(), rollouts(3))
    same(gradients(trees, plain_model())[0], gradients(trees, plain_model(), objective="sft")[0])


@pytest.mark.parametrize("packing", ["tree", "rows"])
@pytest.mark.parametrize("changes", [{}, {"gate": "soft"}, {"objective": "expected", "action": "all"}])
def test_advantage_zero_gives_zero_gradient(changes, packing):
    made, _ = gradients(rollouts(3, 2, advantage=0.0), packing=packing, **changes)
    assert all(float(g.abs().max()) == 0.0 for g in made)


def test_the_last_step_of_a_rollout_is_trained_like_the_others():
    """Leaving out any one step changes the gradient; the gradients of the single steps add up to the whole."""
    trees = started(plain_model(), rollouts(1, 1, steps=3))
    whole, _ = gradients(trees)
    parts = [gradients([part])[0] for part in trees[0].split()]
    assert all(any(float(g.abs().max()) > 1e-4 for g in part) for part in parts)
    same(whole, [sum(of) / 3 for of in zip(*parts, strict=True)])


def test_kl_alone_pulls_back_to_the_start():
    trees = started(plain_model(), rollouts(3, 2, advantage=0.0))
    made = training(trees, kl=1.0)
    before = made.accumulate(trees)["approx_kl"]
    assert before > 0.001
    optimiser = torch.optim.Adam(made.actor, lr=5e-3)
    for _ in range(30):
        optimiser.step()
        optimiser.zero_grad()
        after = made.accumulate(trees)["approx_kl"]
    assert after < before / 2


@pytest.mark.parametrize(
    "changes",
    [
        {"objective": "sft"},
        {"kl": 0.1, "llds": 0.1},
        {"ratio": "sequence"},
        {"critic": "value"},
        {"objective": "expected", "action": "all", "kl": 0.1, "kl_form": "fork"},
    ],
)
@pytest.mark.parametrize("packing", ["tree", "rows"])
def test_eight_times_one_equals_one_times_eight(changes, packing):
    """However few tokens go through at once, and in which order, the gradient and the figures are the same."""
    trees = rollouts(8, 2 if changes.get("action") == "all" else 1)
    one, row = gradients(trees, packing=packing, micro_batch_tokens=1, **changes)
    all_, whole = gradients(trees, packing=packing, micro_batch_tokens=100_000, **changes)
    turned, _ = gradients(trees[::-1], packing=packing, micro_batch_tokens=60, **changes)
    same(one, all_)
    same(turned, all_)
    assert row == pytest.approx(whole, rel=1e-4, abs=1e-6)


def test_gradient_checkpointing_changes_no_gradient():
    trees = rollouts(3, 1)
    for changes in ({}, {"critic": "value"}):
        plain, _ = gradients(trees, **changes)
        same(plain, gradients(trees, gradient_checkpointing=True, **changes)[0])


def gpt2():
    config = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64}
    return GPT2LMHeadModel(GPT2Config(vocab_size=40, bos_token_id=1, eos_token_id=2, **config)), "c_attn"


def opt():
    shape = {"hidden_size": 16, "ffn_dim": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = OPTConfig(vocab_size=40, max_position_embeddings=64, word_embed_proj_dim=8, **shape)
    return OPTForCausalLM(config), "q_proj"


@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False")
@pytest.mark.parametrize("build", [gpt2, opt])
@pytest.mark.parametrize("critic", ["none", "value"])
def test_dropout_of_the_base_model_is_off(build, critic):
    """In modules as GPT-2 has it, and handed to functions as OPT does; OPT also narrows its output."""
    torch.manual_seed(0)
    model, target = build()
    made = training(rollouts(2), model.train(), lora_targets=(target,), critic=critic)
    trees = made.job.trees
    assert made.accumulate(trees)["policy_loss"] == made.accumulate(trees)["policy_loss"]


def test_every_adapter_weight_is_trained_embeddings_too():
    made = training(rollouts(2), plain_model(), lora_targets=("q_proj", "embed_tokens"))
    trained = {id(w) for w in made.actor}
    assert trained == {id(w) for w in made.model.parameters() if w.requires_grad}
    assert len(trained) == 6


# ---- a whole training ------------------------------------------------------------------------------------------------


def test_a_positive_advantage_makes_actions_likelier_and_a_negative_one_less(tmp_path):
    from peft import PeftModel

    for advantage, sign in ((1.0, 1), (-1.0, -1)):
        trees = started(plain_model(), rollouts(4, advantage=advantage))
        fit(plain_model(), Job(trees, settings(epochs=5), tmp_path / str(sign)))
        after = PeftModel.from_pretrained(plain_model(), str(tmp_path / str(sign)))
        assert sign * (_mean_logprob(after, trees) - _mean_logprob(plain_model(), trees)) > 0.05


def _mean_logprob(model, trees):
    with torch.no_grad():
        batch = pack_rows(trees)
        return float(forward.score(model, batch).logprobs.sum() / batch.mask.sum())


def test_expected_moves_probability_to_the_better_action_of_a_fork(tmp_path):
    from peft import PeftModel

    trees = started(plain_model(), rollouts(4, 3))
    trees = [
        replace(t, forks=tuple(replace(f, actions=tuple(replace(a, advantage=float(i == 1)) for i, a in enumerate(f.actions))) for f in t.forks))
        for t in trees
    ]  # fmt: skip
    fit(plain_model(), Job(trees, settings(objective="expected", action="all", epochs=10), tmp_path / "a"))

    def share_of_the_second(model):
        from sparkctl.training.losses import over_fork

        batch = pack_tree(trees)
        with torch.no_grad():
            shares = over_fork(forward.score(model, batch).logprobs, batch.mask, batch.fork).exp()
        return float(shares[batch.advantage == 1].mean())

    before, after = (
        share_of_the_second(plain_model()),
        share_of_the_second(PeftModel.from_pretrained(plain_model(), str(tmp_path / "a"))),
    )
    assert after > before + 0.1


def test_updates_are_counted_and_the_rate_rises_then_falls(tmp_path):
    trees = rollouts(6, steps=2)  # two states each: four states are two rollouts
    rows = fit(plain_model(), Job(trees, settings(epochs=2, batch_size=4, warmup=0.5), tmp_path / "a"))
    assert [(r["update"], r["epoch"]) for r in rows] == [(1, 1), (2, 1), (3, 1), (4, 2), (5, 2), (6, 2)]
    # Three of six updates rise to the full rate, then it falls by thirds.
    assert [r["lr"] for r in rows] == pytest.approx([0.01 / 3, 0.02 / 3, 0.01, 0.01, 0.02 / 3, 0.01 / 3])
    assert all(r["grad_norm"] > 0 and r["tokens"] > 0 for r in rows)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_adapter_bytes_in_any_process(tmp_path):
    """peft keeps its target modules in a set, whose order follows Python's hash seed."""
    _run_apart(f"import test_trainer as t; t.fit_into({str(tmp_path / '1')!r})", PYTHONHASHSEED="1")
    fit_into(tmp_path / "2")
    _same_files(tmp_path / "1", tmp_path / "2")


def _run_apart(code, check=True, **environment):
    paths = os.pathsep.join(str(ROOT / "tests" / part) for part in ("", "training"))
    environment = os.environ | {"PYTHONPATH": paths + os.pathsep + os.environ.get("PYTHONPATH", "")} | environment
    return subprocess.run([sys.executable, "-c", code], check=check, env=environment, capture_output=True, text=True)


def _same_files(one, two):
    files = sorted(p.relative_to(one) for p in one.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(two) for p in two.rglob("*") if p.is_file())
    assert Path("adapter_model.safetensors") in files
    assert [f for f in files if (one / f).read_bytes() != (two / f).read_bytes()] == []


def fit_into(folder, checkpoint=None, stop=lambda done: None, **changes):
    """Train a little and save; `stop` is called after every update with how many are done."""
    trees = rollouts(9, names=NAMES)
    job = Job(trees, settings(epochs=2, checkpoint_every=1, **changes), Path(folder), checkpoint and Path(checkpoint))

    @contextmanager
    def count(label, total):
        done = iter(range(1, total + 1))
        yield lambda n, note="": stop(next(done))

    return fit(plain_model(), job, progress=count)


def die(done):
    """What `kill -9` does after the third update."""
    if done == 3:
        os.kill(os.getpid(), 9)


@pytest.mark.slow
def test_after_kill_9_it_resumes_to_the_same_bytes(tmp_path):
    whole = fit_into(tmp_path / "whole")
    made, kept = tmp_path / "made", tmp_path / "kept"
    died = _run_apart(f"import test_trainer as t; t.fit_into({str(made)!r}, {str(kept)!r}, t.die)", check=False)
    assert died.returncode == -9, died.stderr
    assert not made.exists()
    assert len(checkpoints.read(kept)["rows"]) == 2, "the third update was done but not yet kept"
    assert fit_into(made, kept) == whole
    _same_files(tmp_path / "whole", made)


class _Stopped(BaseException):
    pass


@pytest.mark.parametrize("critic", ["none", "value"])
def test_stopped_at_any_update_it_resumes_to_the_same_bytes(tmp_path, critic):
    whole = fit_into(tmp_path / "whole", critic=critic)
    for at in range(1, len(whole) + 1):
        kept, made = tmp_path / f"kept{at}", tmp_path / f"made{at}"

        def stop(done, at=at):
            if done == at:
                raise _Stopped

        with pytest.raises(_Stopped):
            fit_into(made, kept, stop, critic=critic)
        assert not made.exists()
        assert fit_into(made, kept, critic=critic) == whole
        _same_files(tmp_path / "whole", made)


def test_a_checkpoint_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "state.pt").write_bytes(b"half")
    with pytest.raises(SparkError, match=r"state\.pt: checkpoint cannot be read .*; delete the folder to begin anew"):
        fit_into(tmp_path / "a", tmp_path)


def test_numbers_that_are_not_finite_stop_training_name_the_batch_and_keep_the_last_good_adapter(tmp_path):
    from peft import PeftModel

    trees = rollouts(8, steps=1)
    order = trainer.schedule.updates(trees, 1, 4, 0)
    bad = order[1][1][0].rollout_id
    trees = [
        replace(t, forks=(replace(t.forks[0], actions=(replace(t.forks[0].actions[0], advantage=float("inf")),)),))
        if t.rollout_id == bad
        else t
        for t in trees
    ]
    job = Job(trees, settings(), tmp_path / "a", tmp_path / "kept", base={"policy": "p"})
    with pytest.raises(SparkError, match=r"train\.spark: the gradient of update 2 is not finite \(rollouts ") as fault:
        fit(plain_model(), job)
    assert bad in str(fault.value)
    assert not (tmp_path / "a").exists()
    good = tmp_path / "kept" / checkpoints.LAST_GOOD
    assert (good / "base.json").exists()
    assert str(good) in str(fault.value)
    weights = [w for n, w in PeftModel.from_pretrained(plain_model(), str(good)).named_parameters() if "lora_B" in n]
    assert all(torch.isfinite(w).all() for w in weights)
    assert any(float(w.detach().abs().max()) > 0 for w in weights), "the update before it is in"


# ---- packing falls back ----------------------------------------------------------------------------------------------


def test_a_model_that_does_not_read_trees_is_trained_on_rows_with_a_warning(tmp_path, monkeypatch):
    told = []
    model = plain_model()
    real = model.model.forward
    monkeypatch.setattr(
        model.model,
        "forward",
        lambda *a, attention_mask=None, **k: real(
            *a, attention_mask=attention_mask if attention_mask.ndim == 2 else None, **k
        ),
    )
    rows = fit(model, Job(rollouts(4, 2), settings(), tmp_path / "a"), tell=told.append)
    assert "warning: this model does not read packed trees (log-probs differ by" in told[0]
    assert "going on with padded rows" in told[0]
    by_rows = fit(plain_model(), Job(rollouts(4, 2), settings(packing="rows"), tmp_path / "b"))
    assert [r["policy_loss"] for r in rows] == pytest.approx([r["policy_loss"] for r in by_rows], rel=1e-5)


def test_a_model_that_reads_trees_gets_no_warning(tmp_path):
    told, trees = [], started(plain_model(), rollouts(4, 2))
    fit(plain_model(), Job(trees, settings(lr=1e-4), tmp_path / "a"), tell=told.append)
    assert told == []


# ---- the critic ------------------------------------------------------------------------------------------------------


def test_a_critic_learns_the_returns_and_is_saved_beside_the_actor(tmp_path):
    from peft import PeftModel

    trees = rollouts(12)
    rows = fit(
        plain_model(), Job(trees, settings(critic="value", critic_lr=3e-2, epochs=30, batch_size=1000), tmp_path / "a")
    )
    assert rows[0]["explained_variance"] == pytest.approx(0.0, abs=1e-6)  # it expects nothing yet
    assert rows[-1]["explained_variance"] > 0.5
    assert rows[-1]["value_loss"] < rows[0]["value_loss"] / 2
    names = sorted(str(p.relative_to(tmp_path / "a")) for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert names == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "critic/adapter_config.json",
        "critic/adapter_model.safetensors",
        "critic/value_head.pt",
    ]
    actor = PeftModel.from_pretrained(plain_model(), str(tmp_path / "a"))  # as peft, transformers and vLLM open it
    assert not any("critic" in name for name in actor.state_dict())
    by_transformers = plain_model()
    by_transformers.load_adapter(str(tmp_path / "a"))
    ids = torch.tensor([[1, 2, 3]])
    torch.testing.assert_close(by_transformers(ids).logits, actor(ids).logits)


def test_with_a_critic_the_actor_is_driven_by_its_estimates(tmp_path):
    """A value head at zero: advantages are the discounted sums of rewards, by hand with gamma = lambda = 0.5, added to
    what the actions bring along."""
    trees = rollouts(1, steps=3)
    rewards = [f.reward for f in trees[0].forks]
    by_hand = [rewards[0] + 0.25 * (rewards[1] + 0.25 * rewards[2]), rewards[1] + 0.25 * rewards[2], rewards[2]]
    given = replace(
        trees[0],
        forks=tuple(
            replace(f, actions=(replace(f.actions[0], advantage=f.actions[0].advantage + a),))
            for f, a in zip(trees[0].forks, by_hand, strict=True)
        ),
    )
    made = training(trees, plain_model(), critic="value", gamma=0.5, lam=0.5)
    made.accumulate(trees)
    same([w.grad for w in made.actor], gradients([given], plain_model())[0])


# ---- what is watched -------------------------------------------------------------------------------------------------


def test_tool_entropy_of_the_first_update_is_that_of_the_base_model(tmp_path):
    trees = rollouts(4, names=NAMES)
    row = fit(plain_model(), Job(trees, settings(batch_size=1000), tmp_path / "a"))[0]
    with torch.no_grad():
        shares = forward.score(plain_model(), pack_tree(trees)).tools
    mean = shares.mean(0)
    assert row["tool_entropy"] == pytest.approx(float(-(mean * mean.log2()).sum()), rel=1e-5)
    within = float(-(shares * shares.log2()).sum(1).mean())
    assert row["tool_entropy_within"] == pytest.approx(within, rel=1e-5)
    assert row["tool_entropy_within"] < row["tool_entropy"]


def shifted(trees, *by):
    """The i-th rollout (reward 1 for the first, 0 for the others) with log-probs of the start that are lower by by[i]
    over its action."""
    return [
        replace(t, forks=(replace(f, actions=(replace(a, start=tuple(lp - b / len(a.ids) for lp in a.start), reward=r),)),))
        for t, b, r in zip(started(plain_model(), trees), by, (1.0, 0.0, 0.0), strict=False)
        for f in t.forks
        for a in f.actions
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("by", "mean"),
    [
        ((0, 0), 1 / 2),  # nothing has moved: the plain mean
        ((math.log(2), -math.log(2)), 2 / (2 + 1 / 2)),  # twice and half as likely as at the start: 0.8
        ((-math.log(4), math.log(4)), (1 / 4) / (1 / 4 + 4)),
        ((math.log(3), 0, 0), 3 / (3 + 1 + 1)),
    ],
)
@pytest.mark.parametrize("changes", [{}, {"critic": "value"}, {"ratio": "token", "packing": "rows"}])
@pytest.mark.parametrize("tokens", [1, 10_000])
def test_the_reward_is_that_of_what_the_policy_now_does(by, mean, changes, tokens):
    trees = shifted(rollouts(len(by), steps=1), *by)
    _, row = gradients(trees, plain_model(), micro_batch_tokens=tokens, **changes)
    assert row["reward"] == pytest.approx(mean, rel=1e-4)


def test_the_reward_of_a_fork_counts_as_much_as_that_of_an_action():
    """Three candidates worth 1 in one state, one worth 0 in another: each state weighs the same."""
    many, one = rollouts(1, 3, steps=1, reward=1.0)[0], rollouts(1, 1, steps=1, seed=2, reward=0.0)[0]
    trees = started(plain_model(), [many, replace(one, rollout_id="q1-s0")])
    _, row = gradients(trees, plain_model(), objective="expected", action="all")
    assert row["reward"] == pytest.approx(1 / 2)


def test_supervised_fine_tuning_has_no_reward():
    assert "reward" not in gradients(rollouts(2), objective="sft")[1]


def test_watching_the_reward_changes_no_byte_of_the_adapter(tmp_path):
    rows = {}
    for reward in (0.0, 7.0):
        trees = started(plain_model(), rollouts(6, reward=reward))
        rows[reward] = fit(plain_model(), Job(trees, settings(kl=0.1), tmp_path / f"{reward}"))
    _same_files(tmp_path / "0.0", tmp_path / "7.0")
    assert [row.pop("reward") for row in rows[7.0]] == pytest.approx([7.0] * len(rows[7.0]))
    assert [row | {"reward": 0.0} for row in rows[7.0]] == rows[0.0]


def test_warnings_reach_the_user_once(tmp_path):
    told = []
    trees = started(plain_model(), rollouts(8, names=NAMES))
    fit(plain_model(), Job(trees, settings(warn_kl=1e-6, epochs=3), tmp_path / "a"), tell=told.append)
    assert len(told) == 1
    assert told[0].startswith("train.spark: warning: KL blow-up: approx_kl is ")


def test_tensorboard_files_hold_every_figure(tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    trees = rollouts(4, names=NAMES)
    rows = fit(plain_model(), Job(trees, settings(), tmp_path / "a", None, tmp_path / "events"))
    read = events.EventAccumulator(str(tmp_path / "events"))
    read.Reload()
    found = read.Scalars("train/policy_loss")
    assert [e.step for e in found] == [r["update"] for r in rows]
    assert [e.value for e in found] == pytest.approx([r["policy_loss"] for r in rows], rel=1e-6)
    assert "train/tool_entropy" in read.Tags()["scalars"]
    fit(plain_model(), Job(trees, settings(), tmp_path / "b", None, tmp_path / "events"))
    read.Reload()
    again = events.EventAccumulator(str(tmp_path / "events"))
    again.Reload()
    assert len(again.Scalars("train/policy_loss")) == len(rows), "another training begins anew"
