"""What an adapter folder says of the model it belongs to: `base.json`, written beside peft's own files; and how a folder
is named among the policies that are compared."""

import json
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from sparkctl.config.recipe import expanded
from sparkctl.errors import SparkError, did_you_mean
from sparkctl.method import names
from sparkctl.method.ids import digest_path

BASE_FILE = "base.json"
QUESTIONS_FILE = "trained_on.json"
_LONGEST = names.LONGEST - 7
"""Characters of a label, which some of a digest may follow."""
_TELLING = 16
"""Characters of a digest that tell two questions apart."""


def write_base(folder: Path, base: Mapping[str, str]) -> None:
    """Say which model (`policy`, `model`) in which precision (`dtype`, `quantise`) the adapter was trained on."""
    (folder / BASE_FILE).write_text(json.dumps(dict(base), indent=1, sort_keys=True))


def check_base(folder: Path, settings: Any, model: str) -> None:
    """Refuse an adapter trained on another model than `settings.policy`, whose weights `model` identifies, or in another
    precision unless `settings.any_precision`. A folder that does not say is taken as it is: peft made it elsewhere."""
    path = folder / BASE_FILE
    if not path.exists():
        return
    base = _said(path)
    try:
        policy, weights, precision = base["policy"], base["model"], (base["dtype"], base["quantise"])
    except (KeyError, TypeError):
        raise _unreadable(path) from None
    if policy != settings.policy:
        raise SparkError(
            f"{folder}: this adapter was trained on '{policy}', not on '{settings.policy}'; set synth.policy to it"
        )
    if weights != model:
        raise SparkError(f"{folder}: this adapter was trained on other weights than '{policy}' has now; train it again")
    asked = (settings.dtype, settings.quantise)
    if precision != asked and not settings.any_precision:
        raise SparkError(
            f"{folder}: this adapter was trained on a base in {_spoken(precision)}, eval would lay it over "
            f"{_spoken(asked)}; set eval.quantise and synth.dtype to match, or eval.any_precision = true"
        )


def write_questions(folder: Path, trained_on: Iterable[str]) -> None:
    """Say by their contents which questions the adapter was trained on."""
    (folder / QUESTIONS_FILE).write_text(json.dumps(sorted(content[:_TELLING] for content in trained_on)))


def check_questions(folder: Path, asked: Collection[str]) -> None:
    """Refuse to ask what the adapter was trained on. `asked`: the questions' contents. A folder that does not say is
    taken as it is."""
    path = folder / QUESTIONS_FILE
    if not path.exists():
        return
    said = _said(path)
    if not isinstance(said, list) or not all(isinstance(content, str) for content in said):
        raise _unreadable(path)
    trained_on = set(said)
    seen = sum(content[:_TELLING] in trained_on for content in asked)
    if seen:
        raise SparkError(f"eval_questions: {folder} was trained on {seen} of these {len(asked)} questions; ask others")


def _said(path: Path) -> Any:
    """What a JSON file of the folder says; a pipe would be waited for, and is no such file."""
    try:
        return json.loads(path.read_text()) if path.is_file() else None
    except (OSError, ValueError, RecursionError):
        raise _unreadable(path) from None


def _unreadable(path: Path) -> SparkError:
    return SparkError(f"{path}: cannot be read; train the adapter again")


def folder_of(given: str, policies: list[str]) -> Path:
    """The adapter folder that was given where the name of a policy could stand, or a SparkError that lists these."""
    folder = expanded(given, "eval.policies")
    if not folder.is_dir():
        listed = did_you_mean(given, policies, listed=True)
        raise SparkError(f"eval.policies: unknown policy '{given}'{listed}; or give an adapter's folder")
    if not (folder / "adapter_config.json").is_file() or not any(
        path.is_file() for path in folder.glob("adapter_model.*")
    ):
        raise SparkError(
            f"eval.policies: '{given}' holds no adapter in peft's format (adapter_config.json and adapter_model.*); "
            f"give one that does, or one of: {', '.join(policies)}"
        )
    return folder


def labels(folders: Collection[Path], policies: Collection[str]) -> dict[Path, str]:
    """Adapter folder -> its name among the policies: the folder's own, with some of its digest where that is taken."""
    named = {folder: _label(folder) for folder in folders}
    taken = Counter([*policies, *named.values()])
    return {f: name if taken[name] == 1 else f"{name}-{digest_path(f)[:6]}" for f, name in named.items()}


def _label(folder: Path) -> str:
    # Not resolved: the name that a run gives to a file of the store is the one to keep.
    label = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(os.path.abspath(folder)).name)[:_LONGEST].strip("-")
    return label if label.strip("_") else "adapter"


def _spoken(precision: tuple[str, str]) -> str:
    dtype, quantise = precision
    return dtype if quantise == "none" else f"{quantise} ({dtype})"
