"""What must hold of two commands in one data folder: the second is told who works there; who ends, however, lets go."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from helpers.command_line import ROOT, refused, sparkctl
from sparkctl.errors import SparkError
from sparkctl.storage import lock

HOLDER = """
import sys, time
from pathlib import Path
from sparkctl.storage import lock
sys.argv = ["sparkctl", "run", "--set", "a b"]
with lock.held(Path(sys.argv and "{data}")):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that makes things in tmp_path."""
    program = HOLDER.format(data=tmp_path)
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_second_is_told_who_makes_things_and_since_when(tmp_path, holder):
    says = (
        f"process {holder.pid} ('sparkctl run --set 'a b'', since {time.strftime('%Y-%m-%d')}",
        "choose another --data",
    )
    refused(sparkctl("synth", "--step", "1", "--data", tmp_path, "--set", "synth.limit=2"), *says)
    refused(sparkctl("gc", "--yes", "--data", tmp_path), *says)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("command", [("plan",), ("gc",), ("path", "steps"), ("show", "scores")])
def test_who_only_reads_is_not_kept_waiting(tmp_path, holder, command):
    done = sparkctl(*command, "--data", tmp_path)
    assert "is making things here" not in done.stderr


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM])
def test_who_ends_lets_go_however_it_ends(tmp_path, holder, sign):
    holder.send_signal(sign)
    holder.wait()
    with lock.held(tmp_path):
        assert (tmp_path / lock.NAME).exists()
    assert not (tmp_path / lock.NAME).exists()


def test_one_at_a_time(tmp_path):
    with lock.held(tmp_path), pytest.raises(SparkError, match=f"process {os.getpid()}"), lock.held(tmp_path):
        raise AssertionError
    with lock.held(tmp_path), lock.held(tmp_path / "other"):
        pass


def test_where_nothing_can_be_locked_it_is_said_and_goes_on(tmp_path, monkeypatch):
    def no_locks(*args):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(lock.fcntl, "flock", no_locks)
    said = []
    with lock.held(tmp_path, said.append):
        assert "cannot be locked here (Operation not supported)" in said[0]


def test_a_file_that_its_holder_deleted_as_we_opened_it_holds_nobody_back_and_is_not_ours(tmp_path, monkeypatch):
    flock, path = lock.fcntl.flock, tmp_path / lock.NAME
    path.touch()

    def as_the_holder_ends(file, how):
        monkeypatch.setattr(lock.fcntl, "flock", flock)
        path.unlink()
        flock(file, how)

    monkeypatch.setattr(lock.fcntl, "flock", as_the_holder_ends)
    with lock.held(tmp_path):
        assert json.loads(path.read_text())["pid"] == os.getpid(), "the lock is on the file that others will open"
        with pytest.raises(SparkError, match=f"process {os.getpid()}"), lock.held(tmp_path):
            raise AssertionError
