"""One of several training processes, launched by accelerate: python -m sparkctl.backends.worker JOB ROWS"""

import json
import os
import pickle
import sys
from pathlib import Path

from sparkctl.backends.learner import Learner
from sparkctl.errors import SparkError
from sparkctl.progress import progress


def main() -> None:
    """Train this process's share; the first process writes the rows, or the error, for the one that launched it."""
    given, made = Path(sys.argv[1]), Path(sys.argv[2])
    first = os.environ.get("RANK", "0") == "0"
    asked = pickle.loads(given.read_bytes())  # written by the parent process a moment ago
    learner = Learner(asked["job"].settings, identity=asked["identity"], progress=progress, tell=_tell)
    try:
        rows = learner.fit_here(asked["job"])
    except SparkError as fault:
        if first:
            made.write_text(json.dumps({"error": str(fault)}))
        raise SystemExit(2) from None
    if first:
        made.write_text(json.dumps({"rows": rows}))


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
