"""What the stages make of fixed replies is pinned: a change of form leaves it as it is, a change of meaning raises
the stage's `version` and the golden file with it. Write it anew: GOLDEN=write pytest tests/test_golden.py
"""

import json
import os

import pytest

from helpers.tables_and_fakes import ROOT, questions_table
from sparkctl.method.ids import digest
from sparkctl.pipeline import graph
from sparkctl.pipeline.experiment import Workbench
from sparkctl.storage import files

GOLDEN = ROOT / "tests" / "golden" / "tables.json"
SMALL = ("synth.limit=6", "eval.limit=14", "eval.policies=['base']", "synth.steps=3", "synth.samples=2")


@pytest.fixture
def made(tmp_path, fakes):
    """Artifact -> version of the stage that makes it, rows, and a digest of them all."""
    path = tmp_path / "questions.parquet"
    files.write_table(questions_table(30), "questions", path, {})
    bench = Workbench.open("nano", "r", (*SMALL, f"synth.questions={path}"), tmp_path / "data", ROOT / "stages")
    bench.everything()
    found = {}
    for node in bench.graph:
        for output, artifact in node.writes.items():
            table = files.read_table(bench.store.linked(artifact), output, may_be_empty=True)
            found[artifact] = {"version": node.stage.version, "rows": len(table), "digest": digest(table.to_pylist())}
    return found


def test_the_tables_are_the_golden_ones(made):
    if os.environ.get("GOLDEN") == "write":
        GOLDEN.write_text(json.dumps(made, indent=1) + "\n")
    golden = json.loads(GOLDEN.read_text())
    changed = [name for name in golden if made.get(name) != golden[name]]
    assert changed == [], "if the meaning changed, raise the stage's version; then write the golden file anew"
    assert made.keys() == golden.keys()


def test_every_stage_that_asks_for_replies_is_pinned():
    versions = {a.split(".")[0]: g["version"] for a, g in json.loads(GOLDEN.read_text()).items()}
    assert versions.keys() == {"questions", "eval_questions", "candidates", "scores", "steps", "answers"}
    assert versions["scores"] == graph.STAGES["judge"].version
