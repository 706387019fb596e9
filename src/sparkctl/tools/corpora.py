"""Corpora from outside: any Parquet file with the columns `title` and `text`, both text, looked up by full text.

The index of a file is built once, in the cache of the data folder, under a name made of the file's bytes and the
index's version; it is written to a temporary name and moved into place, so that its existence means it is complete.
Deleting the cache costs the time to build it again and nothing else.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sparkctl.errors import SparkError
from sparkctl.method.ids import digest, digest_path
from sparkctl.storage import files, store
from sparkctl.tools.observation import Document
from sparkctl.tools.offline.retrieval import INDEX_VERSION, build

COLUMNS = ("title", "text")


def identity(path: Path, key: str) -> str:
    """The digest of a corpus' bytes. `key`: the setting that names it. A file that is no corpus is a SparkError."""
    if not path.is_file():
        raise SparkError(f"{key}: no file '{path}'; give a Parquet file with the columns title and text")
    _opened(path).close()
    status = path.stat()
    return _digest(path.resolve(), status.st_size, status.st_mtime_ns)


def index(path: Path, key: str, cache: Path) -> Path:
    """The file of the corpus' index, built if it is not there."""
    place = cache / f"index-{digest([identity(path, key), INDEX_VERSION])[: store.KEY_LENGTH]}.sqlite"
    if not place.exists():
        with files.whole(place) as temporary:
            build(documents(path), temporary)
    return place


def documents(path: Path) -> Iterator[Document]:
    """The rows of a corpus, a few thousand in memory at a time."""
    with _opened(path) as file:
        row = 0
        for batch in _batches(path, file):
            titles, texts = (batch.column(name).cast(pa.string()).to_pylist() for name in COLUMNS)
            for title, text in zip(titles, texts, strict=True):
                row += 1
                if title is None or text is None:
                    name = COLUMNS[title is not None]
                    raise SparkError(f"{path}: column '{name}' is null in row {row}; fill it or drop the row")
                yield Document(path.name, title, text)


def _batches(path: Path, file: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    try:
        for batch in file.iter_batches(batch_size=4096, columns=list(COLUMNS)):
            batch.validate(full=True)  # or text that is not UTF-8 fails far from its file
            yield batch
    except (pa.ArrowException, OSError) as fault:
        raise SparkError(f"{path}: cannot be read ({str(fault).splitlines()[0]}); make it again") from None


def _opened(path: Path) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as fault:
        raise SparkError(f"{path}: not a readable Parquet file ({str(fault).splitlines()[0]})") from None
    if not file.metadata.num_rows:
        raise SparkError(f"{path}: has no rows; a corpus needs at least one")
    for name in COLUMNS:
        if file.schema_arrow.names.count(name) != 1:
            there = ", ".join(file.schema_arrow.names)
            raise SparkError(f"{path}: column '{name}' must be there once; rename yours, of: {there}")
        kind = file.schema_arrow.field(name).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
            raise SparkError(f"{path}: column '{name}' is {kind}, must be string; cast it")
    return file


@cache  # within one command; between commands the bytes decide, as for every input
def _digest(path: Path, size: int, changed: int) -> str:
    return digest_path(path)
