"""What must hold of data sets from the hub: a folder in its layout is read through `datasets`, its cache works offline,
and what cannot be read is one line."""

import os
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from helpers.tables_and_fakes import question
from sparkctl.errors import SparkError
from sparkctl.method import checks, tables
from sparkctl.models import hub

REVISION = "0123456789abcdef0123456789abcdef01234567"
CARD = """---
configs:
- config_name: default
  data_files:
  - split: test
    path: data/test-*
  - split: validation
    path: data/validation-*
---
"""


def lay_out(folder):
    """A data set in the hub's layout: 12 test rows in two files, 3 validation rows."""
    (folder / "data").mkdir(parents=True)
    (folder / "README.md").write_text(CARD)
    rows = tables.from_rows("questions", [question(i, question=f"what is {i}?") for i in range(15)])
    for name, part in (
        ("test-00000-of-00002", rows[:7]),
        ("test-00001-of-00002", rows[7:12]),
        ("validation-0", rows[12:]),
    ):
        pq.write_table(part, folder / "data" / f"{name}.parquet")
    return folder


@pytest.mark.parametrize(("split", "ids"), [("", range(12)), (":validation", range(12, 15))])
def test_a_split_of_a_folder_is_read_whole_and_in_order(tmp_path, split, ids):
    made = hub.load(f"hub:{lay_out(tmp_path / 'set')}@{REVISION}{split}")
    assert checks.check(made, "questions", "made")["question_id"].to_pylist() == list(ids)


def test_what_the_hub_cache_holds_is_read_without_a_network(tmp_path):
    """The hub's own cache, and a process that is told to be offline."""
    snapshot = tmp_path / "datasets--TIGER-Lab--MMLU-Pro" / "snapshots" / REVISION
    lay_out(snapshot)
    code = f"from sparkctl.models import hub; print(len(hub.load('hub:TIGER-Lab/MMLU-Pro@{REVISION}')))"
    offline = os.environ | {"HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run([sys.executable, "-c", code], env=offline, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, "12"), done.stderr


def test_the_bytes_of_a_folder_decide_its_identity(tmp_path):
    folder = lay_out(tmp_path / "set")
    before = hub.identity(f"hub:{folder}@{REVISION}")
    assert before != hub.identity(f"hub:{folder}@{REVISION}:validation")
    pq.write_table(tables.from_rows("questions", [question(1)]), folder / "data" / "validation-0.parquet")
    assert before != hub.identity(f"hub:{folder}@{REVISION}")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("hub:TIGER-Lab/MMLU-Pro", "say which revision"),
        ("hub:/no/such/folder@main", "no folder '/no/such/folder'"),
        ("hub:@main", "write hub:NAME@REVISION"),
    ],
)
def test_a_source_that_cannot_be_meant_is_refused_before_anything_is_fetched(source, says):
    with pytest.raises(SparkError, match=says):
        hub.identity(source)


def test_an_unknown_split_is_one_line(tmp_path):
    with pytest.raises(SparkError, match="cannot be read") as fault:
        hub.load(f"hub:{lay_out(tmp_path / 'set')}@{REVISION}:train")
    assert "\n" not in str(fault.value)
