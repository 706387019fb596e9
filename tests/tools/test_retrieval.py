"""Run: pytest tests/tools/test_retrieval.py"""

import pytest

from sparkctl.tools import Document
from sparkctl.tools.retrieval import MAX_WORDS, Retrieval, words

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
