"""Explain: which nodes would run, and why; which are reused."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sparkctl.pipeline.graph import Fate, Node, outputs
from sparkctl.storage import files
from sparkctl.storage.store import Store, is_damaged

Again = Callable[[Node, dict[str, Path]], bool]


def never(node: Node, outputs: dict[str, Path]) -> bool:
    """Nothing that is up to date is run again."""
    return False


def explain(graph: Sequence[Node], store: Store, again: Again = never) -> list[Fate]:
    """What `make` would do and why, without doing it. `again`: whether a node that is up to date is run again."""
    fates: list[Fate] = []
    stale: dict[str, str] = {}
    places: dict[str, Path] = {}
    order = [node.name for node in graph]
    for node in graph:
        waiting = [stale[a] for artifacts in node.reads.values() for a in artifacts if a in stale]
        latest = max(waiting, key=order.index, default=None)
        fate = Fate(node, True, f"after {latest}") if latest else fate_of(node, places, store, again)
        if fate.runs:
            stale |= dict.fromkeys(node.writes.values(), node.name)
        else:
            places |= outputs(fate, store)
        fates.append(fate)
    return fates


def fate_of(node: Node, places: dict[str, Path], store: Store, again: Again) -> Fate:
    fate = Fate(node, False, "up to date", _made_of(node, places))
    there = outputs(fate, store)
    if not all(path.exists() for path in there.values()):
        return replace(fate, runs=True, why=_why(node, fate.made_of or {}, store))
    if damaged := [path.name for path in there.values() if is_damaged(path)]:
        return replace(fate, runs=True, why=f"{damaged[0]} is damaged")
    return replace(fate, runs=True, why="some calls had failed") if again(node, there) else fate


def _made_of(node: Node, places: dict[str, Path]) -> dict[str, Any]:
    inputs = {name: [files.digest_artifact(places[a]) for a in artifacts] for name, artifacts in node.reads.items()}
    inputs |= {name: [files.digest_artifact(path)] for name, path in node.files.items()}
    return {
        "stage": node.stage.name,
        "version": node.stage.version,
        "settings": node.settings.identity(),
        "inputs": inputs,
        "identities": node.identities,
    }


def _why(node: Node, made_of: dict[str, Any], store: Store) -> str:
    linked = store.linked(next(iter(node.writes.values())))
    before = files.provenance(linked) if linked else None
    if before is None:
        return "not made yet in this run"
    changes = (
        [f"stage version changed {before.get('version')} -> {made_of['version']}"]
        if before.get("version") != made_of["version"]
        else []
    )
    changes += _changed_settings(before.get("settings", {}), made_of["settings"])
    for kind in ("inputs", "identities"):
        old, new = before.get(kind, {}), made_of[kind]
        changes += [f"{name} changed" for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
    return "; ".join(changes) or "its file is gone"


def _changed_settings(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    changes = []
    for name in sorted(old.keys() | new.keys()):
        was, now = old.get(name), new.get(name)
        if isinstance(was, dict) and isinstance(now, dict):
            changes += _changed_settings(was, now, f"{prefix}{name}.")
        elif was != now:
            changes.append(f"{prefix}{name} changed {_short(was)} -> {_short(now)}")
    return changes


def _short(value: Any) -> str:
    text = str(value).replace("\n", " ")
    return text if len(text) <= 40 else f"{text[:37]}..."
