"""Outages: calls of the policy or of the judge that failed. A few are rows with their error; more end the stage.

An outage is neither a wrong answer nor a low score, and nothing is known for it: `score` and `is_correct` are null, the
row says why, and no figure counts it. A prompt that outgrows the model's context is a failed call as well. A failed call
of a tool is none: the policy reads the error and goes on.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Annotated

from pydantic import Field

from sparkctl.errors import SparkError

MaxFailed = Annotated[float, Field(ge=0, le=1)]
"""A stage's setting `max_failed`, a knob: the largest share of its calls that may fail, from 0 to 1."""
USUAL = 0.02
"""What is allowed unless a recipe says more. Calls are seldom lost at random (long prompts, busy hours); with 2 in 100 lost
the accuracy is at most some 2 points off, were all of them right, or all wrong."""


def settle(
    stage: str,
    what: str,
    n: int,
    errors: Sequence[str],
    allowed: float,
    warn: Callable[[str], None],
    *,
    then: str,
    mend: str = "mend that and run again, what succeeded is remembered",
) -> None:
    """A SparkError where len(errors) / n > allowed, or where all of n failed; a warning where fewer did.

    `n`: calls in this run of the stage, those answered from memory included; `errors`: why each failed one did. So of
    fewer than 50 calls 2 % allows none. For the reader: `what` failed, in words, what is done `then`, how to `mend` it.
    """
    if not errors:
        return
    failed = f"{len(errors)} of {n} {what}"
    if len(errors) == n:
        # Stored, such a table would count as done; nothing can follow from it.
        raise SparkError(f"{stage}: {failed}, the first with: {errors[0]}; {mend}")
    if len(errors) / n > allowed:
        raise SparkError(
            f"{stage}: {failed}, more than {stage}.max_failed = {allowed:g} allows, the first with: {errors[0]}; {mend}, "
            f"or go on without them: --set {stage}.max_failed=1"
        )
    fault, times = Counter(errors).most_common(1)[0]
    warn(f"{failed}, {times} of them with: {fault}; {then}")
