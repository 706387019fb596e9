"""What a training will take, against counts of the real thing and against arithmetic by hand."""

import pytest

from helpers.tiny_models import plain_model, rollouts, settings
from sparkctl.training import footprint as module
from sparkctl.training import lora
from sparkctl.training.footprint import footprint
from sparkctl.training.trainer import Job, fit


def test_parameters_tokens_and_updates_are_those_of_the_real_training(tmp_path):
    trees, given = rollouts(7, 2), settings(epochs=3, batch_size=5)
    found = footprint(plain_model().config, trees, given)
    model = plain_model()
    assert found["parameters"] == sum(p.numel() for p in model.parameters())
    adapted = lora.with_lora(model, given)
    assert found["trainable"] == sum(w.numel() for w in lora.weights_of(adapted, lora.ACTOR))
    assert found["updates"] == len(fit(plain_model(), Job(trees, given, tmp_path / "a")))
    assert found["tokens_per_epoch"] == sum(len(t.layout.ids) for t in trees) < found["row_tokens_per_epoch"]
    assert found["trained_tokens"] == sum(len(a.ids) for t in trees for a in t.actions)


def test_a_critic_doubles_what_is_trained():
    one, two = (footprint(plain_model().config, [], settings(critic=c))["trainable"] for c in ("none", "value"))
    assert two == 2 * one


def llama(**changes):
    from transformers import LlamaConfig

    shape = {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32}
    shape |= {"num_key_value_heads": 8, "vocab_size": 128256, "tie_word_embeddings": False}
    return footprint(LlamaConfig(**shape), [], settings(lora_r=16, lora_alpha=32, **changes))


@pytest.mark.parametrize(("changes", "weights"), [({}, 16.06e9), ({"quantise": "nf4"}, 5.70e9)])
def test_an_8b_model_by_hand(changes, weights):
    """8.03 G weights at two bytes; with nf4 6.98 G of them at 4.127 bits, the embeddings and the head (1.05 G) not.
    Nothing is loaded: the model is laid out without weights."""
    big = {"dtype": "bfloat16", "gradient_checkpointing": True, "micro_batch_tokens": 4096}
    found = llama(**big, **changes)
    assert found["parameters"] == 8_030_261_248
    assert found["trainable"] == 41_943_040
    assert found["memory"]["weights"] == pytest.approx(weights, rel=0.01)
    assert found["memory"]["adapters"] == 41_943_040 * 16
    limit = 24e9 if changes else 80e9
    assert sum(v for k, v in found["memory"].items() if k != "all") == found["memory"]["all"] < limit


def test_checkpointing_saves_most_of_the_activations():
    without, with_ = (llama(dtype="bfloat16", gradient_checkpointing=c)["memory"]["activations"] for c in (False, True))
    assert with_ < without / 10


def test_without_rollouts_their_figures_are_unknown_not_zero():
    found = footprint(plain_model().config, [], settings())
    assert (found["updates"], found["tokens_per_epoch"]) == (None, None)
    assert module._of_rollouts([], settings())["actions"] is None
