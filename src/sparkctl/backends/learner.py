"""The learner: a policy opened for forward passes and for training. Opened only when it is first asked for weights."""

import json
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from sparkctl.adapters import write_base
from sparkctl.backends import models
from sparkctl.errors import SparkError
from sparkctl.objective.trees import Tree


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
        return models.open_tokenizer(self.settings.policy)

    @cached_property
    def config(self) -> Any:
        """The policy's configuration; no weights are read."""
        return models.open_config(self.settings.policy)

    @property
    def longest(self) -> int:
        """Positions that the model has."""
        return int(self.config.get_text_config().max_position_embeddings)

    def logprobs(self, trees: Sequence[Tree]) -> dict[tuple[str, int], list[list[float]]]:
        """(rollout, step) -> per action the log-prob of each of its tokens under the policy without an adapter."""
        from sparkctl.objective import reference

        settings = self.settings
        with self.progress("reference", len(trees)) as advance:
            return reference.logprobs(self._open(), trees, settings.micro_batch_tokens, settings.packing, advance)

    def fit(self, trees: Sequence[Tree], folder: Path) -> list[dict[str, Any]]:
        """Train an adapter into `folder`; one row of the updates table per update."""
        from sparkctl.objective.trainer import Job

        job = Job(trees, self.settings, folder, self.checkpoint, self.events)
        rows = self.fit_here(job) if self.settings.processes == 1 else self._fit_in_processes(job)
        write_base(folder, self.base())
        return rows

    def base(self) -> dict[str, str]:
        """What an adapter of this training belongs to."""
        names = ("policy", "dtype", "quantise")
        return {name: getattr(self.settings, name) for name in names} | {"model": self.identity}

    def footprint(self, trees: Sequence[Tree]) -> dict[str, Any]:
        """What training these rollouts will take; no weights are read."""
        from sparkctl.objective.footprint import footprint

        return footprint(self.config, trees, self.settings)

    def fit_here(self, job: Any) -> list[dict[str, Any]]:
        """Train in this process."""
        from sparkctl.objective import trainer

        return trainer.fit(self._open(), job, progress=self.progress, tell=self.tell)

    def _open(self) -> Any:
        s = self.settings
        return models.open_model(s.policy, s.dtype, s.device, quantise=s.quantise, attention=s.attention)

    def _fit_in_processes(self, job: Any) -> list[dict[str, Any]]:
        """Train in processes that accelerate launches; they get the job as a file, and the first writes the rows."""
        with tempfile.TemporaryDirectory(prefix="sparkctl-") as scratch:
            given, made = Path(scratch) / "job.pkl", Path(scratch) / "rows.json"
            given.write_bytes(pickle.dumps({"job": job, "identity": self.identity}))
            command = [sys.executable, "-m", "accelerate.commands.launch", *self._launch_options()]
            command += ["-m", "sparkctl.backends.worker", str(given), str(made)]
            done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
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

    def _launch_options(self) -> list[str]:
        options = ["--num_processes", str(self.settings.processes), "--num_machines", "1", "--mixed_precision", "no"]
        options += ["--dynamo_backend", "no", "--main_process_port", "0"]
        return options + (["--cpu"] if models.device_of(self.settings.device) == "cpu" else ["--multi_gpu"])
