"""The one rule for names that become names of files: of runs, of variants, of policies."""

from sparkctl.errors import SparkError

LONGEST = 160
"""Bytes. A file system takes 255; what we put around a name (kind, key, temporary ending) takes less than 60."""


def checked(name: str, key: str) -> str:
    """The name, or a SparkError that begins with `key`. So no name leads to another folder or hides a file."""
    bare = name.replace("-", "").replace("_", "")
    if not bare.isalnum() or len(name.encode()) > LONGEST:
        shown = name if len(name) <= 40 else f"{name[:40]}..."
        raise SparkError(
            f"{key}: '{shown}' cannot be the name of a file; use letters, digits, '-' and '_', {LONGEST} bytes at most"
        )
    return name
