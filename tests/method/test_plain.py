"""What must hold of others' words on a terminal: nothing that it obeys is sent, whichever way the words take there."""

import io
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from helpers.command_line import in_a_process, sparkctl
from helpers.tables_and_fakes import ROOT, question
from sparkctl.method import tables
from sparkctl.method.plain import plain, say
from sparkctl.pipeline.progress import progress
from sparkctl.report.terminal import Screen
from sparkctl.storage.files import write_table
from sparkctl.storage.store import Store

EVIL = "a\x1b]0;owned\x07b\x9b2Jc\u202egnp.exe\u2066d"
SHOWN = r"a\x1b]0;owned\x07b\x9b2Jc\u202egnp.exe\u2066d"


def obeyed(text):
    """What a terminal would act on, or a reader would be misled by."""
    kinds = {"Cc", "Cs", "Zl", "Zp"}
    turns = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    marks = "\u200e\u200f\u061c\ufeff"
    return [c for c in text if c not in "\n\t" and (unicodedata.category(c) in kinds or unicodedata.bidirectional(c) in turns or c in marks)]  # fmt: skip


@given(st.text(st.characters(codec=None)))
def test_nothing_that_a_terminal_obeys_is_left_and_all_else_is(text):
    done = plain(text)
    assert obeyed(done) == []
    assert plain(done) == done
    if not obeyed(text) and not any("\U000e0000" <= c <= "\U000e007f" or "\ufff9" <= c <= "\ufffb" for c in text):
        assert done == text


def test_words_of_other_scripts_stay_as_they_are():
    for words in ["größe\t½", "日本", "שלום", "مرحبا", "नमस्ते", "👩‍🔬", "می‌خواهم"]:
        assert plain(words) == words


def test_each_way_to_the_terminal_is_plain(capsys):
    say(EVIL)
    screen = Screen(file=io.StringIO(), width=200)
    screen.print(EVIL)
    table = Table(title=EVIL)
    table.add_column(EVIL)
    table.add_row(f"[red]{EVIL}[/] :smile:")
    screen.print(table)
    screen.print(Text(EVIL))
    assert capsys.readouterr().out == SHOWN + "\n"
    text = screen.file.getvalue()
    assert obeyed(text) == []
    assert f"[red]{SHOWN}[/] :smile:" in text


def test_a_screen_keeps_its_own_colours():
    screen = Screen(file=io.StringIO(), width=40, force_terminal=True, color_system="standard")
    screen.print("a\x1b[31mb", style="red", highlight=False)
    assert screen.file.getvalue() == "\x1b[31ma\\x1b[31mb\x1b[0m\n"


def test_progress_is_plain(capsys, monkeypatch):
    monkeypatch.setattr("sparkctl.pipeline.progress.QUIET_S", -99.0)
    with progress(EVIL, 3) as advance:
        advance(1, EVIL)
    said = capsys.readouterr().err
    assert said.count(SHOWN) == 2
    assert obeyed(said) == []


@pytest.mark.parametrize("width", ["40", "300"])
def test_show_prints_what_a_table_holds_escaped(tmp_path, width):
    place = tmp_path / "store" / f"questions-{'0' * 20}.parquet"
    write_table(tables.from_rows("questions", [question(1, question=EVIL)]), "questions", place, {})
    Store(tmp_path, "default").link("questions", place)
    done = in_a_process("show", "questions", "--data", tmp_path, env={"COLUMNS": width, "PATH": ""})
    assert done.returncode == 0, done.stderr
    assert obeyed(done.stdout) == []
    assert r"\x1b]0" in done.stdout


def test_an_error_is_one_plain_line(tmp_path):
    done = sparkctl("plan", "--data", tmp_path, "--set", f"synth.{EVIL}=1")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert obeyed(done.stderr) == []
    assert r"\x1b]0;owned" in done.stderr


def test_a_file_that_cannot_be_named_in_utf8_is_named(tmp_path):
    done = in_a_process("score", b"/nowhere/\xff\x1b[2J.parquet".decode("utf-8", "surrogateescape"))
    assert done.returncode == 2
    assert done.stderr.startswith(r"sparkctl: /nowhere/\udcff\x1b[2J.parquet")


def test_a_traceback_is_plain_too():
    code = (
        "import sys; from sparkctl.cli.main import main; from sparkctl.storage import store; sys.argv = ['sparkctl', 'gc']\n"
        f"def garbage(self): raise RuntimeError({EVIL!r})\nstore.Store.garbage = garbage; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert SHOWN in done.stderr
    assert obeyed(done.stderr) == []
