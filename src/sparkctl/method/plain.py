"""Text that others wrote, as it may be printed on a terminal: what a terminal would obey is shown, not sent, keys are
masked.

Models, tools, files and errors may hold escape sequences (move the cursor, rename the window, write the clipboard) and
marks that turn the direction of what follows, so that a reader sees other words than there are (Trojan Source,
CVE-2021-42574). All that reaches the terminal goes through here, at its border; JSON has its own escapes.
"""

import re
import sys
from typing import TextIO

from sparkctl.method import masking

# C0 but tab and line feed, DEL, C1; the Arabic letter mark; marks of direction, their embeddings and isolates; line and
# paragraph separators; byte order mark; interlinear notes; tags, which nobody sees; halves of surrogate pairs.
_OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb\U000e0000-\U000e007f\ud800-\udfff]"
)


def plain(text: str) -> str:
    """The text with such characters written as in Python's `ascii`: `\\x1b`, `\\u202e`, and keys masked. Tabs and line
    feeds stay."""
    return _OBEYED.sub(lambda found: ascii(found[0])[1:-1], masking.masked(text))


def say(text: str, to: TextIO | None = None) -> None:
    """Print a line; `to`: standard output where it is not said."""
    print(plain(text), file=to or sys.stdout, flush=True)
