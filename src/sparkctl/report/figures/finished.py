"""Which answers count: those that no failed call of the policy ended. Every figure of answers is of these alone.

Of the others nothing is known, neither whether they would be right nor which tools would have come next. They are
counted apart (`Summary.errors`).
"""

import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


def is_finished(answers: pa.Table) -> NDArray:
    """(rows,): of an answers table. Tables of eval's versions up to 3 hold false for an outage, but its error too."""
    return pc.and_(pc.is_valid(answers["is_correct"]), pc.is_null(answers["error"])).to_numpy()


def finished(answers: pa.Table) -> pa.Table:
    """The rows of an answers table that count."""
    return answers.filter(is_finished(answers))
