"""How fast judged steps are trained on: packed as trees, as padded rows, and as the same rows by TRL's SFTTrainer.

Run: python benchmarks/train_throughput.py [--json FILE]
All three get the same rollouts, the same random weights, the same LoRA (r 8, all linear layers), float32, two threads.
One update runs over all rollouts. `tree` and `rows` are timed through the public `fit`, from the end of one update to
the end of the next; TRL likewise, from epoch to epoch, one optimiser step each. The first is warm-up, the fastest of
the others counts. Every contender runs in a process of its own, so that its peak memory is its own, first with each of
its settings on a few rollouts, then in full with the fastest. `tree` and `rows` do more than TRL in the loss: ratio,
clip, KL, entropies of tokens and tools; TRL's is the negative log-likelihood.

TRL is installed from the package index into a virtual environment that is thrown away. With an NVIDIA GPU an 8B-shaped
model is measured too, see train_throughput_gpu.py.
"""

import argparse
import datetime
import itertools
import json
import os
import platform
import resource
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from training_workload import ACTIONS, MODEL, SHARE, STEPS, THREADS, Clock, fitted, policy, rollouts, settings

TRL = "trl==1.16.0"
ROLLOUTS = {"all": 1, "chosen": 4}
"""All nine actions of a state carry loss, or one."""
REPEATS = 2
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "tree": [{"micro_batch_tokens": 2048}, {"micro_batch_tokens": 8192}],
    "rows": [{"micro_batch_tokens": 2048}, {"micro_batch_tokens": 8192}],
    "trl": [
        {"packing": True, "max_length": 2048},
        {"packing": True, "max_length": 4096},
        {"packing": False, "batch": 1},
        {"packing": False, "batch": 4},
    ],
}
"""What each contender may choose from. Rows of a state are never cut: with nine of them a micro-batch is a state."""
SAME = 1e-4
"""How far the losses of trees and rows may lie apart."""


def ours(asked: dict[str, Any]) -> dict[str, Any]:
    """`fit` on trees or rows."""
    model = policy()
    clock = Clock(model)
    rows = fitted(model, clock, asked, settings(asked["workload"], **_of_fit(asked)))
    return clock.best() | {"loss": rows[0]["policy_loss"], "kl": rows[0]["approx_kl"], "norm": rows[0]["grad_norm"]}


def _of_fit(asked: dict[str, Any]) -> dict[str, Any]:
    return {"packing": asked["contender"], "epochs": 1 + asked["repeats"], **asked["setting"]}


def trl(asked: dict[str, Any]) -> dict[str, Any]:
    """SFTTrainer on one row per action; the loss is on the action's tokens."""
    from transformers import TrainerCallback
    from trl import SFTTrainer

    from sparkctl.training.lora import with_lora

    plain = policy()
    clock = Clock(plain)
    callback = type("Marks", (TrainerCallback,), {"on_train_begin": clock.mark, "on_epoch_end": clock.mark})()
    rows = _flat(rollouts(asked["workload"], asked["rollouts"]))
    with tempfile.TemporaryDirectory() as folder:
        trainer = SFTTrainer(
            with_lora(plain, settings(asked["workload"])),
            _trl_settings(folder, asked, len(rows)),
            train_dataset=rows,
            processing_class=_tokenizer(),
            callbacks=[callback],
        )
        assert _trained_tokens(trainer.train_dataset) == _trained_tokens(rows)
        result = trainer.train()
    return clock.best() | {"loss": result.training_loss}


def _flat(trees: Sequence[Any]) -> Any:
    from datasets import Dataset

    pairs = [(fork.prompt_ids, action.ids) for tree in trees for fork in tree.forks for action in fork.actions]
    ids = [[*prompt, *action] for prompt, action in pairs]
    labels = [[-100] * len(prompt) + action for prompt, action in pairs]
    return Dataset.from_dict({"input_ids": ids, "labels": labels})


def _trained_tokens(rows: Any) -> int:
    return sum(label != -100 for labels in rows["labels"] for label in labels)


def _trl_settings(folder: str, asked: dict[str, Any], rows: int) -> Any:
    """`packing` packs whole rows, best fit first, without padding; otherwise rows of like length are padded together.
    One optimiser step per epoch: no more is accumulated than there is."""
    from trl import SFTConfig

    setting = asked["setting"]
    packed = {"packing": True, "packing_strategy": "bfd", "max_length": setting.get("max_length")}
    padded = {"packing": False, "max_length": None, "train_sampling_strategy": "group_by_length"}
    return SFTConfig(
        output_dir=folder,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        num_train_epochs=1 + asked["repeats"],
        per_device_train_batch_size=setting.get("batch", 1),
        gradient_accumulation_steps=rows,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        **(packed if setting["packing"] else padded),
    )


