"""A real vLLM server on loopback, for the tests of what a served policy must do."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from importlib.util import find_spec

import pytest

from sparkctl.models import loading

needs_vllm = pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed: make vllm")
START_S = 240


@contextmanager
def served(folder, log):
    """The base URL of a server that serves a model folder as "tiny", and whose own sampling is greedy unless told."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # The CPU build's command `vllm` does not start (it looks for the other build's name); its module does.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", loading.resolve(folder)]
    command += ["--served-model-name", "tiny", "--host", "127.0.0.1", "--port", str(port), "--dtype", "float32"]
    command += ["--enforce-eager", "--disable-log-stats"]
    command += ["--override-generation-config", '{"top_k": 1, "repetition_penalty": 1.5}']
    command += ["--no-enable-chunked-prefill", "--max-num-batched-tokens", "8192"]  # see models/vllm_engine.py
    quiet = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "WARNING", "VLLM_NO_USAGE_STATS": "1"}
    with log.open("w") as out:
        process = subprocess.Popen(command, env=os.environ | quiet, stdout=out, stderr=out)
    try:
        _wait(process, f"http://127.0.0.1:{port}/health", log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(60)


def _wait(process, url, log):
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"no server after {START_S} s: {log.read_text()[-2000:]}")
