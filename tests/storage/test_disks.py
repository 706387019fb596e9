"""What must hold of disks that machines share: they are known, one machine works there, and no write-ahead log is kept."""

import json
import socket
import sqlite3
import subprocess
import sys

import pytest

from helpers.command_line import refused, sparkctl
from helpers.tables_and_fakes import ROOT
from sparkctl.errors import SparkError
from sparkctl.method.ports import Reply
from sparkctl.pipeline import preflight
from sparkctl.storage import disks, lock
from sparkctl.storage.memory import Memory


def mounts_of(tmp_path, *mounts):
    """A mountinfo with these (place, file system), after the root."""
    lines = [
        f"2{i} 1 0:2{i} / {place} rw,relatime shared:1 - {kind} some:/thing rw"
        for i, (place, kind) in enumerate(mounts)
    ]
    path = tmp_path / "mountinfo"
    path.write_text("\n".join(["20 1 254:0 / / rw,relatime - ext4 /dev/vda rw", *lines, ""]))
    return path


@pytest.fixture
def on_nfs(tmp_path, monkeypatch):
    """A data folder that is said to be on a network disk."""
    monkeypatch.setattr(disks, "MOUNTS", mounts_of(tmp_path, (tmp_path / "data", "nfs4")))
    return tmp_path / "data"


KINDS = {
    "nfs": True, "nfs4": True, "cifs": True, "smb3": True, "9p": True, "lustre": True, "ceph": True, "virtiofs": True,
    "fuse.sshfs": True, "fuse.rclone": True, "fuse": True, "fuse.new_one": True,
    "ext4": False, "xfs": False, "btrfs": False, "tmpfs": False, "overlay": False, "zfs": False, "fuseblk": False,
    "fuse.fuse-overlayfs": False,
}  # fmt: skip


@pytest.mark.parametrize(("kind", "is_shared"), KINDS.items())
def test_disks_that_machines_may_share_are_known_by_their_kind(tmp_path, kind, is_shared):
    mounts = mounts_of(tmp_path, ("/data", kind))
    assert disks.shared(disks.Path("/data/not/there/yet"), mounts) == (kind if is_shared else None)
    assert disks.shared(disks.Path("/database"), mounts) is None


def test_the_nearest_mount_counts_and_of_two_on_one_place_the_later(tmp_path):
    within = mounts_of(tmp_path, ("/net/scratch", "xfs"), ("/net", "nfs"))
    assert disks.shared(disks.Path("/net/x"), within) == "nfs"
    assert disks.shared(disks.Path("/net/scratch/x"), within) is None
    assert disks.shared(disks.Path("/net/x"), mounts_of(tmp_path, ("/net", "nfs"), ("/net", "ext4"))) is None
    assert disks.shared(disks.Path("/my disk/x"), mounts_of(tmp_path, (r"/my\040disk", "nfs"))) == "nfs"


def test_where_nothing_tells_what_is_mounted_the_disk_counts_as_local(tmp_path):
    assert disks.shared(tmp_path, tmp_path / "not there") is None


def test_links_to_a_shared_disk_are_followed(tmp_path):
    (tmp_path / "net").mkdir()
    (tmp_path / "data").symlink_to("net")
    assert disks.shared(tmp_path / "data" / "x", mounts_of(tmp_path, (tmp_path / "net", "nfs"))) == "nfs"


def test_a_mount_of_the_kernels_own_is_read(tmp_path):
    """A mount of its own, in a namespace of its own, with a blank in its name: no network disk, for none can be had here."""
    place = tmp_path / "my disk"
    place.mkdir()
    program = f"from pathlib import Path; from sparkctl.storage import disks; print(disks._kind(Path({str(place / 'x')!r}), disks.MOUNTS))"
    script = 'mount -t ramfs none "$1" && exec "$2" -c "$3"'
    words = ["unshare", "-Urm", "sh", "-c", script, "sh", str(place), sys.executable, program]
    try:
        done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False)
    except FileNotFoundError:
        pytest.skip("no unshare on this machine")
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    assert done.stdout == "ramfs\n"


# ---- the memory of replies -------------------------------------------------------------------------------------------


def kept(memory, n):
    memory.keep({f"d{i}": Reply({"text": str(i)}) for i in range(n)})
    return sorted(memory.recall([f"d{i}" for i in range(n)]))


def mode_of(path):
    with sqlite3.connect(path) as db:
        return db.execute("PRAGMA journal_mode").fetchone()[0]


