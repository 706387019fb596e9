"""Full-text retrieval over offline documents: what `search`, `wikipedia`, `semantic_scholar`, `static_kb` look into.

One SQLite FTS5 index per corpus, in memory or in a file: words are stemmed (porter), ranked by bm25, the title counting
ten times. The best 50 are ranked again: a document gains by the share of its title's words that the query has, for a
query that spells out a title nearly always means it. Measured by benchmarks/retrieval.py.
A query is a bag of words: no character of it acts as an operator.
"""

import re
import sqlite3
from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate
from pathlib import Path
from typing import Self
from urllib.parse import quote

from sparkctl.errors import SparkError
from sparkctl.method.episode import one_line
from sparkctl.tools.observation import Document, Observation

INDEX_VERSION = 1
"""Raised by hand when an index of the same documents is built differently."""
MAX_WORDS = 64
"""Words of a query that are looked up; further ones are ignored."""
TITLE_WEIGHT = 10.0
TITLE_GAIN = 0.4
"""What a title that the query spells out in full adds, as a share of the score."""
RANKED_AGAIN = 50
_WORD = re.compile(r"[^\W_]+")
_STOP_WORDS = frozenset(
    [
        "a",
        "an",
        "and",
        "any",
        "are",
        "as",
        "at",
        "be",
        "been",
        "being",
        "by",
        "can",
        "could",
        "did",
        "do",
        "does",
        "ever",
        "for",
        "from",
        "had",
        "has",
        "have",
        "he",
        "her",
        "him",
        "his",
        "how",
        "i",
        "if",
        "in",
        "is",
        "it",
        "its",
        "may",
        "me",
        "must",
        "my",
        "of",
        "on",
        "or",
        "same",
        "shall",
        "she",
        "should",
        "still",
        "than",
        "that",
        "the",
        "their",
        "them",
        "there",
        "they",
        "this",
        "to",
        "was",
        "we",
        "were",
        "what",
        "when",
        "where",
        "which",
        "who",
        "whom",
        "whose",
        "why",
        "will",
        "with",
        "would",
        "you",
        "your",
    ]
)
_OPEN, _CLOSE = "\x02", "\x03"
_NO_MARKS = {ord(_OPEN): " ", ord(_CLOSE): " "}
_MARKED = re.compile(f"{_OPEN}(.*?){_CLOSE}", re.DOTALL)
_REMARK = re.compile(r"\s*\([^()]*\)\s*\Z")
"""What tells two titles apart, as in `Mercury (planet)`; a query rarely has it."""
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")

_CREATE = "CREATE VIRTUAL TABLE documents USING fts5(title, body, tokenize='porter unicode61')"
_INSERT = "INSERT INTO documents VALUES (?, ?)"
_FOUND = f"""
    SELECT rowid, title, highlight(documents, 0, '{_OPEN}', '{_CLOSE}'), -round(bm25(documents, {TITLE_WEIGHT}, 1.0), 9)
    FROM documents WHERE documents MATCH ? ORDER BY 4 DESC, rowid LIMIT ?
"""
_BODY = f"""
    SELECT title, body, highlight(documents, 1, '{_OPEN}', '{_CLOSE}')
    FROM documents WHERE documents MATCH ? AND rowid = ?
"""


