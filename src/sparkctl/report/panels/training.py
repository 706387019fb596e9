"""Parts of the report about training: its curves, its rewards."""

from collections.abc import Iterator, Sequence

from sparkctl.method.episode import ACTIONS
from sparkctl.report import charts
from sparkctl.report.panels.panel import Chart, Panel, Row, mean_of, table_of
from sparkctl.report.run_tables import Material

_CURVES = {
    "reward": "mean reward, weighted",
    "tool_entropy": "entropy of tool choice, bits",
    "approx_kl": "approx_kl, nats",
    "clip_frac": "share clipped",
    "policy_loss": "policy loss",
}


def training(run: Material) -> Panel | None:
    """The curves of each training."""
    updates = {name: run.parts("updates")[name].to_pylist() for name in run.policies if name in run.parts("updates")}
    if not updates:
        return None
    rows = [{"policy": name, **row} for name, found in updates.items() for row in found]

    def draw(prefix: str) -> list[Chart]:
        drawn = []
        for column, label in _CURVES.items():
            curves = {name: _curve(found, column) for name, found in updates.items()}
            curves = {name: curve for name, curve in curves.items() if curve[0]}
            if curves:
                kind = charts.apart if column == "policy_loss" else charts.lines  # losses are not of one scale
                svg = kind(f"{prefix}training.{column}", curves, label, "update", run.policies)
                said = "; ".join(f"{n} from {y[0]:.4g} to {y[-1]:.4g}" for n, (_, y) in curves.items())
                drawn.append(Chart(svg, f"{label} during training, first to last update: {said}."))
        return drawn

    explains = (
        "One row per optimiser update. Reward: mean over the update's actions, each weighted by how much likelier the policy "
        "now is to take it than the frozen start was. A policy that moves towards what is rewarded raises it; but every update "
        "has other questions, whose rewards differ more than a policy moves in one training, so look at the tables above for "
        "what was learned. SFT has none. Entropy is that of the nine "
        "actions' names in the update's states. approx_kl is the drift from the frozen start; losses of different objectives "
        "cannot be compared with one another."
    )
    return Panel("training", "Training", explains, table_of(rows), draw)


def _curve(rows: Sequence[Row], column: str) -> charts.Curve:
    known = [(row["update"], row[column]) for row in rows if row[column] is not None]
    return [x for x, _ in known], [y for _, y in known]


_TERMS = ("quality", "rarity", "correctness")


def rewards(run: Material) -> Panel | None:
    """Mean of each term of the reward per action trained on."""
    credit = {name: run.parts("credit")[name].to_pylist() for name in run.policies if name in run.parts("credit")}
    rows = [row for name, found in credit.items() for row in _reward_rows(name, found)]
    if not rows:
        return None

    def draw(prefix: str) -> list[Chart]:
        drawn = []
        for name in credit:
            paid = [row for row in rows if row["policy"] == name and row["reward"] is not None]
            if paid:
                parts = {term: [row[term] for row in paid] for term in _TERMS}
                svg = charts.bars(
                    f"{prefix}rewards.{name}", [r["action"] for r in paid], parts, f"mean reward ({name})"
                )
                said = "; ".join(f"{r['action']} {r['reward']:.2f}" for r in paid)
                drawn.append(Chart(svg, f"Mean reward of each action under {name}, by term. Sums: {said}."))
        return drawn

    explains = (
        "Means over the actions trained on; a term that an action was not paid counts 0. SFT has no reward. "
        "Advantage is what weighs the action in the loss."
    )
    return Panel("rewards", "Reward terms", explains, table_of(rows), draw)


def _reward_rows(policy: str, credit: Sequence[Row]) -> Iterator[Row]:
    kept = [row for row in credit if row["dropped_because"] is None]
    paid = any(row["reward"] is not None for row in kept)
    for action in ACTIONS:
        of = [row for row in kept if row["tool_name"] == action]
        if of:
            means = {term: mean_of(of, term) if paid else None for term in (*_TERMS, "reward")}
            yield {
                "policy": policy,
                "action": action,
                "trained": len(of),
                **means,
                "advantage": mean_of(of, "advantage"),
            }
