"""Whether a folder lies on a disk that several machines may share, such as a network disk.

SQLite's write-ahead log keeps its index in memory that is shared through a file: all who use it must have one kernel
(sqlite.org/wal.html). Nor does a lock of one kernel (flock) hold back another. Where that may be so, other ways are taken,
which are right on every disk and slower: to be wrong in this direction costs time, in the other direction the file.
"""

import re
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
"""What is mounted where (proc(5)); there on Linux alone."""
_NETWORK = "nfs nfs4 cifs smb3 smbfs ncpfs afs coda ceph beegfs gpfs lustre orangefs pvfs2"
_CLUSTER = "gfs2 ocfs2"
_OF_A_HOST = "9p virtiofs vboxsf vmhgfs prl_fs"
"""A folder of the host in a virtual machine: two kernels."""
_SHARED = frozenset(f"{_NETWORK} {_CLUSTER} {_OF_A_HOST}".split())
_LOCAL_FUSE = frozenset(("fuse.fuse-overlayfs", "fuse.ntfs-3g"))
"""Most others (sshfs, s3fs, gcsfuse, rclone, glusterfs, ...) bring what is elsewhere, and new ones come: each counts as shared.
A disk with NTFS may also be called `fuseblk`, which is local."""


def shared(path: Path, mounts: Path | None = None) -> str | None:
    """The name of the file system on which this path lies, or will, if several machines may share it; else None."""
    kind = _kind(path.resolve(), mounts or MOUNTS)
    return kind if kind in _SHARED or (_is_fuse(kind) and kind not in _LOCAL_FUSE) else None


def _is_fuse(kind: str) -> bool:
    return kind == "fuse" or kind.startswith("fuse.")


def _kind(path: Path, mounts: Path) -> str:
    """The file system of the nearest mount above; of two on one place the later. Empty where nothing tells."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    nearest, kind = -1, ""
    for line in lines:
        mount, _, source = line.partition(" - ")
        place = Path(_unescaped(mount.split(" ")[4]))
        if path.is_relative_to(place) and len(place.parts) >= nearest:
            nearest, kind = len(place.parts), source.partition(" ")[0]
    return kind


def _unescaped(text: str) -> str:
    r"""Blanks, tabs, line breaks and backslashes stand there as \040, \011, \012, \134."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
