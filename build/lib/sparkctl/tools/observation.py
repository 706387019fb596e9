"""What a tool gives back, and what a corpus is made of."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Observation:
    """The text a tool answered. `ok` is False where the call failed; the text then says why."""

    text: str
    ok: bool = True


class ToolFailed(Exception):
    """A call that came to nothing for a reason outside the query: network, service, time. Never remembered."""


@dataclass(frozen=True)
class Document:
    """One entry of an offline corpus. `source` is the tool that holds it, such as `wikipedia`."""

    source: str
    title: str
    text: str
