"""The learner: a policy opened for forward passes and for training. Opened only when it is first asked for weights."""

import ctypes
import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from sparkctl.errors import SparkError
from sparkctl.models import loading
from sparkctl.training.trees import Tree


class Learner:
    """A policy for the stages `reference` and `train`; `settings` are theirs."""

    def __init__(
        self,
        settings: Any,
        *,
        identity: str,
        checkpoint: Path | None = None,
        events: Path | None = None,
        progress: Callable[[str, int], Any],
        tell: Callable[[str], None],
    ) -> None:
        self.settings, self.identity = settings, identity
        self.checkpoint, self.events = checkpoint, events
        self.progress, self.tell = progress, tell

    @cached_property
    def tokenizer(self) -> Any:
        """The policy's tokenizer."""
        return loading.open_tokenizer(self.settings.policy)

    @cached_property
    def config(self) -> Any:
        """The policy's configuration; no weights are read."""
        return loading.open_config(self.settings.policy)

    @property
    def longest(self) -> int:
        """Positions that the model has."""
        # A model without such a number (ALiBi, recurrent) has no limit of its own.
        return int(getattr(self.config.get_text_config(), "max_position_embeddings", None) or sys.maxsize)

    @property
    def vocabulary(self) -> int:
        """Token ids that the model knows; more than its tokenizer has where the table is padded."""
        return max(len(self.tokenizer), int(self.config.get_text_config().vocab_size))

    def logprobs(self, trees: Sequence[Tree]) -> dict[tuple[str, int], list[list[float]]]:
        """(rollout, step) -> per action the log-prob of each of its tokens under the policy without an adapter."""
        from sparkctl.training import reference
        from sparkctl.training.packing_check import agreed

        settings, model = self.settings, self._open()
        packing = agreed(model, trees, settings.packing, "reference", self.tell)
        with self.progress("reference", len(trees)) as advance:
            return reference.logprobs(model, trees, settings.micro_batch_tokens, packing, advance)

    def fit(self, trees: Sequence[Tree], folder: Path) -> list[dict[str, Any]]:
        """Train an adapter into `folder`; one row of the updates table per update."""
        from sparkctl.training.trainer import Job

        job = Job(trees, self.settings, folder, self.checkpoint, self.events, self.base())
        return self.fit_here(job) if self.settings.processes == 1 else self._fit_in_processes(job)

    def base(self) -> dict[str, str]:
        """What an adapter of this training belongs to."""
        names = ("policy", "dtype", "quantise")
        return {name: getattr(self.settings, name) for name in names} | {"model": self.identity}

    def footprint(self, trees: Sequence[Tree]) -> dict[str, Any]:
        """What training these rollouts will take; no weights are read."""
        from sparkctl.training.footprint import footprint

        return footprint(self.config, trees, self.settings)

    def fit_here(self, job: Any) -> list[dict[str, Any]]:
        """Train in this process."""
        import torch

        from sparkctl.training import trainer

        try:
            return trainer.fit(self._open(), job, progress=self.progress, tell=self.tell)
        except torch.OutOfMemoryError as fault:
            raise SparkError(
                f"train.{self.settings.name}: out of memory ({str(fault).splitlines()[0]}); lower "
                f"train.micro_batch_tokens, or set gradient_checkpointing = true or quantise = 'nf4'"
            ) from None

    def _open(self) -> Any:
        from sparkctl.training.processes import Ranks

        s, device = self.settings, loading.device_of(self.settings.device, "train")
        if device == "cuda" and getattr(s, "processes", 1) > 1:
            device = Ranks(device).device  # each process its own card, known before the model is opened
        return loading.open_model(
            s.policy, s.dtype, device, quantise=s.quantise, attention=s.attention, section="train"
        )

    def _fit_in_processes(self, job: Any) -> list[dict[str, Any]]:
        """Train in processes that torchrun starts and accelerate joins; the job is a file, the first writes the rows."""
        with tempfile.TemporaryDirectory(prefix="sparkctl-") as scratch:
            given, made = Path(scratch) / "job.pkl", Path(scratch) / "rows.json"
            given.write_bytes(pickle.dumps({"job": job, "identity": self.identity}))
            command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
            command += ["--nproc_per_node", str(self.settings.processes)]
            command += ["-m", "sparkctl.pipeline.worker", str(given), str(made)]
            cpu = loading.device_of(self.settings.device, "train") == "cpu"
            environment = os.environ | {"ACCELERATE_USE_CPU": str(cpu).lower()}
            environment.setdefault("OMP_NUM_THREADS", "1")
            done = subprocess.run(
                command, stdout=subprocess.DEVNULL, check=False, env=environment, preexec_fn=_die_with_parent
            )
            answer = json.loads(made.read_text()) if made.exists() else {}
        if "error" in answer:
            raise SparkError(answer["error"])
        if done.returncode or "rows" not in answer:
            raise SparkError(
                f"train.{self.settings.name}: a training process ended with exit code {done.returncode}; what it said "
                f"stands above; train.processes = 1 trains in this process"
            )
        rows: list[dict[str, Any]] = answer["rows"]
        return rows


def _die_with_parent() -> None:
    """Ask the kernel to end this child with its parent: after `kill -9` nobody else would stop the processes."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)
