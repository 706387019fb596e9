"""What must hold of keys in others' words: none reaches a table, the memory, a recording, an export, a page or the terminal;
what is masked is counted; and no other text is touched."""

import io
import json
import re
import sqlite3
import string
import time
from contextlib import closing

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from helpers.command_line import sparkctl, written
from helpers.tables_and_fakes import SHARED, question
from sparkctl.method import masking, tables
from sparkctl.method.plain import plain, say
from sparkctl.method.ports import Reply
from sparkctl.report.terminal import Screen
from sparkctl.stages import synth
from sparkctl.storage import files
from sparkctl.storage.memory import Memory, remembered, remembered_singly, without_keys
from sparkctl.tools.recordings import Recording, Recordings

# Put together here, so that nobody who looks for keys in this file finds any.
BODY = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8s9T0"
LINES = "\n".join(["MIIEpAIBAAKCAQEA7Zq8v1Kd0s+/aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789"] * 3)
KEYS = {
    "openai": "sk-" + BODY,
    "openai project": "sk-" + "proj-" + BODY + "_" + BODY,
    "anthropic": "sk-" + "ant-api03-" + BODY,
    "aws": "AKIA" + "IOSFODNN7EXAMPLE",
    "github": "ghp_" + BODY[:36],
    "github fine": "github_pat_" + BODY[:22] + "_" + BODY,
    "gitlab": "glpat-" + BODY[:20],
    "google": "AIza" + BODY[:35],
    "slack": "xoxb-" + "123456789012-" + BODY[:24],
    "hugging face": "hf_" + BODY[:34],
    "groq": "gsk_" + BODY,
    "stripe": "sk_live_" + BODY[:24],
    "jwt": "eyJ" + BODY + ".eyJ" + BODY + "." + BODY,
}
PEM = f"-----BEGIN RSA PRIVATE KEY-----\n{LINES}\n-----END RSA PRIVATE KEY-----"
KEY = KEYS["openai project"]
MARK = "[masked: OpenAI or Anthropic key]"
SAID = f"I found {KEY}, which works"
CLEAN = f"I found {MARK}, which works"


@pytest.fixture(autouse=True)
def fresh():
    """Counts and the environment's keys, as a command finds them when it begins."""
    for cached in (masking.forms, files._hints):
        cached.cache_clear()
    masking.told()
    yield
    for cached in (masking.forms, files._hints):
        cached.cache_clear()
    masking.told()


# ---- forms -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("around", ["{}", "key: {}.", "('{}')", '{{"a": "{}"}}', "see\n{}\nthere", "größe={} ok"])
def test_a_key_is_masked_whatever_stands_around_it(key, around):
    done = masking.masked(around.format(key))
    assert re.fullmatch(re.escape(around.format("X")).replace("X", r"\[masked: [A-Za-z ]+\]"), done)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"a {PEM} z", "a [masked: private key] z"),
        (f"a {PEM} z".replace("\n", " "), "a [masked: private key] z"),
        (f"a {PEM[:120]}… z", "a [masked: private key]… z"),  # cut, as long observations are
        (PEM.replace("RSA ", "ENCRYPTED "), None),
        ("postgres://ann:hunter2@db.example/x", "postgres://ann:[masked: password in an address]@db.example/x"),
        ("Authorization: Basic YW5uOmh1bnRlcjI=", "Authorization: Basic [masked: key in a header]"),
        (f"Bearer {BODY}", "Bearer [masked: key in a header]"),
        (f"x-api-key: {BODY}", "x-api-key: [masked: key in a header]"),
        (f"https://a.example/?token={BODY}&b=1", "https://a.example/?token=[masked: key in an address]&b=1"),
        (f"aws_secret_access_key = {BODY}", "aws_secret_access_key = [masked: AWS key]"),
    ],
)
def test_what_tells_a_key_stays(text, shown):
    done = masking.masked(text)
    assert done == shown if shown else done == "[masked: private key]"


