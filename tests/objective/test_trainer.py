"""What must hold of training, on a random tiny Llama: the invariants that a wrong loss would break."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from sparkctl.errors import SparkError
from sparkctl.objective import trainer
from sparkctl.objective.batches import Item, collate
from sparkctl.progress import progress
from sparkctl.stages.train import Train
from support import ROOT

PAD = 0


def settings(**changes):
    base = {
        "policy": "p",
        "prompt": "",
        "descriptions": {},
        "lora_r": 2,
        "lora_alpha": 4,
        "kl": 0.0,
        "epochs": 1,
        "batch_size": 4,
        "lr": 1e-2,
    }
    return Train(**(base | changes))


def model(lora=True, seed=0):
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=40,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
    )
    plain = LlamaForCausalLM(config).eval()
    if not lora:
        return plain
    made = trainer._with_lora(plain, settings())
    for name, weight in made.named_parameters():
        if "lora_B" in name:  # zero at the start: move it, so that gradients reach every adapter weight
            torch.nn.init.normal_(weight, std=0.05)
    return made


def items(n=5, advantage=1.0):
    draw = torch.Generator().manual_seed(1)

    def ids(size):
        return torch.randint(1, 40, (size,), generator=draw).tolist()

    return [Item(ids(3 + i), ids(2 + i % 3), advantage) for i in range(n)]


def gradients(made, given, **changes):
    made.zero_grad()
    metrics = trainer.accumulate(made, PAD, given, settings(**changes))
    return {n: p.grad.clone() for n, p in made.named_parameters() if p.requires_grad}, metrics


def same(one, two):
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-4, atol=1e-6)  # float32 sums in another order


@pytest.mark.parametrize("level", ["token", "action"])
def test_the_ratio_is_exactly_one_before_the_first_update(level):
    fresh = trainer._with_lora(model(lora=False), settings())
    _, metrics = gradients(fresh, items(), ratio=level, clip=1e-9)
    assert metrics["clip_frac"] == 0.0
    assert metrics["approx_kl"] == pytest.approx(0.0, abs=1e-7)
    assert metrics["policy_loss"] == pytest.approx(-1.0, abs=1e-6)


def test_at_the_start_the_gradient_is_that_of_supervised_fine_tuning():
    """At ratio 1 the gradient of r A is A times that of the log-prob; so with A = 1 both objectives agree."""
    fresh = trainer._with_lora(model(lora=False), settings())
    same(gradients(fresh, items(), objective="ppo")[0], gradients(fresh, items(), objective="sft")[0])


def test_advantage_zero_gives_zero_gradient():
    made, _ = gradients(model(), items(advantage=0.0))
    assert all(float(g.abs().max()) == 0.0 for g in made.values())


def test_kl_alone_pulls_back_to_the_start():
    made = model()
    before = gradients(made, items(advantage=0.0), kl=1.0)[1]["approx_kl"]
    assert before > 0
    optimiser = torch.optim.Adam([p for p in made.parameters() if p.requires_grad], lr=5e-3)
    for _ in range(20):
        gradients(made, items(advantage=0.0), kl=1.0)
        optimiser.step()
    assert gradients(made, items(advantage=0.0), kl=1.0)[1]["approx_kl"] < before / 2


@pytest.mark.parametrize("objective", ["sft", "ppo"])
def test_accumulation_of_one_by_one_equals_all_at_once(objective):
    made = model()
    one, metrics = gradients(made, items(), objective=objective, micro_batch_tokens=1, kl=0.1)
    all_, whole = gradients(made, items(), objective=objective, micro_batch_tokens=10_000, kl=0.1)
    same(one, all_)
    assert metrics == pytest.approx(whole, rel=1e-4)


def test_padding_does_not_move_the_loss():
    made = model()
    short, long = items(1)[0], Item([5] * 30, [6] * 9, 1.0)
    alone = trainer.step_losses(made, collate([short], PAD), settings(kl=0.1))[0][0]
    padded = trainer.step_losses(made, collate([short, long], PAD), settings(kl=0.1))[0][0]
    assert alone.item() == pytest.approx(padded.item(), rel=1e-5)


def test_order_does_not_move_the_gradient():
    made = model()
    same(gradients(made, items())[0], gradients(made, items()[::-1])[0])


def test_prompt_tokens_carry_no_loss():
    """The loss is that of the action's tokens after their own prompt, each row run by itself without padding."""
    made = model()
    loss, _ = trainer.step_losses(made, collate(items(3), PAD), settings(objective="sft"))
    by_hand = []
    for item in items(3):
        logits = made(torch.tensor([[*item.prompt_ids, *item.action_ids]])).logits[0].log_softmax(-1)
        start = len(item.prompt_ids) - 1
        by_hand.append(-sum(logits[start + k, t].item() for k, t in enumerate(item.action_ids)) / len(item.action_ids))
    assert loss.tolist() == pytest.approx(by_hand, rel=1e-5)


