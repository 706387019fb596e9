"""Scoring, pure: a table of a model's outputs, read by the rules of `reading`, and whether each is right."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from sparkctl.errors import SparkError
from sparkctl.method import checks
from sparkctl.method.answers import Mode, Reading, guess, read_official, read_strict
from sparkctl.method.episode import LETTERS
from sparkctl.method.tables import Column

COLUMNS = (
    Column("question_id", pa.int64(), "id of the question; may occur more than once, say once for each model"),
    Column("model_output", pa.string(), "what the model wrote", null="it wrote nothing: wrong, and not guessed"),
    Column("options", pa.list_(pa.string()), "the options in order A, B, C, ...; at most ten"),
    Column("answer", pa.string(), "letter of the correct option"),
)
"""What `score` reads."""
CATEGORY = Column("category", pa.string(), "any name; read where the table has such a column")
ERROR = Column(
    "error", pa.string(), "why the model could not be asked; read where the table has it", null="it could be asked"
)


def score(outputs: pa.Table, mode: Mode, seed: int, where: str) -> pa.Table:
    """One row per output, in order: question_id, category where there is one, answer_read, is_correct.

    `answer_read` is the letter that the rules read, null where they read none; in official mode a guess may have
    decided `is_correct` then. `is_correct` is null where the table has an error: nothing is known of that output. Errors
    name `where`, column and row.
    """
    columns = (*COLUMNS, *(c for c in (CATEGORY, ERROR) if c.name in outputs.column_names))
    outputs = checks.picked(outputs, columns, where)
    letters, correct = [], []
    for number, row in enumerate(outputs.to_pylist(), 1):
        _check_row(row, f"{where}: row {number}")
        failed = row.get(ERROR.name) is not None
        found = None if failed else _read(row, mode, seed)
        letters.append(found.letter if found and found.by != "guess" else None)
        correct.append(None if failed else found is not None and found.letter == row["answer"])
    kept = outputs.select([c.name for c in columns if c in (COLUMNS[0], CATEGORY)])
    return kept.append_column("answer_read", pa.array(letters, pa.string())).append_column(
        "is_correct", pa.array(correct, pa.bool_())
    )


def _read(row: Mapping[str, Any], mode: Mode, seed: int) -> Reading | None:
    written = row["model_output"]
    if written is None:
        return None
    if mode == "strict":
        return read_strict(written, row["options"])
    return read_official(written) or guess(row["question_id"], row["options"], seed)


def _check_row(row: Mapping[str, Any], where: str) -> None:
    count = len(row["options"])
    if not 1 <= count <= len(LETTERS):
        raise SparkError(f"{where}: column 'options' has {count} options; give 1 to {len(LETTERS)}")
    if len(row["answer"]) != 1 or row["answer"] not in LETTERS[:count]:
        raise SparkError(
            f"{where}: column 'answer' is '{row['answer']}', must be one of {LETTERS[0]} to {LETTERS[count - 1]}, "
            f"the letters of its {count} options"
        )
