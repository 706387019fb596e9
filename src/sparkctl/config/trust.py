"""Whether code that comes with a model may run: only where `--trust-remote-code` was said on this command line.

Every library that opens a model is told. transformers, where it is not, asks on the terminal, and takes any "y" there.
"""

import os

_VARIABLE = "SPARKCTL_TRUST_REMOTE_CODE"
"""Of the environment: so it reaches the processes that a run starts."""


def say(trusted: bool) -> None:
    """What the command line said; what the environment held before does not count."""
    os.environ[_VARIABLE] = str(int(trusted))


def said() -> bool:
    """Whether code of a model may run."""
    return os.environ.get(_VARIABLE) == "1"