def test_a_positive_advantage_makes_the_action_likelier_and_a_negative_one_less(tmp_path):
    for advantage, sign in ((1.0, 1), (-1.0, -1)):
        made = model(lora=False)
        given = items(4, advantage)
        batch = collate(given, PAD)
        trained_on = settings(epochs=5)
        before = _logprob(made, batch)
        trainer.fit(made, PAD, given, trained_on, tmp_path / str(sign), progress)
        from peft import PeftModel

        after = _logprob(PeftModel.from_pretrained(model(lora=False), str(tmp_path / str(sign))), batch)
        assert sign * (after - before) > 0.05


def _logprob(made, batch):
    with torch.no_grad():
        picked = trainer._picked(trainer._logits(made, batch), batch)
        return float((picked * batch.mask).sum() / batch.mask.sum())


def test_the_same_seed_gives_the_same_adapter_bytes_in_any_process(tmp_path):
    """peft keeps its target modules in a set, whose order follows Python's hash seed."""
    code = f"import sys; sys.path[:0] = [{str(ROOT / 'tests' / 'objective')!r}, {str(ROOT / 'tests')!r}]; import test_trainer; test_trainer.fit_into(sys.argv[1])"
    for name in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": name}
        subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], check=True, env=environment)
    names = sorted(p.name for p in (tmp_path / "1").iterdir())
    assert names == ["adapter_config.json", "adapter_model.safetensors"]
    assert all((tmp_path / "1" / n).read_bytes() == (tmp_path / "2" / n).read_bytes() for n in names)


def fit_into(folder):
    """Train a little and save: what the test above does twice."""
    trainer.fit(model(lora=False), PAD, items(9), settings(epochs=2), Path(folder), progress)


def test_a_gradient_that_is_not_finite_stops_training(tmp_path):
    with pytest.raises(SparkError, match=r"train\.spark: the gradient of update 1 is not finite"):
        trainer.fit(model(lora=False), PAD, items(3, advantage=float("inf")), settings(), tmp_path / "a", progress)
    assert not (tmp_path / "a").exists()


def test_updates_are_counted_and_the_rate_rises_then_falls(tmp_path):
    rows = trainer.fit(
        model(lora=False), PAD, items(10), settings(epochs=2, batch_size=4, warmup=0.5), tmp_path / "a", progress
    )
    assert [(r["update"], r["epoch"]) for r in rows] == [(1, 1), (2, 1), (3, 1), (4, 2), (5, 2), (6, 2)]
    # Three of six updates rise to the full rate, then it falls by thirds.
    assert [r["lr"] for r in rows] == pytest.approx([0.01 / 3, 0.02 / 3, 0.01, 0.01, 0.02 / 3, 0.01 / 3])
    assert all(r["grad_norm"] > 0 and r["tokens"] > 0 for r in rows)


def test_fit_needs_only_named_settings():
    """The loop takes settings by name, so that it need not know the stage."""
    names = vars(settings())
    assert trainer.step_losses(model(), collate(items(1), PAD), SimpleNamespace(**names))[0].shape == (1,)
