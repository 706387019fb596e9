"""How long scoring takes: 12,032 outputs, as many as MMLU-Pro has questions, under both sets of rules, on one core.

Run: python benchmarks/scoring.py [--outputs FILE] [--json FILE]
FILE holds real outputs (columns as `sparkctl score` reads them), repeated as often as needed; without one, made-up ones
serve. Some are hostile: 100,000 characters that nearly match, again and again.
The peer, measured in the same run on a share of the real outputs: the published patterns as they are.
"""

import argparse
import json
import os
import platform
import re
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import pyarrow as pa

from sparkctl.method import scoring
from sparkctl.storage import files

OUTPUTS = 12_032
HOSTILE = ("A_ ", "answer: ", "Answer:\n", "answer is ", "\\boxed{", "answer: A man\n", "is A or ", "Question:\n")
HOSTILE_LENGTH = 100_000
PEER_SHARE = 200
"""The published patterns are timed on one in this many outputs, and their time multiplied."""
SAMPLE = Path(__file__).parents[2] / "shared" / "data" / "mmlu_pro" / "official_outputs_sample.parquet"


def published(text: str) -> str | None:
    """MMLU-Pro's extraction as it is written in evaluate_from_local.py."""
    if found := re.search(r"answer is \(?([A-J])\)?", text) or re.search(r".*[aA]nswer:\s*([A-J])", text):
        return found[1]
    found = re.search(r"\b[A-J]\b(?!.*\b[A-J]\b)", text, re.DOTALL)
    return found[0] if found else None


def outputs(file: Path) -> tuple[pa.Table, pa.Table]:
    """(the real or made-up outputs repeated, with four hostile ones of each kind at the end; the outputs once)"""
    names = [column.name for column in scoring.COLUMNS]
    if file.exists():
        real = files.read_parquet(file).select(names)
    else:
        text = "Some reasoning about a quantity of 12.5 and its unit. " * 20 + "The answer is (C)."
        rows = [{"question_id": i, "model_output": text, "options": list("wxyz"), "answer": "C"} for i in range(800)]
        real = pa.Table.from_pylist(rows)
    texts = [(unit * HOSTILE_LENGTH)[:HOSTILE_LENGTH] for unit in HOSTILE for _ in range(4)]
    row = {"question_id": 0, "options": ["one", "two", "a man"], "answer": "A"}
    hostile = pa.Table.from_pylist([row | {"model_output": text} for text in texts], schema=real.schema)
    filled = pa.concat_tables([real] * (OUTPUTS // len(real) + 1)).slice(0, OUTPUTS - len(hostile))
    return pa.concat_tables([filled, hostile]), real


def main() -> None:
    """Measure, print, and write JSON where told."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--outputs", type=Path, default=SAMPLE)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    table, real = outputs(asked.outputs)
    assert len(table) == OUTPUTS
    seconds, read = {}, {}
    for mode in ("official", "strict"):
        begun = time.perf_counter()
        read[mode] = scoring.score(table, mode, 0, "outputs")["answer_read"].to_pylist()  # type: ignore[arg-type]
        seconds[mode] = round(time.perf_counter() - begun, 3)
    few = range(0, len(real), PEER_SHARE * len(real) // OUTPUTS)
    begun = time.perf_counter()
    assert [published(real["model_output"][i].as_py()) for i in few] == [read["official"][i] for i in few]
    peer = (time.perf_counter() - begun) * OUTPUTS / len(few)
    result = {
        "outputs": OUTPUTS,
        "real": asked.outputs.exists(),
        "megabytes": round(sum(map(len, table["model_output"].to_pylist())) / 1e6, 1),
        "seconds": seconds,
        "seconds_12032": round(sum(seconds.values()), 3),
        "published_seconds": round(peer, 1),
        "over_published": round(peer / seconds["official"], 1),
        "machine": f"{platform.machine()}, one core of {os.cpu_count()}, Python {platform.python_version()}",
    }
    print(json.dumps(result, indent=1))
    if asked.json:
        asked.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
