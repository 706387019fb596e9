"""What must hold of batches: a tree says what its rows say, for every log-prob and every LoRA gradient."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.tiny_models import NAMES, moved_model, plain_model, rollouts, started
from helpers.tiny_models import settings as train_settings
from sparkctl.training import forward, lora
from sparkctl.training.objective import objective
from sparkctl.training.packing import micro_batches, pack_rows, pack_tree
from sparkctl.training.trees import Action, Fork, Tree


@pytest.fixture
def model():
    return moved_model()


PACKERS = (pack_tree, pack_rows)


def gradients(model, batch, **changes):
    model.zero_grad()
    scored = forward.score(model, batch)
    loss, _ = objective(scored.logprobs, batch, batch.advantage, train_settings(**changes))
    (loss * batch.share).sum().backward()
    return float((loss.detach() * batch.share).sum()), [w.grad.clone() for w in lora.weights_of(model, lora.ACTOR)]


@pytest.mark.parametrize("changes", [{"kl": 0.3}, {"objective": "expected", "action": "all", "llds": 0.2}])
@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 4))
def test_trees_equal_rows_in_loss_and_in_every_lora_gradient(changes, seed, actions, n):
    """Within 1e-5 in float32, on random rollouts: the issue's own bound."""
    model = moved_model()
    trees = started(plain_model(), rollouts(n, actions, seed))
    (tree, tree_grads), (rows, rows_grads) = (gradients(model, pack(trees), **changes) for pack in PACKERS)
    assert tree == pytest.approx(rows, abs=1e-5)
    for one, two in zip(tree_grads, rows_grads, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5)


def test_rows_are_what_the_model_says_of_each_row_alone(model):
    """No padding, no packing: one row at a time through the plain model, log-probs picked by hand."""
    trees = rollouts(3, 2)
    scored = forward.score(model, pack_rows(trees)).logprobs
    rows = [(fork.prompt_ids, action.ids) for tree in trees for fork in tree.forks for action in fork.actions]
    for found, (prompt, ids) in zip(scored, rows, strict=True):
        logits = model(torch.tensor([[*prompt, *ids]])).logits[0].log_softmax(-1).detach()
        by_hand = [float(logits[len(prompt) - 1 + k, token]) for k, token in enumerate(ids)]
        assert found[: len(ids)].tolist() == pytest.approx(by_hand, abs=1e-5)


@pytest.mark.parametrize("pack", PACKERS)
def test_only_places_that_predict_a_trained_token_go_through_the_head(model, pack):
    trees = rollouts(2, 3)
    batch, seen = pack(trees), []
    model.get_base_model().lm_head.register_forward_hook(lambda module, given, out: seen.append(given[0].shape))
    forward.score(model, batch)
    places = seen[0][0] * seen[0][1]
    actions = [action for tree in trees for action in tree.actions]
    if pack is pack_tree:  # the nine actions of a state are predicted from one and the same place
        assert places <= sum(len(a.ids) for a in actions)
    else:
        assert places == len(actions) * max(len(a.ids) for a in actions)


@pytest.mark.parametrize("pack", PACKERS)
def test_prompt_and_observation_tokens_never_carry_loss(pack):
    """Every target is a token of an action, and there are as many as the actions have tokens."""
    trees = [Tree("r", (Fork([1, 1, 1], (Action([2, 3]), Action([4]))), Fork([1, 1, 1, 9, 9], (Action([5]),))))]
    batch = pack(trees)
    assert batch.targets[batch.mask.bool()].tolist() == [2, 3, 4, 5]
    assert batch.mask.sum(1).tolist() == [2, 1, 1]
    assert batch.share.tolist() == [0.5, 0.5, 1.0]
    assert (batch.fork.tolist(), batch.rollout.tolist()) == ([0, 0, 1], [0, 0, 0])