@pytest.mark.parametrize(
    "text",
    [
        "sk-learn-and-other-libraries-for-machine-learning",
        "the task-1234567890123456789012345 of risk-01234567890123456789",
        "ASIAKKKKLLLLMMMMNNNN is a protein",
        "-----BEGIN RSA PRIVATE KEY----- begins a key, and what follows is base64",
        "the bearer of this letter; a bearer bond; Bearer authentication",
        "password = 'abc'; api_key = os.environ['KEY']",
        "http://localhost:8080/a@b, ann@example.org, https://x.example/path:with@sign",
        "eyJ.eyJ.x and AIza and hf_ and xox-",
        "ATGCATGCATGCATGCATGC 0123456789abcdef0123456789abcdef 4f0f2b1c-8a3e-4d0e-9f1a-2b3c4d5e6f70",
    ],
)
def test_what_only_resembles_a_key_stays(text):
    assert masking.masked(text) == text


def test_values_of_the_environments_keys_are_masked(monkeypatch):
    monkeypatch.setenv("WOLFRAM_ALPHA_API_KEY", "QUERTZ-correcthorse")
    monkeypatch.setenv("SOME_TOKEN", "short")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "neither-a-key-nor-one")
    done = masking.masked("QUERTZ-correcthorse, short, neither-a-key-nor-one")
    assert done == "[masked: value of WOLFRAM_ALPHA_API_KEY], short, neither-a-key-nor-one"


@given(st.text(st.sampled_from("sk-proj1:/@.eyJ \n=-" + string.ascii_letters)) | st.sampled_from([*KEYS.values(), PEM]))
@example("://a:b@c" * 3)
def test_masked_is_masked_once_and_for_all(text):
    once = masking.masked(text + f" and {text}")
    assert masking.masked(once) == once


