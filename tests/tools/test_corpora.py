"""What must hold of a corpus from outside: its bytes name its index, which is built once; a fault of the file is named."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sparkctl.errors import SparkError
from sparkctl.tools import corpora
from sparkctl.tools.offline.retrieval import Retrieval


def written(path, **columns):
    pq.write_table(pa.table(columns), path)
    return path


@pytest.fixture
def corpus(tmp_path):
    return written(tmp_path / "corpus.parquet", doc_id=[1, 2], title=["Xenon", "Argon"], text=["a gas", "a lazy gas"])


def test_an_index_is_built_once_and_found_by_the_bytes_of_the_corpus(corpus, tmp_path):
    cache = tmp_path / "cache"
    first = corpora.index(corpus, "tools.static_kb.corpus", cache)
    stamp = first.stat().st_mtime_ns
    copy = tmp_path / "elsewhere.parquet"
    copy.write_bytes(corpus.read_bytes())
    assert corpora.index(copy, "tools.static_kb.corpus", cache) == first
    assert first.stat().st_mtime_ns == stamp
    assert Retrieval.of_file(first)("lazy").text == "Argon: a lazy gas"
    written(corpus, title=["Neon"], text=["a bright gas"])
    other = corpora.index(corpus, "tools.static_kb.corpus", cache)
    assert Retrieval.of_file(other)("gas").text == "Neon: a bright gas"
    assert sorted(p.name for p in cache.iterdir()) == sorted({first.name, other.name})


def test_a_build_that_fails_leaves_nothing_behind(tmp_path):
    """An index that exists is complete."""
    path = written(tmp_path / "c.parquet", title=["a"] * 5000, text=[*(["b"] * 4999), None])
    with pytest.raises(SparkError, match=r"c\.parquet: column 'text' is null in row 5000"):
        corpora.index(path, "tools.search.corpus", tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())])
def test_every_kind_of_text_column_is_read(tmp_path, kind):
    table = {name: pa.array(["Xenon"]).cast(kind) for name in corpora.COLUMNS}
    assert [d.title for d in corpora.documents(written(tmp_path / "c.parquet", **table))] == ["Xenon"]


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"name": ["a"], "text": ["b"]}, "c.parquet: column 'title' must be there once; rename yours, of: name, text"),
        ({"title": ["a"], "text": [1]}, "c.parquet: column 'text' is int64, must be string; cast it"),
        ({"title": ["a"], "text": [["b"]]}, "column 'text' is list<"),
    ],
)
def test_a_wrong_column_is_named(tmp_path, columns, says):
    path = written(tmp_path / "c.parquet", **columns)
    with pytest.raises(SparkError) as fault:
        corpora.identity(path, "tools.search.corpus")
    assert says in str(fault.value)


def test_a_file_that_is_none_is_named_with_its_setting(tmp_path):
    with pytest.raises(SparkError, match=r"tools\.search\.corpus: no file 'nowhere'"):
        corpora.identity(tmp_path.__class__("nowhere"), "tools.search.corpus")
    (tmp_path / "c.parquet").write_text("title,text\n")
    with pytest.raises(SparkError, match=r"c\.parquet: not a readable Parquet file"):
        corpora.identity(tmp_path / "c.parquet", "tools.search.corpus")


def test_text_that_is_not_utf8_is_named(tmp_path):
    broken = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(bytes([0, 0, 0, 0, 1, 0, 0, 0])), pa.py_buffer(b"\xff")]
    )
    path = written(tmp_path / "c.parquet", title=["a"], text=broken)
    with pytest.raises(SparkError, match=r"c\.parquet: cannot be read") as fault:
        list(corpora.documents(path))
    assert "\n" not in str(fault.value)
