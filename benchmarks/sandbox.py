"""How many calls of python_repl a minute, one after the other, and what the sandbox costs against plainer ways.

Run: python benchmarks/sandbox.py [--mode bwrap|landlock] [--calls N] [--json FILE]
The peers, measured in the same run, interleaved, on the same programs: a plain `python -c` per call, without any
protection; the same sandbox set up anew for each call, which is bubblewrap as it is mostly used; and our own process
without a sandbox. The median of the rounds counts.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from sparkctl.tools.python.repl import PythonRepl
from sparkctl.tools.python.sandbox import ISOLATING, missing
from sparkctl.tools.python.zygotes import Isolation

ROUNDS = 5
SHORT = [f"print({n} * {n + 1})" for n in range(50)]
LONG = [f"import numpy as np; print(int(np.arange({n}).sum()))" for n in range(50)]


def plain(code: str) -> str:
    """The interpreter, started anew, with the start-up options of the sandbox and site-packages."""
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def anew(mode: Isolation, code: str) -> str:
    """A sandbox for one call."""
    tool = PythonRepl(sandbox=mode)
    try:
        return tool(code).text
    finally:
        tool.close()


def per_minute(call: Callable[[str], str], programs: list[str], calls: int) -> float:
    """Calls per minute, each answer checked."""
    begun = time.perf_counter()
    for i in range(calls):
        n = i % len(programs)
        assert call(programs[n]) == str(n * (n + 1) if programs is SHORT else n * (n - 1) // 2)
    return 60 * calls / (time.perf_counter() - begun)


def cold_start(mode: Isolation, code: str) -> float:
    """Seconds from nothing to the first answer, in a process that has set up no sandbox before."""
    program = (
        "import time; from sparkctl.tools.python.repl import PythonRepl; begun = time.perf_counter()\n"
        f"tool = PythonRepl(sandbox={mode!r}); assert tool({code!r}).ok; print(time.perf_counter() - begun); tool.close()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    """Measure, print, and write JSON where told."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--mode", choices=ISOLATING, default=ISOLATING[0])
    asked = parser.parse_args()
    mode: Isolation = asked.mode
    if fault := missing(mode):
        raise SystemExit(fault)
    tool, bare = PythonRepl(sandbox=mode), PythonRepl(sandbox="none")
    few = max(1, asked.calls // 20)
    ways: dict[str, Callable[[], float]] = {
        "calls_per_minute": lambda: per_minute(lambda code: tool(code).text, SHORT, asked.calls),
        "unprotected": lambda: per_minute(lambda code: bare(code).text, SHORT, asked.calls),
        "subprocess": lambda: per_minute(plain, SHORT, few),
        "sandbox_anew": lambda: per_minute(partial(anew, mode), SHORT, few),
        "numpy_calls_per_minute": lambda: per_minute(lambda code: tool(code).text, LONG, asked.calls),
        "numpy_subprocess": lambda: per_minute(plain, LONG, few),
        "cold_start_s": lambda: cold_start(mode, "1"),
        "numpy_cold_start_s": lambda: cold_start(mode, "import numpy"),
    }
    for started in (tool, bare):
        started("import numpy")
    rounds = [{name: way() for name, way in ways.items()} for _ in range(ROUNDS)]
    tool.close()
    bare.close()
    middle = {name: statistics.median(each[name] for each in rounds) for name in ways}
    result: dict[str, object] = {name: round(value, 3 if name.endswith("_s") else 0) for name, value in middle.items()}
    result |= {
        "mode": mode,
        "over_subprocess": round(middle["calls_per_minute"] / middle["subprocess"], 1),
        "over_sandbox_anew": round(middle["calls_per_minute"] / middle["sandbox_anew"], 1),
        "over_unprotected": round(middle["calls_per_minute"] / middle["unprotected"], 2),
        "numpy_over_subprocess": round(middle["numpy_calls_per_minute"] / middle["numpy_subprocess"], 1),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
    }
    print(json.dumps(result, indent=1))
    if asked.json:
        asked.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
