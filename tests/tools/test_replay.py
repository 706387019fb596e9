"""A data set that ships with its recordings is made again to the same tables, through the command line."""

import json
import subprocess
import sys

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from helpers.tables_and_fakes import ROOT
from sparkctl.method.episode import TOOLS
from sparkctl.storage import files

pytestmark = pytest.mark.slow

SMALL = ["synth.limit=28", "eval.limit=28", "eval.policies=['base']", "synth.steps=2"]
REPLAY = [f"tools.{name}.backend=replay" for name in TOOLS]
TABLES = ["steps.1", "steps.2", "answers.base"]


def sparkctl(*args, data, sets=()):
    words = [*args, "--data", str(data), *(word for value in sets for word in ("--set", value))]
    done = subprocess.run([sys.executable, "-m", "sparkctl", *words], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done


def table(data, name):
    return files.read_parquet((data / "default" / f"{name}.parquet").resolve())


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """(the folder of a run, the file of its recordings)"""
    folder = tmp_path_factory.mktemp("recorded")
    sparkctl("run", data=folder / "data", sets=SMALL)
    said = sparkctl("recordings", "export", str(folder / "recordings.parquet"), data=folder / "data")
    assert (
        said.stdout
        == f"{pq.read_metadata(folder / 'recordings.parquet').num_rows} recordings written to {folder / 'recordings.parquet'}\n"
    )
    return folder / "data", folder / "recordings.parquet"


def test_every_call_of_the_run_is_in_the_file(recorded):
    data, file = recorded
    there = {(r["tool_name"], r["query"]): r["observation"] for r in pq.read_table(file).to_pylist()}
    steps = [r for name in TABLES[:2] for r in table(data, name).to_pylist() if r["tool_name"] in TOOLS]
    assert len(steps) > 20
    assert all(there[r["tool_name"], r["action_query"]] == r["observation"] for r in steps)


def test_a_replay_elsewhere_gives_the_same_tables(recorded, tmp_path):
    data, file = recorded
    said = sparkctl("recordings", "import", str(file), data=tmp_path / "data").stdout
    n = pq.read_metadata(file).num_rows
    assert said == f"{n} recordings added, 0 replaced, 0 there already\n"
    done = sparkctl("run", data=tmp_path / "data", sets=[*SMALL, *REPLAY])
    assert "came to nothing" not in done.stderr
    for name in TABLES:
        one, two = ((folder / "default" / f"{name}.parquet").resolve() for folder in (data, tmp_path / "data"))
        assert files.digest_artifact(one) == files.digest_artifact(two), name
        assert one.name != two.name, "their keys say that the back ends differ"


def test_what_was_not_recorded_is_an_error_said_once_and_mended_by_an_import(recorded, tmp_path):
    data, file = recorded
    step = next(r for r in table(data, "steps.1").to_pylist() if r["tool_name"] in TOOLS)
    whole = pq.read_table(file)
    gone = pc.and_(pc.equal(whole["tool_name"], step["tool_name"]), pc.equal(whole["query"], step["action_query"]))
    pq.write_table(whole.filter(pc.invert(gone)), tmp_path / "part.parquet")
    sparkctl("recordings", "import", str(tmp_path / "part.parquet"), data=tmp_path / "data")
    done = sparkctl("select", "--step", "1", data=tmp_path / "data", sets=[*SMALL, *REPLAY])
    missing = f"no recording of {step['tool_name']} '{step['action_query'][:60]}'"
    warned = [line for line in done.stderr.splitlines() if "came to nothing" in line]
    assert len(warned) == 1
    assert warned[0].startswith("select.1: ")
    assert missing in warned[0]
    failed = [r for r in table(tmp_path / "data", "steps.1").to_pylist() if r["error"]]
    assert {r["error"] for r in failed} == {missing}
    assert {(r["observation"], r["observation_ok"]) for r in failed} == {(f"error: {missing}", False)}
    sparkctl("recordings", "import", str(file), data=tmp_path / "data")
    plan = json.loads(sparkctl("plan", "--json", data=tmp_path / "data", sets=[*SMALL, *REPLAY]).stdout)
    assert next(p["why"] for p in plan if p["node"] == "select.1") == f"{step['tool_name']} changed"
    sparkctl("select", "--step", "1", data=tmp_path / "data", sets=[*SMALL, *REPLAY])
    assert table(tmp_path / "data", "steps.1").equals(table(data, "steps.1"))
