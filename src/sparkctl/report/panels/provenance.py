"""Parts of the report about the run itself: cost and time, and what made each artifact."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from sparkctl.report import charts
from sparkctl.report.panels.panel import Chart, Cut, Panel, Row, table_of
from sparkctl.report.run_tables import Material


def cost(run: Material) -> Panel | None:
    """Time, calls and price per stage."""
    records = [record for record in run.records if "node" in record]
    rows = [_stage_cost(run, stage, records) for stage in _stages(run, records)]
    if not rows:
        return None
    timed = [row for row in rows if row["seconds"] is not None]

    def draw(prefix: str) -> list[Chart]:
        if not timed:
            return []
        stages, seconds = [row["stage"] for row in timed], [row["seconds"] for row in timed]
        said = "; ".join(f"{stage} {spent:.1f}" for stage, spent in zip(stages, seconds, strict=True))
        return [
            Chart(charts.bars(f"{prefix}cost", stages, {"seconds": seconds}, "seconds"), f"Seconds per stage: {said}.")
        ]

    judged = next((row for row in rows if row["stage"] == "judge"), None)
    price, unknown = (judged["usd"] or 0.0, judged["price_unknown"] or 0) if judged else (0.0, 0)
    explains = (
        f"Judge's calls: {price:.2f} US dollars"
        + (f", and {unknown} candidates whose price is unknown, which is not nothing" if unknown else "")
        + ". What tools and the policy's own rollouts cost is not recorded; what its evaluation costs is known where "
        "eval.usd_per_million_tokens says what tokens cost. Seconds: of the latest making of each table; in all: of every "
        "making in this run. No figure: made in another run. Remembered: calls that were answered from memory."
    )
    return Panel("cost", "Cost and time per stage", explains, table_of(rows), draw)


def _stages(run: Material, records: Sequence[Row]) -> list[str]:
    made = [str(of["stage"]) for of in run.provenance.values() if "stage" in of]
    found = {*made, *(record["node"].partition(".")[0] for record in records)}
    order = ("questions", "eval_questions", "synth", "judge", "select", "reference", "train", "eval")
    return sorted(found, key=lambda stage: (order.index(stage) if stage in order else len(order), stage))


def _stage_cost(run: Material, stage: str, records: Sequence[Row]) -> Row:
    mine = [record for record in records if record["node"].partition(".")[0] == stage]
    latest = {record["node"]: record for record in mine}
    row: Row = {
        "stage": stage,
        "seconds": sum(r.get("seconds", 0.0) for r in latest.values()) if mine else None,
        "seconds_in_all": sum(r.get("seconds", 0.0) for r in mine) if mine else None,
        "calls": sum(r.get("asked", 0) for r in mine) if mine else None,
        "remembered": sum(r.get("remembered", 0) for r in mine) if mine else None,
        "usd": None,
        "price_unknown": None,
    }
    if made := run.parts({"judge": "scores", "eval": "answers"}.get(stage, "")):
        prices = [price for part in made.values() for price in part["cost_usd"].to_pylist()]
        known = [price for price in prices if price is not None]
        if known or stage == "judge":  # nobody need say what evaluation costs
            row |= {"usd": sum(known) if known else None, "price_unknown": len(prices) - len(known)}
    return row


def provenance(run: Material) -> Panel | None:
    """What every artifact was made of."""
    rows = [
        {
            "artifact": artifact,
            "file": file,
            "stage": of.get("stage"),
            "version": of.get("version"),
            "seed": of.get("settings", {}).get("seed"),
            "inputs": _digests(of.get("inputs", {})),
            "identities": _digests({name: [found] for name, found in of.get("identities", {}).items()}),
            "settings": json.dumps(of.get("settings", {}), sort_keys=True, ensure_ascii=False),
        }
        for artifact, file in run.files.items()
        for of in [run.provenance.get(artifact, {})]
    ]
    if not rows:
        return None
    explains = (
        "Every artifact of this run: its file in the store, whose name ends in its key, the stage's version, the seed, and "
        "the digests of its inputs and of what else decides it. The files have these whole; on the page they are cut to "
        "twelve digits, and pointing at them shows the rest."
    )
    shown = tuple({name: _cut(value) for name, value in row.items() if name != "settings"} for row in rows)
    return Panel("provenance", "Provenance", explains, table_of(rows), shown=shown)


def _digests(inputs: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{name} {' '.join(found)}" for name, found in sorted(inputs.items()))


def _cut(value: Any) -> Any:
    """With its digests cut, where it has any."""
    short = re.sub(r"\b([0-9a-f]{12})[0-9a-f]{52}\b", r"\1", value) if isinstance(value, str) else value
    return value if short == value else Cut(short, value)
