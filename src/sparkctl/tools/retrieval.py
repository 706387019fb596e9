"""Full-text retrieval over offline documents: what `search`, `wikipedia`, `semantic_scholar`, `static_kb` look into.

One SQLite FTS5 index in memory per source: words are stemmed (porter), ranked by bm25, the title counting double.
A query is a bag of words: no character of it acts as an operator.
"""

import re
import sqlite3
from collections.abc import Iterable

from sparkctl.tools.observation import Document, Observation

MAX_WORDS = 64
"""Words of a query that are looked up; further ones are ignored."""
_WORD = re.compile(r"[^\W_]+")
_STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a an and are as at be by did do does for from had has have how in is it its of on or that the their this to "
        "was were what when where which who whom whose why will with",
    )
)
_BEST = """
    SELECT title, body FROM documents WHERE documents MATCH ?
    ORDER BY round(bm25(documents, 2.0, 1.0), 9), title, body LIMIT ?
"""


class Retrieval:
    """An index over the documents of one source. Documents that are equal count once."""

    def __init__(self, documents: Iterable[Document], *, hits: int = 1) -> None:
        self._hits = hits
        # Several threads may take turns; that they do not overlap is the caller's part.
        self._database = sqlite3.connect(":memory:", check_same_thread=False)
        self._database.execute("CREATE VIRTUAL TABLE documents USING fts5(title, body, tokenize='porter unicode61')")
        rows = sorted({(_storable(document.title), _storable(document.text)) for document in documents})
        self._database.executemany("INSERT INTO documents VALUES (?, ?)", rows)

    def __call__(self, query: str) -> Observation:
        """The best documents as `title: text`, joined by ` | `; the title is left out where the text has it."""
        wanted = " OR ".join(f'"{word}"' for word in words(query))
        found = self._database.execute(_BEST, (wanted, self._hits)).fetchall() if wanted else []
        if not found:
            return Observation("no result", ok=False)
        return Observation(" | ".join(_entry(title, text) for title, text in found))

    def close(self) -> None:
        self._database.close()


def words(query: str) -> list[str]:
    """The words to look up, each once, stop words left out unless there is nothing else."""
    every = list(dict.fromkeys(word.lower() for word in _WORD.findall(query)))
    telling = [word for word in every if word not in _STOP_WORDS] or every
    return telling[:MAX_WORDS]


def _entry(title: str, text: str) -> str:
    return text if title.casefold() in text.casefold() else f"{title}: {text}"


def _storable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
