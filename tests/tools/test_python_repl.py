"""Run: pytest tests/tools/test_python_repl.py"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sparkctl.tools import Observation
from sparkctl.tools.python_repl import PythonRepl


@pytest.fixture(scope="module")
def repl() -> Iterator[PythonRepl]:
    """Limits of 1 s, so that the tests that reach them are quick."""
    tool = PythonRepl(cpu_s=1, wall_s=1.5)
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
        ("import os; sorted(set(os.environ) - {'LC_CTYPE'})", "['PYTHONHASHSEED']"),
        ("__name__", "'__main__'"),
        ("from dataclasses import dataclass\n@dataclass\nclass A:\n  x: int\nA(1)", "A(x=1)"),
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
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("input()", "EOFError: EOF when reading a line"),
        ("import numpy", "ModuleNotFoundError: No module named 'numpy'"),
        ("class E(Exception):\n  def __str__(self): 1/0\nraise E", "E: <exception str() failed>"),
        ("import sys; sys.stdout.close(); print(1)", "ValueError: I/O operation on closed file."),
        ("def f(): return f()\nf()", "RecursionError: maximum recursion depth exceeded"),
        ("x = 'a' * 10**10", "MemoryError"),
        ("x = [0]\nwhile True: x += x", "MemoryError"),
        ("open('f', 'wb').write(b'0' * 2**21)", "OSError: [Errno 27] File too large"),
        ("while True: pass", "error: time limit exceeded"),
        ("print(1)\nimport time; time.sleep(60)", "error: time limit exceeded"),
        (
            "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass",
            "error: time limit exceeded",
        ),
    ],
)
def test_failures_and_limits_are_told(repl: PythonRepl, code: str, text: str) -> None:
    start = time.perf_counter()
    assert repl(code) == Observation(text, ok=False)
    assert time.perf_counter() - start < 5.0  # the limit is 1.5 s


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


def test_random_numbers_are_the_same_in_every_process() -> None:
    answers = []
    for _ in range(2):
        tool = PythonRepl()
        answers.append(tool("import random; print(random.random(), hash('a'), {'a', 'b', 'c'})"))
        tool.close()
    assert answers[0] == answers[1]
    assert answers[0].ok


def test_what_a_child_leaves_running_is_killed(repl: PythonRepl, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    code = f"import os, time\nif os.fork() == 0:\n  time.sleep(0.5)\n  open({str(mark)!r}, 'w')\nelse: print('parent')"
    assert repl(code).text == "parent"
    time.sleep(0.8)
    assert not mark.exists()


@pytest.mark.parametrize(
    "code",
    [
        "import os\nopen(f'/proc/{os.getppid()}/fd/1', 'w').write('{}')",
        "import os\nopen(f'/proc/{os.getppid()}/fd/0').read()",
        "import os\nopen(f'/proc/{os.getppid()}/mem', 'rb').read(1)",
        "import os\nopen('/proc/%d/fd/1' % %d, 'w')",
        'import os\n[os.write(fd, b\'{"ok": true, "text": "fooled"}\\n\') for fd in range(4, 64)]',
    ],
)
def test_the_protocol_is_out_of_reach(repl: PythonRepl, code: str) -> None:
    code = code.replace("'/proc/%d/fd/1' % %d", f"'/proc/{os.getpid()}/fd/1'")
    observation = repl(code)
    assert not observation.ok
    assert "fooled" not in observation.text
    assert repl("print(1)").text == "1"


def test_signals_to_the_zygote_cost_at_most_an_error(repl: PythonRepl) -> None:
    repl("import os, signal\nos.kill(os.getppid(), signal.SIGKILL)")
    assert repl("print(1)") == Observation("1")


def test_a_zygote_that_died_is_replaced() -> None:
    tool = PythonRepl()
    assert tool("1").ok
    assert tool._zygote is not None
    tool._zygote.process.kill()
    assert tool("2").text == "2"
    tool.close()


def test_without_an_interpreter_nothing_runs(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    for python in ("/nowhere/python", "/bin/true", "/bin/cat"):
        tool = PythonRepl(python=python)
        assert tool(f"open({str(mark)!r}, 'w')") == Observation("error: python is not available", ok=False)
        tool.close()
    assert not mark.exists()


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


def test_close_removes_process_and_folder_and_may_be_repeated() -> None:
    tool = PythonRepl()
    folder = tool("import os; print(os.getcwd())").text
    assert tool._zygote is not None
    process = tool._zygote.process
    assert Path(folder).is_dir()
    tool.close()
    tool.close()
    assert process.returncode is not None
    assert not Path(folder).exists()
    assert tool("1").text == "1"  # a later call starts another
    tool.close()


def test_two_hundred_calls_are_quick(repl: PythonRepl) -> None:
    start = time.perf_counter()
    assert all(repl("print(1)").text == "1" for _ in range(200))
    assert time.perf_counter() - start < 10.0  # measured: 0.4 s
