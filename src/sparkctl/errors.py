"""The one kind of error that a user can mend. The command line prints it as one line and exits with 2."""

from collections.abc import Sequence
from difflib import get_close_matches


class SparkError(Exception):
    """Says which file, column or key, what is wrong with it, and what to do. Printed without a traceback."""

    @property
    def lines(self) -> Sequence[str]:
        """What to print: one line."""
        return [str(self)]


def first_line(fault: BaseException) -> str:
    """The first line of an error."""
    return (str(fault).strip().splitlines() or [type(fault).__name__])[0]


class Lacking(SparkError):
    """Several things are missing; each has a line of its own."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("; ".join(lines))
        self._lines = lines

    @property
    def lines(self) -> Sequence[str]:
        """What to print: a line for each thing."""
        return self._lines


def did_you_mean(name: str, known: tuple[str, ...] | list[str], *, listed: bool = False) -> str:
    """`; did you mean 'x'?` with the nearest known name, else the list of what there is. `listed`: that list anyhow."""
    near = get_close_matches(name, known, n=1)
    there = f"here are: {', '.join(known)}"
    if not near:
        return f"; t{there}"
    return f"; did you mean '{near[0]}'?" + (f" T{there}" if listed else "")
