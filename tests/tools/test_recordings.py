"""What must hold of recordings: one per tool and query, the latest given counts, a file brings them whole or not at all."""

import pytest

from sparkctl.errors import SparkError
from sparkctl.method import tables
from sparkctl.storage import files
from sparkctl.storage.memory import Memory
from sparkctl.tools.recordings import Imported, Recording, Recordings

XENON = Recording("wikipedia", "xenon", "a gas", True, "live", "2026-01-31T12:00:00Z")
NEON = Recording("wikipedia", "neon", "no result", False, "live", None)
SUM = Recording("calculator", "1 + 1", "2", True, "offline", None)


@pytest.fixture
def recordings(tmp_path):
    return Recordings(Memory(tmp_path / "data" / "memory.sqlite"))


def test_they_come_back_by_tool_and_query(recordings):
    recordings.keep([XENON, NEON, SUM])
    assert recordings.recall("wikipedia", ["xenon", "neon", "argon"]) == {"xenon": XENON, "neon": NEON}
    assert recordings.recall("calculator", ["xenon"]) == {}
    assert recordings.all() == [SUM, NEON, XENON]
    assert recordings.all("wikipedia") == [NEON, XENON]


def test_the_latest_answer_counts_and_the_same_answer_keeps_its_day(recordings):
    recordings.keep([XENON])
    recordings.keep([XENON._replace(recorded_at="2027-01-01T00:00:00Z")])
    assert recordings.all() == [XENON]
    changed = XENON._replace(observation="a noble gas", recorded_at=None)
    before = recordings.identity("wikipedia")
    recordings.keep([changed])
    assert recordings.all() == [changed]
    assert recordings.identity("wikipedia") != before


def test_more_than_sqlite_takes_in_one_statement(recordings):
    many = [SUM._replace(query=str(i)) for i in range(40_000)]
    recordings.keep(many)
    assert len(recordings.recall("calculator", (r.query for r in many))) == 40_000


def test_a_file_goes_round_and_the_same_recordings_give_the_same_bytes(recordings, tmp_path):
    recordings.keep([XENON, NEON, SUM])
    assert recordings.write(tmp_path / "a.parquet") == 3
    fresh = Recordings(Memory(tmp_path / "fresh" / "memory.sqlite"))
    assert fresh.read(tmp_path / "a.parquet") == Imported(new=3, replaced=0, known=0)
    assert fresh.read(tmp_path / "a.parquet") == Imported(new=0, replaced=0, known=3)
    fresh.write(tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert recordings.write(tmp_path / "c.parquet", "wikipedia") == 2


def test_a_contradiction_is_refused_and_nothing_is_taken(recordings, tmp_path):
    recordings.keep([XENON._replace(observation="a metal"), NEON, SUM])
    recordings.write(tmp_path / "file.parquet")
    other = Recordings(Memory(tmp_path / "other" / "memory.sqlite"))
    other.keep([XENON])
    with pytest.raises(
        SparkError, match=r"1 of 3 recordings say otherwise .* the first of wikipedia 'xenon'; .*--replace"
    ):
        other.read(tmp_path / "file.parquet")
    assert other.all() == [XENON]
    assert other.read(tmp_path / "file.parquet", replace=True) == Imported(new=2, replaced=1, known=0)
    assert other.all() == recordings.all()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"query": " xenon"}, "column 'query' has blanks around ' xenon'"),
        ({"tool_name": "cot"}, "unknown tool_name 'cot' in row 1"),
        ({"observation": None}, "column 'observation' is null in row 1"),
    ],
)
def test_a_faulty_file_is_refused(recordings, tmp_path, change, says):
    files.write_parquet(tables.from_rows("recordings", [XENON._asdict() | change]), tmp_path / "f.parquet", {})
    with pytest.raises(SparkError) as fault:
        recordings.read(tmp_path / "f.parquet")
    assert says in str(fault.value)
    assert recordings.all() == []


def test_looking_makes_no_file_and_nothing_to_write_is_told(recordings, tmp_path):
    assert recordings.all() == []
    with pytest.raises(SparkError, match="there are no recordings yet"):
        recordings.write(tmp_path / "a.parquet")
    with pytest.raises(SparkError, match="--tool 'wikipedai': unknown; did you mean 'wikipedia'"):
        recordings.write(tmp_path / "a.parquet", "wikipedai")
    assert not recordings.memory.path.exists()
