"""What [train] says to the variants of a recipe, and whether one of them hears it.

A value in [train] is shared: it reaches each variant that has none of its own, and does something there or not. One that
reaches none, or does nothing in all that it reaches, would be ignored without a word.
"""

from collections.abc import Collection, Mapping, Sequence

from sparkctl.config.recipe import Place, Values
from sparkctl.config.settings import refuse_idle
from sparkctl.errors import SparkError, did_you_mean
from sparkctl.training.settings import Train


def refuse_unheard(
    shared: Values, variants: Mapping[str, Values], compared: Sequence[str], changed: Collection[Place]
) -> None:
    """Raise a SparkError for a value of [train] that no variant hears.

    What `--set` wrote, `changed`, must be heard by a variant that is compared; what a file holds may wait for any of the
    recipe's. A value that is the default is never refused, nor is any where no variant is compared.
    """
    _refuse_misnamed(variants, compared, changed)
    for name, value in shared.items() if compared else ():
        if value == Train.model_fields[name].default:
            continue
        asked = ("train", name) in changed
        if asked:
            _refuse_shadowed(name, value, [variants[v] for v in compared], compared)
        hearing = [v for v in (compared if asked else variants) if name not in variants[v]]
        if not asked:  # what `--set` gave a variant of its own is no fault of the file's
            hearing += [v for v in variants if ("train", "variant", v, name) in changed]
        _refuse_idle_in_all(name, [shared | variants[v] for v in hearing])


def _refuse_misnamed(variants: Mapping[str, Values], compared: Sequence[str], changed: Collection[Place]) -> None:
    """A variant that `--set` alone made, and that is not compared, is a slip; one of the file's waits."""
    for name in variants.keys() - set(compared):
        if variants[name] and all(("train", "variant", name, setting) in changed for setting in variants[name]):
            known = [other for other in variants if other != name]
            raise SparkError(
                f"train.variant.{name}: no policy in eval.policies has this name{did_you_mean(name, known)}"
            )


def _refuse_shadowed(name: str, value: object, theirs: Sequence[Values], compared: Sequence[str]) -> None:
    own = [values[name] for values in theirs if name in values]
    if len(own) < len(theirs) or all(one == value for one in own):
        return
    listed = ", ".join(f"{variant}: {one}" for variant, one in zip(compared, own, strict=True))
    raise SparkError(
        f"train.{name}: every variant compared has its own ({listed}), so this one reaches none; "
        f"write --set train.variant.{compared[-1]}.{name}={value}"
    )


def _refuse_idle_in_all(name: str, variants: Sequence[Values]) -> None:
    # Not checked: a variant that is not compared may be wrong as yet.
    laid = [Train.model_construct(**values) for values in variants]
    if all(any(name in use.names for use in settings.idle()) for settings in laid):
        for settings in reversed(laid):
            refuse_idle(settings, {name: None}, "train")
