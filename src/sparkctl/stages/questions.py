"""questions: the questions that `synth` works on, and, apart from them by content, those that `eval` asks.

reads   source: a table of questions (absent: the embedded generator); questions: what must not be drawn again
writes  questions, or eval_questions: cleaned, de-duplicated, the categories in turn

Faults of the real MMLU-Pro that are mended here: blanks around options (in 470 rows they mark the correct one), exact
duplicates, and options that only say "N/A".
"""

from collections import defaultdict
from itertools import zip_longest
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field

from sparkctl.config.settings import Settings
from sparkctl.errors import SparkError, did_you_mean
from sparkctl.method import checks, tables
from sparkctl.method.episode import CATEGORIES
from sparkctl.method.ids import seed_of
from sparkctl.method.ports import Inputs
from sparkctl.method.rollouts import clean, content
from sparkctl.stages.stage import Context, Outputs, Stage


class Questions(Settings):
    """What decides which questions are drawn."""

    role: Literal["questions", "eval_questions"] = "questions"
    """Set by the pipeline: the training or the evaluation questions."""
    source: str
    """"nano" (generated), the path of a Parquet file in MMLU-Pro's schema, or `hub:NAME@REVISION[:SPLIT]`."""
    limit: int | None = Field(None, ge=1)
    """At most this many; null: all there are."""
    categories: tuple[str, ...] = ()
    """Only these; empty: all fourteen."""
    exclude: bool = False
    """True: leave out what the `questions` input holds. False: refuse where it holds the same."""
    seed: int = 0


def run(inputs: Inputs, settings: Questions, context: Context) -> Outputs:
    """See the module's docstring."""
    chosen = known_categories(settings.categories)
    taken = {content(q) for q in inputs["questions"].to_pylist()} if "questions" in inputs else set()
    pool = [q for q in _pool(inputs, settings, context) if q["category"] in chosen]
    overlap = sum(content(q) in taken for q in pool)
    if overlap and not settings.exclude:
        raise SparkError(
            f"eval.questions: {overlap} of {len(pool)} questions are in synth.questions too; give others, or 'same' for the rest"
        )
    drawn = _in_turn([q for q in pool if content(q) not in taken], settings.seed)[: settings.limit]
    if not drawn:
        raise SparkError(
            f"{settings.source}: no question is left for {settings.role}; lower synth.limit or widen the categories"
        )
    return {"questions": tables.from_rows("questions", drawn)}


def known_categories(names: tuple[str, ...], setting: str = "categories") -> tuple[str, ...]:
    """The names, checked; all fourteen where none is given. `setting` is named where one is unknown."""
    for name in names:
        if name not in CATEGORIES:
            raise SparkError(f"{setting}: unknown category '{name}'{did_you_mean(name, CATEGORIES, listed=True)}")
    return names or CATEGORIES


def _pool(inputs: Inputs, settings: Questions, context: Context) -> list[dict[str, Any]]:
    if (source := _source(inputs, settings, context)) is not None:
        cleaned = [clean(q) for q in source.to_pylist()]
        return list({content(q): q for q in reversed(cleaned) if q}.values())[::-1]
    from sparkctl.nano import questions as generator

    split: Literal["train", "test"] = "train" if settings.role == "questions" else "test"
    wanted = (settings.limit or 1000) * len(CATEGORIES) // len(known_categories(settings.categories))
    return generator.generate(split, -(-wanted // len(CATEGORIES)) * len(CATEGORIES), settings.seed)


def _source(inputs: Inputs, settings: Questions, context: Context) -> pa.Table | None:
    """The table of questions to draw from; None where they are generated."""
    if "source" in inputs or not settings.source.startswith("hub:"):
        return inputs.get("source")
    assert context.dataset is not None
    return checks.check(context.dataset(settings.source), "questions", settings.source)


def _in_turn(pool: list[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """Shuffled within each category, then one of each category in turn: any prefix is balanced."""
    by_category: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for question in sorted(pool, key=lambda q: seed_of(seed, content(q))):
        by_category[question["category"]].append(question)
    rounds = zip_longest(*(by_category[category] for category in CATEGORIES))
    return [question for around in rounds for question in around if question is not None]


STAGE = Stage(
    "questions",
    1,
    Questions,
    run,
    "draw the questions, apart for training and evaluation",
    (),
    ("source", "questions"),
    ("questions",),
)
