"""How the settings of train go together: which act only beside others, and which cannot be had together.

What does nothing neither decides the key nor may be asked for; see `Settings` for what the two tables do.
"""

from collections.abc import Callable
from typing import Any

from sparkctl.config.settings import Clash, Use


def _compared(s: Any) -> bool:
    return s.group != "none" or s.outcome_group != "none"


_REWARD = ("quality", "rarity", "rarity_of", "rarity_baseline", "correctness", "combine")
_ADVANTAGE = ("group", "baseline", "scale", "outcome_group", "nudge", "nudge_cap")
_DRIFT = ("kl", "kl_form", "llds")

USES = (
    Use(
        (*_REWARD, *_ADVANTAGE, *_DRIFT),
        lambda s: s.objective != "sft",
        'beside objective = "sft", which imitates: it has no reward and no reference',
    ),
    Use(
        ("ratio", "gate", "clip", "clip_high", "dual_clip", "tau_pos", "tau_neg"),
        lambda s: s.objective == "ppo",
        'without objective = "ppo": no other has a ratio',
    ),
    Use(("rarity_of", "rarity_baseline"), lambda s: s.rarity != 0 or s.nudge != 0, "with rarity = 0 and nudge = 0"),
    Use(("critic",), lambda s: s.critic != "none"),
    Use(("critic_lr", "gamma", "lam"), lambda s: s.critic != "none", 'without critic = "value"'),
    Use(("baseline",), _compared, "without a group or an outcome_group to compare with"),
    # "none" has no part in the key of an outcome_group alone, as before it could be scaled.
    Use(
        ("scale",),
        lambda s: s.group != "none" or (s.scale != "none" and _compared(s)),
        "without a group or an outcome_group to compare with",
    ),
    Use(
        ("outcome_group",),
        lambda s: s.correctness != 0,
        "with correctness = 0: there is no outcome to compare",
        keyed=True,
    ),
    Use(("nudge",), lambda s: s.nudge != 0),
    Use(("nudge_cap",), lambda s: s.nudge != 0, "with nudge = 0"),
    Use(("kl",), lambda s: s.kl != 0),
    Use(("kl_form",), lambda s: s.kl != 0, "with kl = 0"),
    Use(("tau_pos", "tau_neg"), lambda s: s.gate == "soft", 'without gate = "soft"'),
    Use(
        ("clip", "clip_high", "dual_clip"),
        lambda s: s.gate == "clip",
        'beside gate = "soft", which does not clip',
        True,
    ),
)


def _rewarded(wrong: Callable[[Any], Any]) -> Callable[[Any], bool]:
    """The same of an objective that has a reward."""
    return lambda s: s.objective != "sft" and bool(wrong(s))


_PRODUCT = 'combine = "product" needs correctness, which only the executed action has; '
_REWARDED = (
    (lambda s: s.action == "all" and s.min_score != 0, 'action = "all" compares with low scores; set min_score = 0'),
    (
        lambda s: s.quality == s.rarity == s.correctness == 0,
        "quality, rarity and correctness are all 0, so that nothing is earned; give one of them a weight",
    ),
    (
        lambda s: s.combine == "product" and s.correctness == 0,
        'combine = "product" multiplies by correctness, which is 0; give it a weight',
    ),
    (lambda s: s.combine == "product" and s.action == "all", _PRODUCT + 'set action = "selected"'),
    (lambda s: s.combine == "product" and s.group == "fork", _PRODUCT + 'group = "fork" compares it with others'),
    (
        lambda s: s.combine == "product" and s.outcome_group != "none",
        'combine = "product" makes one reward, compared within group',
    ),
    (
        lambda s: s.objective == "ppo" and s.ratio == "sequence" and s.action != "selected",
        'ratio = "sequence" needs action = "selected"',
    ),
    (
        lambda s: s.kl != 0 and s.kl_form == "fork" and s.action != "all",
        'kl_form = "fork" needs action = "all"',
    ),
    (
        lambda s: s.nudge != 0 and s.nudge_cap == 0,
        "nudge_cap = 0 lets no advantage be nudged; raise it, or set nudge = 0",
    ),
    (lambda s: s.critic == "value" and s.objective != "ppo", 'critic = "value" needs objective = "ppo"'),
    (
        lambda s: s.critic == "value" and s.action != "selected",
        'critic = "value" follows the executed steps; set action = "selected"',
    ),
    (
        lambda s: s.critic == "value" and _compared(s),
        'critic = "value" is the baseline; set group and outcome_group to "none"',
    ),
    (
        lambda s: s.critic == "value" and s.combine == "product",
        'critic = "value" adds up the terms; set combine = "sum"',
    ),
    (lambda s: s.critic == "value" and s.nudge != 0, 'critic = "value" makes its own advantages; set nudge = 0'),
    (
        lambda s: s.critic == "value" and s.min_score != 0,
        'critic = "value" needs every step of a rollout; set min_score = 0',
    ),
)

CLASHES = (
    Clash(
        lambda s: s.objective == "sft" and s.action == "all",
        'objective = "sft" imitates one action, action = "all" has nine',
    ),
    Clash(
        lambda s: s.objective == "expected" and s.action != "all",
        'objective = "expected" sums over the fork; set action = "all"',
    ),
    Clash(lambda s: s.objective == "sft" and s.critic == "value", 'critic = "value" needs objective = "ppo"'),
    *(Clash(_rewarded(wrong), why) for wrong, why in _REWARDED),
)
