"""The one kind of error that a user can mend. The command line prints it as one line and exits with 2."""

from collections.abc import Sequence


class SparkError(Exception):
    """Says which file, column or key, what is wrong with it, and what to do. Printed without a traceback."""

    @property
    def lines(self) -> Sequence[str]:
        """What to print: one line."""
        return [str(self)]


class Lacking(SparkError):
    """Several things are missing; each has a line of its own."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("; ".join(lines))
        self._lines = lines

    @property
    def lines(self) -> Sequence[str]:
        """What to print: a line for each thing."""
        return self._lines
