"""The page as text: self-contained, escaped, with a text for every chart. What needs a browser is in test_browser.py."""

import base64
import gzip
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from helpers.finished_runs import HOSTILE, kept, whole
from sparkctl.report import charts, page, write
from sparkctl.report.terminal import NANO_SAYS


class Elements(HTMLParser):
    """Every element with its attributes, and the text of scripts."""

    def __init__(self, text):
        super().__init__()
        self.found, self.scripts, self.inside = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self.inside = tag == "script"

    def handle_data(self, data):
        if self.inside:
            self.scripts.append(data)
            self.inside = False

    def of(self, tag):
        return [attrs for name, attrs in self.found if name == tag]


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    path, _ = write.report(kept(tmp_path_factory.mktemp("data"), whole(text=HOSTILE)).root, ["default"], None)
    return path.read_text()


def test_the_page_refers_to_nothing_outside(html):
    elements = Elements(html)
    for tag, attrs in elements.found:
        for name in ("src", "href", "xlink:href", "action", "data"):
            assert attrs.get(name, "#").startswith("#"), (tag, attrs)
    assert elements.of("link") == []
    assert "@import" not in html
    assert re.findall(r"url\((?!#)", html) == []


def test_only_the_pages_own_script_may_run(html):
    policy = next(a["content"] for a in Elements(html).of("meta") if a.get("http-equiv"))
    script = Elements(html).scripts[-1]
    assert script.startswith('"use strict"')
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def test_what_a_model_wrote_is_nowhere_markup(html):
    assert HOSTILE not in html
    assert "onerror" not in html  # packed with the rollouts, from where only text nodes are made
    packed = next(text for text in Elements(html).scripts if not text.startswith('"use'))
    first = json.loads(gzip.decompress(base64.b64decode(packed)))[0]
    assert first["steps"][0]["thought"] == HOSTILE


def test_names_that_are_markup_are_escaped(tmp_path):
    made = whole()
    made["answers.<b>x"] = made["answers.spark"]
    html = write.report(kept(tmp_path, made).root, ["default"], None)[0].read_text()
    assert "&lt;b&gt;x" in html
    assert "<b>x" not in html


def test_every_chart_has_a_text_alternative_and_a_table(html):
    elements = Elements(html)
    # headline 2, categories, tool mix, by step 3, diversity, tool use, training 5, rewards, judged, cost.
    assert len(elements.of("figure")) == html.count("<svg") == 17
    assert all(figure["role"] == "img" and len(figure["aria-label"]) > 25 for figure in elements.of("figure"))
    sections = re.findall(r'<section class="panel" id="\w+" data-panel="\w+">.*?</section>', html, re.DOTALL)
    assert [section.count("<table>") for section in sections] == [1] * 13


def test_ids_are_unique(html):
    ids = [attrs["id"] for _, attrs in Elements(html).found if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_colours_are_the_pages(html):
    drawn = "".join(re.findall(r"<svg.*?</svg>", html, re.DOTALL))
    assert "var(--series1)" in drawn
    assert re.findall(r"#[0-9a-f]{6}\b", drawn) == []


def test_the_page_names_the_policy_that_it_judges(html):
    assert '<p class="about">What this run shows of spark against base:</p>' in html


def test_a_digest_is_cut_on_the_page_and_whole_in_its_title(html):
    assert f'<td title="questions {"ab" * 32}">questions abababababab</td>' in html


def test_nano_is_not_passed_off_as_more(html, tmp_path):
    assert NANO_SAYS in html
    other = write.report(kept(tmp_path, whole(), policy="llama").root, ["default"], None)[0]
    assert NANO_SAYS not in other.read_text()


def test_the_same_run_gives_the_same_page(tmp_path):
    store = kept(tmp_path, whole())
    first = write.report(tmp_path, ["default"], None)[0].read_bytes()
    assert write.report(store.root, ["default"], None)[0].read_bytes() == first


def test_a_long_table_is_thinned_and_says_so(tmp_path):
    from helpers.finished_runs import updates

    html = write.report(kept(tmp_path, {"updates.spark": updates(450)}).root, ["default"], None)[0].read_text()
    assert "One row in 2 is shown; all 450 are in the file." in html


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        (0.123456, "0.1235"),
        (12345.6, "12,346"),
        (12345, "12,345"),
        (28502668369177, "28502668369177"),
        ("x", "x"),
    ],
)
def test_cells_are_for_people(value, shown):
    assert page.cell(value) == shown


def test_a_cell_cannot_break_a_markdown_table(tmp_path):
    assert page._line(["a|b\nc", "<script>"]) == "| a\\|b c | &lt;script> |"


def test_dollars_in_names_are_no_formula():
    svg = charts.bars("x", ["$a_b$"], {"seconds": [1.0]}, "seconds")
    assert "$a_b$" in svg