@pytest.mark.parametrize(
    "part",
    [
        "sk-",
        "sk-a-",
        "eyJ",
        "eyJa.",
        "://a:",
        "-----BEGIN PRIVATE KEY-----",
        "bearer ",
        "api_key=",
        "AKIA",
        "xoxb-",
        "&key=",
        "A" * 16 + "\n",
    ],
)
def test_hostile_text_takes_linear_time(part):
    text = "-----BEGIN PRIVATE KEY-----" + part * (1_000_000 // len(part))
    begun = time.perf_counter()
    masking.masked(text)
    assert time.perf_counter() - begun < 5


def texts_of(path):
    table = pq.read_table(path)
    for name in table.column_names:
        for value in table[name].to_pylist():
            yield from [value] if isinstance(value, str) else [v for v in value or [] if isinstance(v, str)] if isinstance(value, list) else []  # fmt: skip


@pytest.mark.parametrize(
    "file", ["mmlu_pro/test", "mmlu_pro/validation", "mmlu_pro/official_outputs_sample", "wiki/wiki_articles_small"]
)
def test_no_text_of_mmlu_pro_nor_of_models_that_answered_it_is_touched(file):
    path = SHARED / f"{file}.parquet"
    if not path.is_file():
        pytest.skip(f"{path} is not there: the shared data set")
    assert [text for text in texts_of(path) if masking.masked(text) != text] == []


# ---- sinks -----------------------------------------------------------------------------------------------------------


def test_tables_are_masked_as_they_are_written_and_as_they_are_read(tmp_path):
    rows = [question(1, question=SAID, options=["a", SAID]), question(2)]
    files.write_table(
        tables.from_rows("questions", rows), "questions", tmp_path / "q.parquet", {"settings": {"p": SAID}}
    )
    assert KEY.encode() not in (tmp_path / "q.parquet").read_bytes()
    stored = pq.read_table(tmp_path / "q.parquet")
    assert stored["question"].to_pylist() == [CLEAN, question(2)["question"]]
    assert stored["options"].to_pylist() == [["a", CLEAN], question(2)["options"]]
    assert files.provenance(tmp_path / "q.parquet")["settings"] == {"p": CLEAN}
    assert masking.told() == "masked what looks like keys or passwords: 1 in questions.options, 1 in questions.question"
    assert masking.told() is None
    pq.write_table(tables.from_rows("questions", rows), tmp_path / "raw.parquet")
    assert files.read_table(tmp_path / "raw.parquet", "questions").equals(stored.replace_schema_metadata(None))


def test_a_table_without_keys_keeps_its_bytes(tmp_path, monkeypatch):
    table = tables.from_rows("questions", [question(1, question="a task-sk- and ://"), question(2)])
    files.write_table(table, "questions", tmp_path / "with.parquet", {})
    monkeypatch.setattr(files, "_may_hold_keys", lambda values: False)
    files.write_table(table, "questions", tmp_path / "without.parquet", {})
    assert (tmp_path / "with.parquet").read_bytes() == (tmp_path / "without.parquet").read_bytes()


def test_any_parquet_and_any_page_is_masked(tmp_path):
    files.write_parquet(pa.table({"a": pa.array([SAID], pa.large_string())}), tmp_path / "a.parquet", {})
    files.write_text(SAID, tmp_path / "page.md")
    assert pq.read_table(tmp_path / "a.parquet")["a"].to_pylist() == [CLEAN]
    assert (tmp_path / "page.md").read_text() == CLEAN


def test_replies_are_masked_before_they_are_kept_and_resuming_gives_the_same(tmp_path):
    def port(requests):
        return [Reply({"text": SAID, "ok": True}) for _ in requests]

    memory = Memory(tmp_path / "m.sqlite")
    first = remembered(port, memory, "s", chunk=2)([{"q": 1}])
    again = remembered(lambda requests: pytest.fail("asked again"), memory, "s", chunk=2)([{"q": 1}])
    assert first == again == [Reply({"text": CLEAN, "ok": True})]
    singly = remembered_singly(lambda rs, arrived: arrived(0, Reply({"content": SAID})), memory, "t", account="a")
    assert singly([{"q": 1}])[0].body == {"content": CLEAN}
    failed = remembered(lambda rs: [Reply(None, SAID)], memory, "u", chunk=2)([{"q": 1}])
    assert failed == [Reply(None, CLEAN)]
    memory.close()
    assert all(KEY.encode() not in path.read_bytes() for path in written(tmp_path))
    assert "1 in replies.text" in masking.told()


def test_what_an_older_version_remembered_is_masked(tmp_path):
    memory = Memory(tmp_path / "m.sqlite")
    memory.keep({"a": Reply({"content": SAID})})  # as it was
    assert memory.recall(["a"])["a"].body == {"content": CLEAN}


def test_a_completion_with_a_key_keeps_no_tokens():
    said = {"ids": [1, 2], "logprobs": [-1.0, -2.0], "finish": "stop"}
    reply = without_keys(Reply({"completions": [said | {"text": SAID}, said | {"text": "no key"}]}))
    bad, good = reply.body["completions"]
    assert bad == {"text": CLEAN, "ids": [], "logprobs": [], "finish": "stop", "masked": True, "sampled": 2}
    assert good == said | {"text": "no key"}


def test_recordings_are_masked(tmp_path):
    recordings = Recordings(Memory(tmp_path / "m.sqlite"))
    recordings.keep([Recording("search", SAID, SAID, True, "live", None)])
    assert recordings.all() == [Recording("search", CLEAN, CLEAN, True, "live", None)]
    assert recordings.recall("search", [CLEAN])[CLEAN].observation == CLEAN
    recordings.write(tmp_path / "r.parquet")
    recordings.memory.close()
    assert all(KEY.encode() not in path.read_bytes() for path in written(tmp_path))


def test_nothing_that_is_printed_holds_a_key(capsys):
    say(SAID)
    assert capsys.readouterr().out == CLEAN + "\n"
    screen = Screen(file=io.StringIO(), width=200)
    screen.print(SAID)
    assert CLEAN in screen.file.getvalue()
    assert plain(SAID) == CLEAN
    assert masking.told() is None  # what is only printed is not counted


def test_an_error_holds_no_key(tmp_path):
    done = sparkctl("run", "--data", tmp_path, "--set", f"synth.policy={KEY}")
    assert done.returncode == 2
    assert KEY not in done.stderr
    assert MARK in done.stderr


# ---- what is trained on ----------------------------------------------------------------------------------------------


def test_a_candidate_with_a_key_is_a_failed_one_and_the_other_eight_stay():
    text = {"text": f" {SAID}", "ids": [1, 2], "logprobs": [-1.0, -2.0], "finish": "stop"}
    thought, written = Reply({"completions": [text | {"text": " a thought"}]}), Reply({"completions": [text] * 9})
    written.body["completions"][3] = text | {"text": " x"}
    rows = rows_of(thought, without_keys(written))
    assert [row.get("error") for row in rows] == [masking.DROPPED] * 3 + [None] + [masking.DROPPED] * 5
    assert not any("action_ids" in row for row in rows if row.get("error"))
    assert rows[3]["action_ids"] == [1, 2]


def test_nothing_goes_on_from_a_thought_with_a_key():
    text = {"text": SAID, "ids": [1, 2], "logprobs": [-1.0, -2.0], "finish": "stop"}
    thought = without_keys(Reply({"completions": [text]}))
    assert synth._fault(thought) == masking.DROPPED
    rows = rows_of(thought, thought)
    assert {row["error"] for row in rows} == {masking.DROPPED}
    assert not any("thought_ids" in row for row in rows)


def rows_of(thought, written):
    from sparkctl.method.rollouts import live

    (rollout,) = live(tables.from_rows("questions", [question(1)]), None, 1)
    settings = synth.Synth.model_construct(step=1, policy="p")
    return synth._rows(rollout, thought, written, settings)


def test_candidates_from_elsewhere_that_hold_a_key_are_failed_ones(tmp_path):
    common = {"rollout_id": "q1-s0", "step_idx": 1, "question_id": 1, "sample_id": 0, "policy": "p", "thought": "t"}
    common |= {"thought_ids": [1], "action_ids": [2, 3], "finish": "stop"}
    rows = [common | {"tool_name": "search", "action_query": SAID}, common | {"tool_name": "cot", "action_query": "x"}]
    pq.write_table(tables.from_rows("candidates", rows), tmp_path / "c.parquet")
    bad, good = files.read_table(tmp_path / "c.parquet", "candidates").to_pylist()
    assert bad["error"] == masking.DROPPED
    assert [bad[name] for name in ("thought", "action_query", "thought_ids", "action_ids", "finish")] == [None] * 5
    assert (good["error"], good["action_query"], good["action_ids"]) == (None, "x", [2, 3])


# ---- a whole run -----------------------------------------------------------------------------------------------------


def test_a_run_on_questions_with_keys_leaves_none_behind_and_says_how_many(tmp_path):
    table = tables.from_rows("questions", [question(1, question=SAID), question(2, cot_content=PEM), question(3)])
    pq.write_table(table, tmp_path / "q.parquet")
    data = tmp_path / "data"
    sets = [
        f"synth.questions={json.dumps(str(tmp_path / 'q.parquet'))}",
        "synth.limit=3",
        "synth.steps=1",
        "eval.limit=1",
    ]
    done = sparkctl("select", "--data", data, *(word for s in sets for word in ("--set", s)))
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "masked" in line]
    assert (
        line
        == "sparkctl: masked what looks like keys or passwords: 1 in questions.cot_content, 1 in questions.question"
    )
    secrets = [KEY.encode(), LINES.splitlines()[0].encode()]
    assert not [path for path in written(data) for secret in secrets if secret in path.read_bytes()]
    for path in data.rglob("*.parquet"):
        assert not [text for text in texts_of(path) if masking.masked(text) != text]
    with closing(sqlite3.connect(data / "memory.sqlite")) as memory:
        bodies = [body for (body,) in memory.execute("SELECT body FROM replies")]
    assert bodies
    assert [body for body in bodies if masking.masked(body) != body] == []
