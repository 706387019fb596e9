"""A recipe's sections, checked: what may stand in each, and what one takes over from another."""

from functools import partial
from pathlib import Path
from typing import Any

from sparkctl.config.recipe import Recipe, Values
from sparkctl.config.settings import Settings, checked, refuse_idle
from sparkctl.errors import SparkError, did_you_mean
from sparkctl.method import names
from sparkctl.method.episode import ACTIONS, TOOLS
from sparkctl.pipeline.graph import BASE, had
from sparkctl.pipeline.ports import tools as tool_ports
from sparkctl.stages import eval as eval_stage
from sparkctl.stages import judge, select, synth
from sparkctl.storage.memory import Memory
from sparkctl.tools.settings import Tools
from sparkctl.training.adapters import folder_of, labels
from sparkctl.training.settings import Train

_SHARED = {"policy": "synth.policy", "dtype": "synth.dtype", "prompt": "synth.md", "name": "the variant's name"}
_OWNED_ELSEWHERE = {
    "synth": {"step": "the round", "descriptions": "tools.descriptions"},
    "judge": {"step": "the round"},
    "select": {"step": "the round", "steps": "synth.steps", "tools": "tools.toml"},
    "train": _SHARED | {"descriptions": "tools.descriptions"},
    "eval": _SHARED | {"steps": "synth.steps", "tools": "tools.toml"},
}
"""Settings that a stage takes over from elsewhere: set under the wrong name they would be ignored without a word."""


_OF_ALL_VARIANTS = {"quantise": "train.quantise, for all variants and their reference"}


_SETTABLE: dict[str, tuple[type[Settings], tuple[str, ...]]] = {
    "synth": (synth.Synth, ("questions", "limit", "categories", "steps")),
    "judge": (judge.Judge, ()),
    "select": (select.Select, ()),
    "train": (Train, ("variant",)),
    "eval": (eval_stage.Eval, ("questions", "limit", "categories", "policies")),
}
"""Section -> its stage's settings, and what else may stand there."""


def _check_known(section: str, values: Values, known: list[str]) -> None:
    for name in values:
        if name not in known:
            raise SparkError(f"{section}.{name}: unknown setting{did_you_mean(name, known)}")


class Sections:
    """A recipe's sections, with what one stage's settings take over from another's recipe."""

    def __init__(self, recipe: dict[str, Values], memory: Memory | None) -> None:
        self.synth, self.judge, self.select, self.tools, self.train, self.eval = (
            dict(recipe[name]) for name in ("synth", "judge", "select", "tools", "train", "eval")
        )
        for section, owners in _OWNED_ELSEWHERE.items():
            for name in owners.keys() & recipe[section].keys():
                raise SparkError(f"{section}.{name}: cannot be set here; it comes from {owners[name]}")
        for section, (kind, taken) in _SETTABLE.items():
            known = sorted({*kind.model_fields, *taken} - _OWNED_ELSEWHERE[section].keys())
            _check_known(section, recipe[section], known)
        self.changed = recipe.changed if isinstance(recipe, Recipe) else frozenset()
        self.variants = self.train.pop("variant", {})
        if not isinstance(self.variants, dict) or not all(isinstance(v, dict) for v in self.variants.values()):
            raise SparkError("train.variant: must hold sections such as [variant.spark] with settings of train")
        for variant, values in self.variants.items():
            names.checked(variant, "train.variant")
            _check_known(f"train.variant.{variant}", values, sorted(Train.model_fields))
        self.toolset: Tools = self.acting(Tools, self.tools, "tools", self.tools)
        self.answering = {name: had(partial(tool_ports.identity, name, self.toolset, memory)) for name in TOOLS}
        described = set(self.tools.get("descriptions", {}))
        if described != set(ACTIONS):
            odd = sorted(described ^ set(ACTIONS))[0]
            raise SparkError(
                f"tools.descriptions: '{odd}' is {'missing' if odd in ACTIONS else 'no action'}; the actions are: {', '.join(ACTIONS)}"
            )
        self.questions = _taken(self.synth, "questions", "limit", "categories")
        self.eval_questions = _taken(self.eval, "questions", "limit", "categories")
        self.steps = self.synth.pop("steps", 5)
        if type(self.steps) is not int or not 1 <= self.steps <= 100:
            raise SparkError(f"synth.steps: must be a whole number from 1 to 100, got {self.steps!r}")
        for variant, values in self.variants.items():
            for name in (_OWNED_ELSEWHERE["train"] | _OF_ALL_VARIANTS).keys() & values.keys():
                owner = (_OWNED_ELSEWHERE["train"] | _OF_ALL_VARIANTS)[name]
                raise SparkError(f"train.variant.{variant}.{name}: cannot be set here; it comes from {owner}")
        self.policies = self._policies(self.eval.pop("policies", [BASE]))
        self.trained = [name for name, folder in self.policies.items() if name != BASE and folder is None]
        self.reader = {name: self.synth[name] for name in ("policy", "dtype", "prompt") if name in self.synth}

    def acting(self, kind: type[Settings], values: Values, section: str, given: Values) -> Any:
        """Checked settings of which none of those given there is idle."""
        settings = checked(kind, values, section)
        refuse_idle(settings, given, section, self.changed)
        return settings

    def _policies(self, listed: Any) -> dict[str, Path | None]:
        """Policy -> the adapter's folder where one was given instead of a name of the recipe's."""
        known = [BASE, *self.variants]
        if not isinstance(listed, list) or not listed or not all(isinstance(name, str) for name in listed):
            raise SparkError(f"eval.policies: must be a list of names, got {listed!r}")
        folders = {name: folder_of(name, known) for name in listed if name not in known}
        label = labels(set(folders.values()), known)
        return {label[folders[name]] if name in folders else name: folders.get(name) for name in listed}


def _taken(values: Values, *names: str) -> Values:
    """These settings, moved out of a section."""
    return {name: values.pop(name) for name in names if name in values}
