"""What must hold of models that bring code: it never runs without `--trust-remote-code`, and nothing asks on a terminal."""

import json
import shutil
import subprocess
import sys

import pytest

from helpers.command_line import sparkctl
from helpers.tables_and_fakes import ROOT
from sparkctl.config import trust
from sparkctl.errors import SparkError
from sparkctl.models import loading


@pytest.fixture
def strange(tmp_path):
    """(folder of a model of an unknown type with code of its own, the file which that code writes)."""
    folder = shutil.copytree(loading.resolve("nano"), tmp_path / "strange")
    config = json.loads((folder / "config.json").read_text())
    code = {"auto_map": {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}, "model_type": "strange"}
    (folder / "config.json").write_text(json.dumps(config | code))
    reads = json.loads((folder / "tokenizer_config.json").read_text())
    reads |= {"auto_map": {"AutoTokenizer": ["own.Tokenizer", None]}, "tokenizer_class": "Tokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(reads))
    ran = tmp_path / "ran"
    (folder / "own.py").write_text(
        f"from pathlib import Path\nPath({str(ran)!r}).touch()\nfrom transformers import LlamaConfig, LlamaForCausalLM, LlamaTokenizer as Tokenizer\n"
        "class Config(LlamaConfig):\n    model_type = 'strange'\n"
        "class Model(LlamaForCausalLM):\n    config_class = Config\n"
    )
    return folder, ran


OPENERS = [
    loading.open_config,
    loading.open_tokenizer,
    loading.open_empty,
    lambda p: loading.open_model(p, "float32", "cpu"),
]


@pytest.mark.parametrize("opened", OPENERS)
def test_code_of_a_model_does_not_run(strange, opened, monkeypatch):
    folder, ran = strange
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # what `yes |` would say
    with pytest.raises(SparkError, match=r"brings code of its own, which is not run; .*--trust-remote-code") as refused:
        opened(str(folder))
    assert "\n" not in str(refused.value)
    assert not ran.exists()


def test_code_of_a_model_runs_where_the_command_line_said_so(strange, monkeypatch, tmp_path):
    folder, ran = strange
    monkeypatch.setenv("SPARKCTL_TRUST_REMOTE_CODE", "0")  # put back after the test
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    trust.say(True)
    assert loading.open_config(str(folder)).model_type == "strange"
    assert ran.exists()


@pytest.mark.parametrize(("words", "trusted"), [([], False), (["--trust-remote-code"], True)])
def test_the_command_line_says_it_and_the_environment_does_not(monkeypatch, words, trusted):
    heard = []
    monkeypatch.setattr("sparkctl.storage.store.Store.garbage", lambda self: heard.append(trust.said()) or [])
    assert sparkctl(*words, "gc", env={"SPARKCTL_TRUST_REMOTE_CODE": "1"}).returncode == 0
    assert heard == [trusted]


def test_nothing_reads_from_the_terminal():
    """Whatever a library asks, standard input is at its end."""
    code = (
        "import sys; from sparkctl.cli.main import main; from sparkctl.storage import store; sys.argv = ['sparkctl', 'gc']\n"
        "def garbage(self):\n    print('read:', repr(sys.stdin.read()));  return []\n"
        "store.Store.garbage = garbage; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], input="y\n" * 99, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "read: ''\n", done.stderr