def test_padding_and_packing_order_do_not_move_the_loss(model):
    trees = rollouts(4, 2)
    for pack in PACKERS:
        together, _ = gradients(model, pack(trees), kl=0.2)
        turned, _ = gradients(model, pack(trees[::-1]), kl=0.2)
        alone = sum(gradients(model, pack([tree]), kl=0.2)[0] for tree in trees)
        assert together == pytest.approx(turned, abs=1e-5)
        assert together == pytest.approx(alone, abs=1e-5)


def test_two_rollouts_of_one_question_do_not_see_each_other(model):
    """The same tokens twice, in two rollouts: each says what it says alone."""
    one = rollouts(1, 2)[0]
    alone = forward.score(model, pack_tree([one])).logprobs
    twice = forward.score(model, pack_tree([one, one])).logprobs
    torch.testing.assert_close(twice, torch.cat([alone, alone]), rtol=0, atol=1e-5)


def test_the_states_end_where_both_packings_say(model):
    trees = rollouts(3, 2)
    tree, rows = (forward.hidden(model, pack(trees)) for pack in PACKERS)
    torch.testing.assert_close(tree, rows, rtol=0, atol=1e-5)
    first = trees[0].forks[0]
    decoder = model.get_base_model().get_decoder()
    by_hand = decoder(torch.tensor([list(first.prompt_ids)])).last_hidden_state[0, -1]
    torch.testing.assert_close(tree[0], by_hand, rtol=0, atol=1e-5)


def test_the_tools_probabilities_are_those_of_their_names(model):
    """Names 5, 6 7 and 6 8: the product over a name's tokens, normalised over the names."""
    trees = rollouts(2, 1, names=NAMES)
    tools = forward.score(model, pack_tree(trees)).tools
    prompt = list(trees[0].forks[0].prompt_ids)
    first = model(torch.tensor([prompt])).logits[0, -1].softmax(-1)
    second = model(torch.tensor([[*prompt, 6]])).logits[0, -1].softmax(-1)
    by_hand = torch.stack([first[5], first[6] * second[7], first[6] * second[8]])
    torch.testing.assert_close(tools[0], by_hand / by_hand.sum(), rtol=1e-4, atol=1e-6)
    assert forward.score(model, pack_rows(trees)).tools is None  # rows do not hold the second tokens
    short = [Tree(t.rollout_id, t.forks, ((5,), (6,))) for t in trees]
    one, two = (forward.score(model, pack(short)).tools for pack in PACKERS)
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("packing", ["tree", "rows"])
@pytest.mark.parametrize("whole", [True, False])
def test_micro_batches_hold_every_state_once_and_keep_to_the_budget(packing, whole):
    trees = rollouts(12, 3)
    parts = micro_batches(trees, 120, packing, whole=whole)
    seen = [(t.rollout_id, f.label) for part in parts for t in part for f in t.forks]
    assert sorted(seen) == sorted((t.rollout_id, f.label) for t in trees for f in t.forks)
    for part in parts:
        batch = (pack_tree if packing == "tree" else pack_rows)(part)
        assert batch.ids.numel() <= 120 or len(part) == 1, "over the budget only where one rollout alone is"
    if whole:
        assert all(
            len(t.forks) == len(next(o for o in trees if o.rollout_id == t.rollout_id).forks) for p in parts for t in p
        )


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_the_block_mask_of_flex_attention_lets_the_same_pairs_meet():
    """Through FlexAttention itself, uncompiled; compiled and backward it needs a GPU."""
    from torch.nn.attention.flex_attention import flex_attention

    trees = rollouts(3, 4)
    query, key, value = (torch.randn(1, 2, pack_tree(trees).ids.shape[1], 16) for _ in range(3))
    dense = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=pack_tree(trees).attention)
    flex = flex_attention(query, key, value, block_mask=pack_tree(trees, torch.device("cpu")).attention)
    torch.testing.assert_close(flex, dense, rtol=0, atol=1e-5)