def test_on_a_shared_disk_memory_keeps_no_write_ahead_log(on_nfs):
    one, other = Memory(on_nfs / "memory.sqlite"), Memory(on_nfs / "memory.sqlite")
    assert len(kept(one, 3)) == 3
    assert len(kept(other, 5)) == 5, "two connections of one process, as a run has, do not wait for one another"
    assert len(kept(one, 7)) == 7
    assert mode_of(on_nfs / "memory.sqlite") == "delete"
    assert [path.name for path in on_nfs.iterdir()] == ["memory.sqlite"]


def test_a_memory_that_comes_from_a_local_disk_with_its_log_loses_nothing(tmp_path, monkeypatch):
    """Killed on a local disk, its log left behind, and copied to a network disk."""
    here, there = tmp_path / "here", tmp_path / "data"
    here.mkdir()
    program = (
        "import os; from pathlib import Path; from sparkctl.storage.memory import Memory; from sparkctl.method.ports import Reply\n"
        f"m = Memory(Path({str(here / 'memory.sqlite')!r})); m.keep({{'d0': Reply({{'text': '0'}})}}); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 9
    assert (here / "memory.sqlite-wal").stat().st_size
    here.rename(there)
    monkeypatch.setattr(disks, "MOUNTS", mounts_of(tmp_path, (there, "nfs4")))
    memory = Memory(there / "memory.sqlite")
    assert list(memory.recall(["d0"])) == ["d0"]
    assert not (there / "memory.sqlite-wal").exists()
    assert mode_of(there / "memory.sqlite") == "delete"


def test_on_a_local_disk_memory_keeps_its_write_ahead_log(tmp_path):
    memory = Memory(tmp_path / "memory.sqlite")
    kept(memory, 1)
    assert mode_of(memory.path) == "wal"


def test_a_run_on_a_shared_disk_says_so_in_one_line(on_nfs):
    (found,) = preflight._shared(on_nfs)
    assert (found.works, found.loud) == (None, True)
    assert f"--data '{on_nfs}' is on a disk that machines may share (nfs4)" in found.line
    assert "from one machine at a time; a local disk is faster" in found.line
    assert list(preflight._shared(on_nfs.parent)) == []


# ---- the lock --------------------------------------------------------------------------------------------------------


def left_by(data, host, pid=4711):
    data.mkdir(exist_ok=True)
    (data / lock.NAME).write_text(
        json.dumps({"pid": pid, "host": host, "command": "sparkctl run", "since": "2026-01-01"})
    )


def test_two_machines_do_not_make_things_in_one_folder(on_nfs):
    left_by(on_nfs, "node7")
    refused(
        sparkctl("gc", "--yes", "--data", on_nfs),
        "process 4711 on node7 ('sparkctl run', since 2026-01-01) is making things here, or was killed at it",
        f"(nfs4) that cannot be told from here: wait for it, or delete {on_nfs / lock.NAME} once it has ended",
    )
    (on_nfs / lock.NAME).unlink()
    with lock.held(on_nfs):
        assert json.loads((on_nfs / lock.NAME).read_text())["host"] == socket.gethostname()
    assert not (on_nfs / lock.NAME).exists()


def test_a_file_that_another_machine_has_just_made_has_a_holder_too(on_nfs):
    on_nfs.mkdir()
    (on_nfs / lock.NAME).touch()
    with pytest.raises(SparkError, match="another process is making things here"), lock.held(on_nfs):
        raise AssertionError


def test_what_was_killed_on_this_machine_keeps_nobody_out(on_nfs):
    left_by(on_nfs, socket.gethostname(), pid=2**22 + 1)
    with lock.held(on_nfs):
        pass


def test_on_a_local_disk_the_kernel_knows_best(tmp_path):
    """A container that was killed had another name and left its file; the lock went with it."""
    left_by(tmp_path, "3f2a9c")
    with lock.held(tmp_path):
        pass


def test_where_the_kernel_keeps_no_lock_a_living_process_keeps_others_out(tmp_path, monkeypatch):
    def no_locks(*args):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(lock.fcntl, "flock", no_locks)
    left_by(tmp_path, socket.gethostname(), pid=1)
    with pytest.raises(SparkError, match=r"process 1 .* is making things here"), lock.held(tmp_path):
        raise AssertionError
    left_by(tmp_path, socket.gethostname(), pid=2**22 + 1)  # above the kernel's highest
    with lock.held(tmp_path):
        pass
