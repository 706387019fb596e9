"""What a run shows, in plain words: did tool choice grow more diverse, did accuracy hold, how sure is that."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from sparkctl.method.episode import ACTIONS
from sparkctl.report.figures.comparison import Comparison
from sparkctl.report.figures.statistics import Interval
from sparkctl.report.figures.summary import Summary
from sparkctl.report.run_tables import BASE, MAIN, Material


@dataclass(frozen=True)
class Verdict:
    """One question that a reader has."""

    question: str
    answer: str
    because: str


def verdicts(run: Material) -> list[Verdict]:
    """About the main policy against the base; empty where there is nothing to compare."""
    if run.main is None:
        return []
    found = run.comparisons[run.main]
    return [_diversity(found), _accuracy(found), _certainty(found)]


def subject(run: Material) -> str:
    """Which policies the verdict is about and, where that is not plain, why these."""
    plain = run.main == MAIN or len(run.comparisons) == 1
    return f"{run.main} against {BASE}" + ("" if plain else f", {run.main} being the last policy evaluated")


def no_verdict(run: Material) -> str:
    """Why there is none."""
    evaluated = list(run.summaries)
    if not evaluated:
        return "No policy has been evaluated yet (`sparkctl eval` does it), so nothing can be said of diversity or accuracy."
    if BASE not in evaluated:
        return f"'{BASE}' has not been evaluated, so there is nothing to compare {', '.join(evaluated)} with."
    if evaluated == [BASE]:
        return f"Only '{BASE}' has been evaluated, so there is nothing to compare it with."
    return (
        "The policies have not answered the same questions, so they cannot be compared; evaluate them again together."
    )


def scored(summaries: Mapping[str, Summary]) -> str:
    """What answers count for that cannot be read."""
    official = [name for name, s in summaries.items() if s.scoring == "official"]
    if not official:
        return "Scored strictly: an answer that is missing or cannot be read counts as wrong."
    whose = "" if len(official) == len(summaries) else f" (of {', '.join(official)})"
    return (
        f"Scored by MMLU-Pro's official rules{whose}: an answer that cannot be read is guessed, and may count as right."
    )


_MODES = {
    "off": "python_repl is OFF on this machine: no sandbox works, so every call of it was refused, and counts as such.",
    "landlock": "python_repl ran in the weaker sandbox 'landlock': user namespaces are forbidden on this machine.",
    "none": "python_repl ran without a sandbox, as asked for.",
}


def walled(run: Material) -> list[str]:
    """What a reader must know of how model-written Python was run; nothing where it was in the strongest sandbox."""
    return [says for mode, says in _MODES.items() if mode in run.sandboxes]


def in_words(found: Comparison) -> str:
    """The comparison of a policy with the base, in one cell of a table."""
    accuracy, entropy = found.accuracy, found.tool_entropy_bits
    diversity = "cannot be told" if entropy.difference is None else _change(entropy.difference, entropy.evidence)
    return f"diversity: {diversity}; accuracy: {_change(accuracy.difference, accuracy.evidence)}"


def _diversity(found: Comparison) -> Verdict:
    entropy = found.tool_entropy_bits
    asked = "Did tool choice grow more diverse?"
    if entropy.difference is None or entropy.difference_ci is None:
        idle = " and ".join(name for name, bits in ((found.a, entropy.a), (found.b, entropy.b)) if bits is None)
        return Verdict(
            asked, "It cannot be told", f"{idle} took no action but the one that answers: there was no choice."
        )
    changed = "Yes, it rose" if entropy.difference > 0 else "No, it fell"
    answer = changed if entropy.evidence else _NO_EVIDENCE
    return Verdict(
        asked,
        f"{answer}: {entropy.difference:+.2f} bits",
        f"Entropy of the tools chosen: {entropy.a:.2f} bits under {found.a}, {entropy.b:.2f} under {found.b}, of at most "
        f"{math.log2(len(ACTIONS)):.2f}. 95 % interval of the difference: {_range(entropy.difference_ci)}.",
    )


def _accuracy(found: Comparison) -> Verdict:
    accuracy = found.accuracy
    low, _ = accuracy.difference_ci
    changed = "It rose" if accuracy.difference > 0 else "No, it fell"
    answer = changed if accuracy.evidence else _NO_EVIDENCE
    lost = f"A loss of up to {-low * 100:.1f} points is not ruled out. " if low < 0 and not accuracy.evidence else ""
    return Verdict(
        "Did accuracy hold?",
        f"{answer}: {accuracy.difference * 100:+.1f} points",
        f"{accuracy.a * 100:.1f} % right under {found.a}, {accuracy.b * 100:.1f} % under {found.b}. 95 % interval of the "
        f"difference: {_range((low * 100, accuracy.difference_ci[1] * 100), 1)}. {lost}{found.test[0].upper()}{found.test[1:]}: p = {accuracy.p:.3f}.",
    )


def _certainty(found: Comparison) -> Verdict:
    needed = found.questions_for_one_point
    enough = needed is not None and needed <= found.accuracy.n
    answer = f"{'Enough' if enough else 'Too few'} questions to see one point" if needed else "It cannot be said"
    size = (
        f"About {needed:,} questions{found.caveat} would show a difference of one point in accuracy (power about 80 %, level 5 %)"
        if needed
        else "No question was answered differently, so how many would show one point is unknown"
    )
    return Verdict(
        "How sure is that?",
        f"{answer} (n = {found.accuracy.n:,})",
        f"{size}. Both policies were asked the same questions; intervals are over questions (entropy: bootstrap, {found.resamples:,} resamples, seed "
        f"{found.seed}). "
        "They leave out that another training run may end elsewhere: this is one.",
    )


_NO_EVIDENCE = "No evidence of a difference"


def _change(difference: float, evidence: bool) -> str:
    return {True: "rose", False: "fell"}[difference > 0] if evidence else "no evidence of a difference"


def _range(interval: Interval, digits: int = 2) -> str:
    return f"{interval[0]:+.{digits}f} to {interval[1]:+.{digits}f}"
