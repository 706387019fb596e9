"""The one kind of error that a user can mend. The command line prints it as one line and exits with 2."""


class SparkError(Exception):
    """Says which file, column or key, what is wrong with it, and what to do. Printed without a traceback."""
