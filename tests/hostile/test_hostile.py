"""Damaged files and odd answers are refused in one line, or do no harm: 50 of them here, 1,000 in `make slow`, 10,000 in
`make hostile`. One is made again by `python tests/hostile/fuzz.py --seed NUMBER --count 1`."""

import random
import subprocess
import sys

import pytest

from helpers.tables_and_fakes import ROOT
from hostile.damage import BYTES
from hostile.fuzz import KINDS, mutants, table
from hostile.shapes import reshaped, said, written
from hostile.tables import meaning


def bad(found):
    return [told for told in found if told.outcome == "bad"]


def test_fifty_mutants_that_need_no_run(tmp_path):
    found = list(mutants(range(50), tmp_path, None, KINDS))
    assert not bad(found)
    assert len({told.kind for told in found}) >= 4
    assert {told.outcome for told in found} >= {"refused", "same"}


@pytest.mark.slow
def test_a_thousand_mutants_of_all_kinds():
    command = [sys.executable, str(ROOT / "tests" / "hostile" / "fuzz.py"), "--seed", "1000001", "--count", "1000"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]


def test_a_mutant_is_made_again_by_its_number(tmp_path):
    once, twice = (list(mutants([7, 8, 9], tmp_path / name, None, KINDS)) for name in "ab")
    assert [told.what for told in once] == [told.what for told in twice]
    only = list(mutants([9], tmp_path / "c", None, KINDS))
    assert only[0].what == once[2].what


def test_a_fault_is_seen(tmp_path, monkeypatch):
    """The oracle bites: a reader that raises, one that says nothing, one that reads something else."""
    from sparkctl.cli import main
    from sparkctl.method import checks, scoring

    cast = checks._cast
    monkeypatch.setattr(checks, "_cast", lambda values, column, where: values)
    assert bad(mutants(range(40), tmp_path / "a", None, KINDS[:1])), "types that are not those of the contract"
    monkeypatch.setattr(checks, "_cast", cast)
    monkeypatch.setattr(main, "_fail", lambda *lines: print("no", file=sys.stderr) or sys.exit(2))
    assert bad(mutants(range(10), tmp_path / "b", None, KINDS[:1])), "a line that names nothing"
    monkeypatch.undo()
    monkeypatch.setattr(scoring.checks, "picked", lambda outputs, columns, where: outputs)
    assert bad(mutants(range(40), tmp_path / "c", None, KINDS[:1])), "tables that are not checked"


def test_damage_is_damage():
    rng = random.Random(0)
    for what, damage in BYTES.items():
        assert damage(rng, b'{"some": "text", "more": 1}') != b'{"some": "text", "more": 1}', what
    changed = [reshaped(rng, {"a": {"b": [1, "x"]}}) for _ in range(200)]
    assert sum(said(shape.data) == said(written({"a": {"b": [1, "x"]}})) for shape in changed) < 20
    assert len({shape.what for shape in changed}) > 50
    assert meaning(b"no Parquet") is None


def test_the_table_counts(tmp_path):
    found = list(mutants(range(3), tmp_path, None, KINDS[:1]))
    assert table(found).splitlines()[-1].split()[:2] == ["all", "3"]
