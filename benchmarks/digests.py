"""What checking the bytes of the store costs: `python benchmarks/digests.py DATA [RUN]`, of a run that is finished.

All its artifacts are measured as a process does that finds them for the first time (digests of what they hold and of
every byte, and the comparison), against the digests alone that keys want with or without a check, once for each reader.
"""

import sys
import time
from pathlib import Path

from sparkctl.storage import digests
from sparkctl.storage.store import Store


def main() -> None:
    """Print artifacts, bytes and seconds, and what share that is of the time that the stages took."""
    store = Store(Path(sys.argv[1]), (sys.argv[2:] or ["default"])[0])
    paths = [path for name in store.artifacts() if (path := store.linked(name))]
    size = sum(p.stat().st_size for path in paths for p in (path.rglob("*") if path.is_dir() else [path]))
    begun = time.perf_counter()
    damaged = [path.name for path in paths if digests.is_other(path)]
    cold = time.perf_counter() - begun
    begun = time.perf_counter()
    for path in paths:
        digests.is_other(path)
    warm = time.perf_counter() - begun
    stages = sum(record["seconds"] for record in store.records())
    print(f"{len(paths)} artifacts, {size / 1e6:.2f} MB, damaged: {', '.join(damaged) or 'none'}")
    print(
        f"first look {1e3 * cold:.1f} ms, again {1e3 * warm:.1f} ms; the stages took {stages:.1f} s: {cold / stages:.2%}"
    )


if __name__ == "__main__":
    main()