class Retrieval:
    """An index over the documents of one corpus. Documents that are equal count once."""

    def __init__(
        self,
        documents: Iterable[Document] = (),
        *,
        hits: int = 1,
        limit: int = 600,
        database: sqlite3.Connection | None = None,
    ) -> None:
        """`hits`: documents that are shown; `limit`: characters for all of them together."""
        self._hits, self._room = hits, limit // hits
        self._database = database or _in_memory(documents)

    @classmethod
    def of_file(cls, path: Path, *, hits: int = 1, limit: int = 600) -> Self:
        """Over an index that `build` left in a file. A file that is none is a SparkError."""
        try:
            uri = f"file:{quote(str(path.resolve()))}?mode=ro&immutable=1"
            database = sqlite3.connect(uri, uri=True, check_same_thread=False)
            database.execute("SELECT rowid FROM documents LIMIT 1").fetchall()
        except sqlite3.Error as fault:
            raise SparkError(f"{path}: not a usable index ({fault}); delete it, and it is built again") from None
        return cls(hits=hits, limit=limit, database=database)

    def __call__(self, query: str) -> Observation:
        """The best documents as `title: text`, joined by ` | `; the title is left out where the text has it.

        Of a text that is too long, the passage that has the most of the query's words.
        """
        wanted = _match(query)
        shown = [
            _entry(title, _passage(body, marked, self._room - len(title) - 2))
            for rowid, _ in self._best(wanted, self._hits)
            for title, body, marked in self._database.execute(_BODY, (wanted, rowid))
        ]
        return Observation(" | ".join(shown)) if shown else Observation("no result", ok=False)

    def titles(self, query: str, n: int) -> list[str]:
        """Titles of the n best documents, best first."""
        return [title for _, title in self._best(_match(query), n)]

    def close(self) -> None:
        self._database.close()

    def _best(self, wanted: str, n: int) -> list[tuple[int, str]]:
        """(rowid, title) of the best documents. Of equal ones the first in the corpus."""
        if not wanted:
            return []
        found = self._database.execute(_FOUND, (wanted, max(n, RANKED_AGAIN))).fetchall()
        gained = [(-score * (1 + TITLE_GAIN * _share(marked)), rowid, title) for rowid, title, marked, score in found]
        return [(rowid, title) for _, rowid, title in sorted(gained)[:n]]


def build(documents: Iterable[Document], path: Path) -> None:
    """Write the index of a corpus to a new file; the corpus may be larger than memory."""
    database = sqlite3.connect(path, isolation_level=None)
    try:
        # Nobody reads a half-built index, so nothing need survive a crash.
        database.execute("PRAGMA journal_mode=OFF")
        database.execute("PRAGMA synchronous=OFF")
        database.execute("BEGIN")
        database.execute(_CREATE)
        database.executemany(_INSERT, _once(documents))
        database.execute("INSERT INTO documents (documents) VALUES ('optimize')")
        database.execute("COMMIT")
    finally:
        database.close()


def words(query: str) -> list[str]:
    """The words to look up, each once, stop words left out unless there is nothing else."""
    return _telling(list(dict.fromkeys(_WORD.findall(query.lower()))))[:MAX_WORDS]


def _in_memory(documents: Iterable[Document]) -> sqlite3.Connection:
    # Several threads may take turns; that they do not overlap is the caller's part.
    database = sqlite3.connect(":memory:", check_same_thread=False)
    database.execute(_CREATE)
    rows = sorted(_once(documents))  # so that the order in which they came does not matter
    database.executemany(_INSERT, rows)
    return database


def _once(documents: Iterable[Document]) -> Iterable[tuple[str, str]]:
    seen: set[int] = set()
    for document in documents:
        row = _storable(document.title), _storable(document.text)
        if (known := hash(row)) not in seen:
            seen.add(known)
            yield row


def _match(query: str) -> str:
    return " OR ".join(f'"{word}"' for word in words(query))


def _telling(every: list[str]) -> list[str]:
    return [word for word in every if word.lower() not in _STOP_WORDS] or every


def _share(marked_title: str) -> float:
    """Share of the title's words that the query has."""
    core = _REMARK.sub("", marked_title)
    every = _telling(_WORD.findall(core))
    found = _telling(_WORD.findall(" ".join(_MARKED.findall(core))))
    return min(1.0, len(found) / len(every)) if every else 0.0


def _passage(body: str, marked: str, room: int) -> str:
    """The text if it fits, else what fits of it from that sentence on in which, with those after it, most of
    the query's words are."""
    if len(body) <= (room := max(room, 1)):
        return body
    sentences = [part for part in _SENTENCE.split(marked) if part]
    found = [{word.lower() for word in _MARKED.findall(sentence)} for sentence in sentences]
    ends = list(accumulate(len(sentence) - 2 * sentence.count(_OPEN) + 1 for sentence in sentences))
    best, most = 0, 0
    for start in (i for i, words_in in enumerate(found) if words_in):
        before = ends[start - 1] if start else 0
        end = max(start + 1, bisect_right(ends, before + room))  # whole sentences, the first of them in any case
        if (there := len(set().union(*found[start:end]))) > most:
            best, most = start, there
    text = " ".join(sentences[best:]).replace(_OPEN, "").replace(_CLOSE, "")
    return one_line(("… " if best else "") + text, room)


def _entry(title: str, text: str) -> str:
    return text if title.casefold() in text.casefold() else f"{title}: {text}"


def _storable(text: str) -> str:
    return text.translate(_NO_MARKS).encode("utf-8", "replace").decode()
