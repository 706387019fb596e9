"""Run: pytest tests/tools/offline/test_retrieval.py"""

from pathlib import Path

import pytest

from sparkctl.errors import SparkError
from sparkctl.tools import Document
from sparkctl.tools.offline.retrieval import MAX_WORDS, Retrieval, build, words

DOCUMENTS = [
    Document("wikipedia", "Krebs cycle", "The Krebs cycle oxidises acetyl-CoA in the mitochondrion."),
    Document("wikipedia", "Mitochondrion", "An organelle that makes most of the cell's ATP."),
    Document("wikipedia", "Demand", "Elasticity tells how demand answers to price AND income."),
]


def test_the_best_document_comes_back_with_its_title_once() -> None:
    index = Retrieval(DOCUMENTS)
    assert index("what is the krebs cycle").text == DOCUMENTS[0].text
    assert index("organelles making ATP").text == "Mitochondrion: An organelle that makes most of the cell's ATP."
    index.close()


def test_a_title_counts_more_than_a_mention() -> None:
    index = Retrieval(DOCUMENTS, hits=2)
    first, second = index("mitochondrion").text.split(" | ")
    assert first.startswith("Mitochondrion: ")
    assert second.startswith("The Krebs cycle")
    index.close()


def test_what_is_not_there_is_no_result() -> None:
    index = Retrieval(DOCUMENTS)
    observation = index("quasar")
    assert (observation.text, observation.ok) == ("no result", False)
    assert not Retrieval([])("anything").ok
    index.close()


@pytest.mark.parametrize(
    "query", ['"', "*", "NEAR(", "NEAR(a b)", "^", "a -", "title:", "'; DROP", "()", "\x00", "🙂", "{a}:"]
)
def test_no_character_is_an_operator(query: str) -> None:
    index = Retrieval(DOCUMENTS)
    assert index(query + " krebs").text == DOCUMENTS[0].text
    index(query)
    index.close()


def test_and_is_a_stop_word_and_not_an_operator() -> None:
    index = Retrieval(DOCUMENTS)
    assert index("krebs AND quasar").text == DOCUMENTS[0].text
    assert index("AND").text.startswith("Elasticity")  # nothing else to look up
    index.close()


def test_ties_go_by_title_whatever_the_order_of_documents() -> None:
    twins = [Document("search", title, "one and the same text") for title in ("Beta", "Alpha", "Gamma")]
    for documents in (twins, twins[::-1]):
        index = Retrieval(documents, hits=3)
        assert [entry.split(":")[0] for entry in index("same text").text.split(" | ")] == ["Alpha", "Beta", "Gamma"]
        index.close()


def test_a_long_query_is_cut_and_a_surrogate_in_a_document_is_replaced() -> None:
    assert len(words(" ".join(f"w{n}" for n in range(10**4)))) == MAX_WORDS
    index = Retrieval([Document("search", "odd", "half \ud800 pair")])
    assert index("pair").text == "odd: half ? pair"
    index.close()


def test_a_title_spelt_out_in_full_comes_before_one_that_is_half_there() -> None:
    """By bm25 alone the longer one wins: it repeats the rare word."""
    titles = ("Mercury", "Mercury Mercury poisoning", "Venus", "Earth", "Mars")
    index = Retrieval([Document("wikipedia", title, f"about {title}") for title in titles])
    assert index.titles("is mercury hot", 2) == ["Mercury", "Mercury Mercury poisoning"]
    index.close()


def test_what_only_tells_titles_apart_is_not_missed_in_the_query() -> None:
    titles = ("Halloween (2018 film)", "Halloween costume")
    index = Retrieval([Document("wikipedia", title, "scary") for title in titles])
    assert index.titles("the new halloween", 1) == ["Halloween (2018 film)"]
    index.close()


LONG = " ".join(f"Sentence {i} says little." for i in range(80))


def test_of_a_long_text_the_passage_that_answers_is_shown_with_the_title() -> None:
    text = f"{LONG} The boiling point of xenon is 165 kelvin. {LONG}"
    index = Retrieval([Document("wikipedia", "Noble gas", text)], limit=200)
    shown = index("boiling point of xenon").text
    assert shown.startswith("Noble gas: … ")
    assert "The boiling point of xenon is 165 kelvin." in shown
    assert len(shown) <= 200
    assert index("noble").text.startswith("Noble gas: Sentence 0 says")  # nothing in the text: its beginning
    index.close()


def test_each_of_several_hits_has_its_share_of_the_room() -> None:
    index = Retrieval([Document("wikipedia", f"Gas {i}", f"{LONG} xenon") for i in range(3)], hits=3, limit=300)
    entries = index("xenon gas").text.split(" | ")
    assert [entry[:7] for entry in entries] == ["Gas 0: ", "Gas 1: ", "Gas 2: "]
    assert all("xenon" in entry and len(entry) <= 100 for entry in entries)
    index.close()


def test_an_index_in_a_file_finds_what_one_in_memory_finds(tmp_path: Path) -> None:
    build([*DOCUMENTS, DOCUMENTS[0]], tmp_path / "index.sqlite")
    index, memory = Retrieval.of_file(tmp_path / "index.sqlite", hits=3), Retrieval(DOCUMENTS, hits=3)
    for query in ("krebs cycle", "elasticity", "an organelle of the cell", "quasar"):
        assert index(query) == memory(query)
    index.close()
    memory.close()


def test_a_file_that_is_no_index_is_named(tmp_path: Path) -> None:
    (tmp_path / "index.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(SparkError, match=r"index\.sqlite: not a usable index .* delete it"):
        Retrieval.of_file(tmp_path / "index.sqlite")
