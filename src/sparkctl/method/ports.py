"""The shapes of the narrow doors to the outer world: a port takes a list of requests and gives their replies."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Request = dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """What came back: a body, or an error and no body. `cost_usd` is None where the price is unknown."""

    body: dict[str, Any] | None
    error: str | None = None
    cost_usd: float | None = None


Port = Callable[[Sequence[Request]], list[Reply]]
Arrived = Callable[[int, Reply], None]
StreamingPort = Callable[[Sequence[Request], Arrived], None]
"""A port that gives each reply as it comes, with the place of its request, in any order."""

Advance = Callable[..., None]
"""Called with how many more are done."""
Watch = Callable[..., None]
"""`watch(n, known, cost_usd=0.0)`: n more requests are done, `known` of them were remembered; what the others cost,
None where that is unknown."""


Inputs = Mapping[str, Any]
"""Input name -> pyarrow Table, or Path of an adapter folder, or absent where the stage can do without."""
