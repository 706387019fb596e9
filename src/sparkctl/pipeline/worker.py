"""One of several training processes, started by torchrun: python -m sparkctl.pipeline.worker JOB ROWS"""

import json
import os
import pickle
import sys
from pathlib import Path
from typing import Any

from sparkctl.errors import SparkError
from sparkctl.method.plain import say
from sparkctl.models import loading
from sparkctl.models.learner import Learner
from sparkctl.pipeline.progress import progress
from sparkctl.training.processes import Ranks


def main() -> None:
    """Train this process's share; the first process writes the rows, or the error, for the one that launched it."""
    given, made = Path(sys.argv[1]), Path(sys.argv[2])
    first = os.environ.get("RANK", "0") == "0"
    asked = pickle.loads(given.read_bytes())  # written by the parent process a moment ago
    learner = Learner(asked["job"].settings, identity=asked["identity"], progress=progress, tell=_tell)
    answer: dict[str, Any]
    try:
        rows = learner.fit_here(asked["job"])
        answer = {"rows": rows}
    except SparkError as fault:  # every process meets the same one
        answer = {"error": str(fault)}
    if first:
        made.write_text(json.dumps(answer))
    # A process that left early would have the others killed, the first perhaps while it writes.
    Ranks(loading.device_of(learner.settings.device, "train")).wait()


def _tell(line: str) -> None:
    say(line, sys.stderr)


if __name__ == "__main__":
    main()
