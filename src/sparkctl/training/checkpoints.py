"""Stop and go: what training needs to go on from an update, written whole or not at all."""

import os
from pathlib import Path
from typing import Any

import torch

from sparkctl.errors import SparkError

_FILE = "state.pt"
LAST_GOOD = "last_good"
"""Folder of the adapter that is kept when training stops on numbers that are not finite."""


def write(folder: Path, state: dict[str, Any]) -> None:
    """Replace the checkpoint in one move; a kill leaves the one before."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"{_FILE}.{os.getpid()}.part"
    torch.save(state, temporary)
    temporary.replace(folder / _FILE)


def read(folder: Path) -> dict[str, Any] | None:
    """The state to go on from, or None where there is none."""
    path = folder / _FILE
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as fault:  # pickle, zip and torch each raise their own
        first = (str(fault).splitlines() or [type(fault).__name__])[0]
        raise SparkError(f"{path}: checkpoint cannot be read ({first}); delete the folder to begin anew") from None
    return state
