"""Warnings while training: said once, with what to do."""

from sparkctl.training.guards import Guards


def row(update, entropy=3.0, kl=0.0):
    return {"update": update, "tool_entropy": entropy, "approx_kl": kl}


def test_tool_collapse_is_measured_against_the_first_update_and_said_once():
    guards = Guards("train.x", warn_kl=1.0, warn_collapse=0.5)
    assert guards.look(row(1), 64) == []
    assert guards.look(row(2, entropy=1.5), 64) == []
    (said,) = guards.look(row(3, entropy=1.49), 32)
    assert said == (
        "train.x: warning: tool collapse: the policy's tool entropy fell to 1.49 bits at update 3, from 3.00; "
        "raise train.rarity or train.kl, or lower train.lr"
    )
    assert guards.look(row(4, entropy=0.0), 64) == []


def test_kl_blow_up_also_where_it_is_not_a_number():
    for kl in (1.01, float("nan"), float("inf")):
        (said,) = Guards("train.x", 1.0, 0.5).look(row(1, kl=kl), 64)
        assert "KL blow-up" in said
    assert Guards("train.x", 1.0, 0.5).look(row(1, kl=1.0), 64) == []


def test_what_is_not_measured_gives_no_warning():
    assert Guards("train.x", 1.0, 0.5).look({"update": 1, "tool_entropy": None}, 64) == []


def test_the_few_states_that_an_epoch_leaves_over_are_no_collapse():
    """An unchanged policy: one state has fewer tools than sixty-four."""
    guards = Guards("train.x", 1.0, 0.5)
    assert guards.look(row(1), 64) == []
    assert guards.look(row(2, entropy=0.24), 31) == []
    assert len(guards.look(row(3, entropy=0.24), 32)) == 1