def _tokenizer() -> Any:
    """SFTTrainer asks for one; it is only read for the token that pads."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.WordLevel({"<pad>": 0}, unk_token="<pad>"))
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", eos_token="<pad>")


def machine(asked: dict[str, Any]) -> dict[str, Any]:
    """What it is measured on."""
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "machine": f"{platform.machine()}, {THREADS} threads on {os.cpu_count()} cores, Python {platform.python_version()}",
        "torch": torch.__version__,
        "gpu": gpu,
    }


def on_gpu(asked: dict[str, Any]) -> dict[str, Any]:
    """See train_throughput_gpu.py."""
    import train_throughput_gpu

    return train_throughput_gpu.measured(asked)


CONTENDERS = {"tree": ours, "rows": ours, "trl": trl, "machine": machine, "gpu": on_gpu}


def child(asked: dict[str, Any]) -> None:
    """Measure what is asked for and print it as the last line."""
    result = CONTENDERS[asked["contender"]](asked)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print("\n" + json.dumps(result | {"peak_gb": round(peak, 3)}))


def measured(python: str, **asked: Any) -> dict[str, Any]:
    """The answer of a process of its own."""
    quiet = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "TOKENIZERS_PARALLELISM": "false"}
    # Passive: threads that spin while they wait slow each other down many times wherever something else runs too.
    threads = {"OMP_NUM_THREADS": str(THREADS), "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(
        [python, __file__, "--child", json.dumps(asked)],
        env=os.environ | quiet | threads,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{asked}: {done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(*(f"{key} {value}" for key, value in (asked | answer).items()), sep=", ", file=sys.stderr)
    return answer


def fastest(python: str, contender: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The setting with which a contender is at its best, and what all of them took."""
    common = {"contender": contender, "workload": "chosen", "rollouts": SHARE, "repeats": 1}
    tried = [(measured(python, **common, setting=setting)["seconds"], setting) for setting in SETTINGS[contender]]
    return min(tried, key=lambda pair: pair[0])[1], [{**setting, "seconds": taken} for taken, setting in tried]


def in_full(python: str, contender: str, workload: str, setting: dict[str, Any]) -> dict[str, Any]:
    """The figures of a contender."""
    count = ROLLOUTS[workload]
    asked = {"contender": contender, "workload": workload, "setting": setting, "rollouts": count}
    result = measured(python, **asked, repeats=REPEATS)
    steps = count * STEPS * (ACTIONS if workload == "all" else 1)
    return result | {"setting": setting, "trained_steps": steps, "steps_per_second": steps / result["seconds"]}


@contextmanager
def python_with_trl() -> Iterator[str]:
    """A virtual environment, thrown away afterwards, that sees this one's packages and has TRL besides."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = str(Path(folder) / "bin" / "python")
        find = "import sysconfig; print(sysconfig.get_path('purelib'))"
        own = subprocess.run([python, "-c", find], capture_output=True, text=True, check=True).stdout.strip()
        # addsitedir and not a mere path: an editable install is a .pth file too.
        (Path(own) / "parent.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", TRL], check=True)
        yield python


def compared() -> dict[str, Any]:
    """All figures of one run."""
    here = measured(sys.executable, contender="machine")
    with python_with_trl() as peer:
        pythons = {name: peer if name == "trl" else sys.executable for name in SETTINGS}
        chosen = {name: fastest(python, name) for name, python in pythons.items()}
        figures = {
            workload: {name: in_full(python, name, workload, chosen[name][0]) for name, python in pythons.items()}
            for workload in ROLLOUTS
        }
    return {
        "date": datetime.date.today().isoformat(),
        "machine": here["machine"],
        "torch": here["torch"],
        "model": MODEL,
        "ratios": ratios(figures),
        "losses_apart": {name: abs(of["tree"]["loss"] - of["rows"]["loss"]) for name, of in figures.items()},
        "figures": figures,
        "settings_tried": {name: tried for name, (_, tried) in chosen.items()},
        "gpu": {"name": here["gpu"], **measured(sys.executable, contender="gpu")} if here["gpu"] else None,
    }


def ratios(figures: dict[str, Any]) -> dict[str, float]:
    """Trained steps per second, over those of the peer; `_cpu` per second of processor time, which says whether
    something else that ran on the machine spoilt the others."""
    made = {}
    for workload, of in figures.items():
        for peer, unit in itertools.product(("rows", "trl"), ("seconds", "cpu_seconds")):
            name = f"tree_over_{peer}_{workload}" + ("_cpu" if unit == "cpu_seconds" else "")
            made[name] = round(of[peer][unit] / of["tree"][unit], 2)
    return made


def table(figures: dict[str, Any]) -> str:
    """The figures as lines."""
    lines = [f"{'workload':9}{'':6}{'steps/s':>9}{'seconds':>9}{'tokens':>9}{'peak GB':>9}  setting"]
    for workload, of in figures.items():
        for name, found in of.items():
            numbers = (
                f"{found['steps_per_second']:9.2f}{found['seconds']:9.2f}{found['tokens']:9}{found['peak_gb']:9.2f}"
            )
            setting = ", ".join(f"{key} {value}" for key, value in found["setting"].items())
            lines.append(f"{workload:9}{name:6}{numbers}  {setting}")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and write JSON where told."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child(asked.child)
        return
    result = compared()
    print(table(result["figures"]))
    print(json.dumps({name: result[name] for name in ("ratios", "losses_apart", "gpu")}, indent=1))
    if result["gpu"] is None:
        print("no NVIDIA GPU here: the 8B-shaped model is not measured")
    if asked.json:
        asked.json.write_text(json.dumps(result, indent=1) + "\n")
    if max(result["losses_apart"].values()) >= SAME:
        raise SystemExit(f"trees and rows do not have the same loss: {result['losses_apart']}")


if __name__ == "__main__":
    main()
