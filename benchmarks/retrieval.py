"""How well the offline retrieval tools find an article: BoolQ's questions to 6,640 articles of Wikipedia, by title.

Run: python benchmarks/retrieval.py [--corpus FILE] [--questions FILE] [--json FILE]
What is measured is what `static_kb` and `wikipedia` run, over an index in a file. Its stop words, weight and gain were
chosen by the figures of every other question (`tuned_on`); `held_out` are the others. A first sweep of the title's weight
alone, over other stop words, had printed both halves.
The peer, measured in the same run: SQLite's FTS5 with its own BM25, all words of the question joined by OR.
"""

import argparse
import json
import os
import platform
import re
import sqlite3
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from sparkctl.tools import corpora
from sparkctl.tools.offline.retrieval import Retrieval

WIKI = Path(__file__).parents[2] / "shared" / "data" / "wiki"
DEPTH = 5
Search = Callable[[str], Sequence[str]]


def questions(file: Path, titles: set[str]) -> list[tuple[str, str]]:
    """(question, title of its article) where the corpus has the article; titles differ in case between the files."""
    rows = pq.read_table(file, columns=["question", "title"]).to_pylist()
    return [(r["question"], r["title"].casefold()) for r in rows if r["title"].casefold() in titles]


def plain(corpus: Path) -> Search:
    """FTS5 as it comes: no stemming, no stop words, no weights."""
    database = sqlite3.connect(":memory:")
    database.execute("CREATE VIRTUAL TABLE documents USING fts5(title, body)")
    database.executemany("INSERT INTO documents VALUES (?, ?)", ((d.title, d.text) for d in corpora.documents(corpus)))
    best = "SELECT title FROM documents WHERE documents MATCH ? ORDER BY rank LIMIT ?"

    def search(question: str) -> list[str]:
        wanted = " OR ".join(f'"{word}"' for word in re.findall(r"\w+", question))
        return [title for (title,) in database.execute(best, (wanted, DEPTH))]

    return search


def places(search: Search, asked: Sequence[tuple[str, str]]) -> tuple[list[int], float]:
    """(for each question how many titles stand above the right one, DEPTH where it is not among them; ms per query)"""
    found, begun = [], time.perf_counter()
    for question, wanted in asked:
        titles = [title.casefold() for title in search(question)]
        found.append(titles.index(wanted) if wanted in titles else DEPTH)
    return found, 1000 * (time.perf_counter() - begun) / len(asked)


def hits(found: Sequence[int], prefix: str = "") -> dict[str, float]:
    """Share of the questions whose article comes first, and among the first five."""
    return {f"{prefix}hit_at_{n}": round(sum(place < n for place in found) / len(found), 4) for n in (1, DEPTH)}


def main() -> None:
    """Measure, print, and write JSON where told."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, default=WIKI / "wiki_articles.parquet")
    parser.add_argument("--questions", type=Path, default=WIKI / "boolq_dev.parquet")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    titles = [document.title.casefold() for document in corpora.documents(options.corpus)]
    asked = questions(options.questions, set(titles))
    with tempfile.TemporaryDirectory() as cache:
        begun = time.perf_counter()
        file = corpora.index(options.corpus, "--corpus", Path(cache))
        build_seconds = time.perf_counter() - begun
        megabytes = file.stat().st_size / 1e6
        index = Retrieval.of_file(file)
        found, ms = places(lambda question: index.titles(question, DEPTH), asked)
        index.close()
    peer, peer_ms = places(plain(options.corpus), asked)
    result: dict[str, Any] = {
        **hits(found),
        **hits(peer, "plain_"),
        "tuned_on": hits(found[::2]),
        "held_out": hits(found[1::2]) | hits(peer[1::2], "plain_"),
        "questions": len(asked),
        "articles": len(titles),
        "build_seconds": round(build_seconds, 2),
        "index_megabytes": round(megabytes, 1),
        "ms_per_query": round(ms, 2),
        "plain_ms_per_query": round(peer_ms, 2),
        "machine": f"{platform.machine()}, one core of {os.cpu_count()}, SQLite {sqlite3.sqlite_version}",
    }
    print(json.dumps(result, indent=1))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
