"""Questions about the made-up world, in MMLU-Pro's schema and its fourteen categories.

Six kinds: arithmetic, unit conversion, a fact, a fact and then arithmetic, a conversion and then arithmetic, and plain
reasoning that no tool helps with. Everything that can be asked is enumerated, and a digest of *what is asked* decides
whether it is a training or a test question. So the two never meet, whatever the seed and the count.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from itertools import pairwise
from typing import Any, Literal

from sparkctl.errors import SparkError
from sparkctl.method.episode import CATEGORIES, LETTERS
from sparkctl.nano import world
from sparkctl.nano.solution import Goal, Plan, write

# fmt: off
SUMS = {
    "biology": (("{a} cells grow by {b}. how many cells are there?", "{a} + {b}"),
                ("{a} nests with {b} eggs each. how many eggs?", "{a} * {b}")),
    "business": (("a shop sells {a} caps for {b} coins each. what is the income?", "{a} * {b}"),
                 ("the income is {a} and the cost is {b}. what is the profit?", "{a} - {b}")),
    "chemistry": (("{a} samples weigh {b} grams each. what is the total weight?", "{a} * {b}"),
                  ("{a} grams lose {b} grams. how much is left?", "{a} - {b}")),
    "computer science": (("{a} files have {b} lines each. how many lines?", "{a} * {b}"),
                         ("a list of {a} items gets {b} more items. how many items?", "{a} + {b}")),
    "economics": (("a wage of {a} rises by {b}. what is the wage now?", "{a} + {b}"),
                  ("a tax of {a} falls by {b}. what is the tax now?", "{a} - {b}")),
    "engineering": (("a power of {a} runs for a time of {b}. what is the energy?", "{a} * {b}"),
                    ("a beam of {a} and a beam of {b}. what is the total?", "{a} + {b}")),
    "health": (("{a} pills each day for {b} days. how many pills?", "{a} * {b}"),
               ("a pulse of {a} falls by {b}. what is the pulse now?", "{a} - {b}")),
    "history": (("a war began {a} years ago and ended {b} years ago. how long was it?", "{a} - {b}"),
                ("an army of {a} men gets {b} men. how many men?", "{a} + {b}")),
    "law": (("a fee of {a} and a bill of {b}. what is the total?", "{a} + {b}"),
            ("{a} cases with {b} pages each. how many pages?", "{a} * {b}")),
    "math": (("what is {a} times {b}?", "{a} * {b}"), ("what is {a} plus {b}?", "{a} + {b}"),
             ("what is {a} minus {b}?", "{a} - {b}")),
    "other": (("{a} boxes hold {b} balls each. how many balls?", "{a} * {b}"),
              ("{a} of the {b} guests stay. how many leave?", "{b} - {a}")),
    "philosophy": (("{a} claims and {b} doubts. how many are there?", "{a} + {b}"),
                   ("{a} books with {b} ideas each. how many ideas?", "{a} * {b}")),
    "physics": (("a speed of {a} for a time of {b}. what is the distance?", "{a} * {b}"),
                ("a force of {a} against a force of {b}. what is the net force?", "{a} - {b}")),
    "psychology": (("{a} tests with {b} tasks each. how many tasks?", "{a} * {b}"),
                   ("a group of {a} and a group of {b}. how many people?", "{a} + {b}")),
}
# fmt: on
KINDS = {"sum": 0.24, "unit": 0.15, "fact": 0.29, "fact_sum": 0.11, "unit_sum": 0.07, "reason": 0.14}
FLAVOURS = {
    "math": {"sum": 0.45, "fact": 0.12},
    "engineering": {"unit": 0.28, "fact": 0.2},
    "physics": {"unit": 0.25, "fact": 0.2},
    "history": {"fact": 0.42, "sum": 0.12},
    "philosophy": {"reason": 0.3, "sum": 0.12, "unit": 0.1},
    "psychology": {"reason": 0.26, "sum": 0.14},
}
OPTION_COUNTS = (4, 4, 4, 4, 5, 5, 5, 6, 6, 7, 8, 9, 10)
"""Short lists are more frequent: a list is most of the tokens of a question."""
VARIANTS = 40
"""Sets of options that a question of plain reasoning comes with; its answer alone would make too few."""
Kind = Literal["sum", "unit", "fact", "fact_sum", "unit_sum", "reason"]


@dataclass(frozen=True)
class Item:
    """What is asked and how it is solved. `decoys`: wrong options to draw from; without any, near numbers are made."""

    kind: str
    content: str
    text: str
    plan: Plan
    decoys: tuple[str, ...] = ()


def generate(split: Literal["train", "test"], count: int, seed: int) -> list[dict[str, Any]]:
    """`count` different questions of a split, the categories in equal shares (the first ones take what is left over)."""
    most = available(split)
    if count > most:
        raise SparkError(f"nano has {most} {split} questions in equal shares of 14 categories, {count} were asked for")
    share, left = divmod(count, len(CATEGORIES))
    rows = []
    for i, category in enumerate(CATEGORIES):
        rng = random.Random(f"{split}/{seed}/{category}")
        rows += [_row(item, category) for item in _draw(split, category, share + (i < left), rng)]
    random.Random(f"{split}/{seed}").shuffle(rows)
    return rows


@cache
def available(split: str) -> int:
    """How many questions a split holds if each category gives the same number."""
    return len(CATEGORIES) * min(sum(map(len, items(split, category).values())) for category in CATEGORIES)


def items(split: str, category: str) -> dict[str, tuple[Item, ...]]:
    """All that can be asked in a category and belongs to a split, by kind."""
    return _by_split(category)[split]


@cache
def _by_split(category: str) -> dict[str, dict[str, tuple[Item, ...]]]:
    found: dict[str, dict[str, list[Item]]] = {split: {kind: [] for kind in KINDS} for split in ("train", "test")}
    for item in _all(category):
        found[split_of(item.content)][item.kind].append(item)
    return {split: {kind: tuple(of_kind) for kind, of_kind in kinds.items()} for split, kinds in found.items()}


def split_of(content: str) -> str:
    """The split that a content belongs to, whoever asks."""
    return "test" if blake2b(content.encode(), digest_size=1).digest()[0] % 2 else "train"


def _draw(split: str, category: str, count: int, rng: random.Random) -> list[Item]:
    """Items without repetition, kinds by the weight of the category as long as they last."""
    weights = {**KINDS, **FLAVOURS.get(category, {})}
    stock = {kind: rng.sample(of_kind, len(of_kind)) for kind, of_kind in items(split, category).items()}
    drawn = []
    for _ in range(count):
        kinds = [kind for kind in stock if stock[kind]]
        drawn.append(stock[rng.choices(kinds, [weights[kind] for kind in kinds])[0]].pop())
    return drawn


def _row(item: Item, category: str) -> dict[str, Any]:
    """The question with its options, which follow from the content alone: one id is always one row."""
    rng = random.Random(item.content)
    answer = item.plan.answer
    wanted = len(item.decoys) if item.kind == "reason" else rng.choice(OPTION_COUNTS) - 1
    decoys = rng.sample(item.decoys, wanted) if item.decoys else _near(answer, wanted, rng)
    place = rng.randrange(wanted + 1)
    return {
        "question_id": int.from_bytes(blake2b(item.content.encode(), digest_size=6).digest(), "big"),
        "question": item.text,
        "options": [*decoys[:place], answer, *decoys[place:]],
        "answer": LETTERS[place],
        "answer_index": place,
        "cot_content": write(item.plan),
        "category": category,
        "src": f"nano-{item.kind}",
    }


def _near(answer: str, count: int, rng: random.Random) -> list[str]:
    """Whole numbers that look like the answer."""
    value = int(answer)
    offsets = [1, 2, 3, 5, 8, 9, 10, 11, 20, 30, 50, 100, 110, 200, 1000]
    near = {value + sign * offset for offset in offsets for sign in (1, -1)} | {value * 10, value * 2}
    return [str(number) for number in rng.sample(sorted(n for n in near if n > 0 and n != value), count)]


# ---- all that can be asked -----------------------------------------------------------------------------------------


def _all(category: str) -> Iterator[Item]:
    for part in (_sums, _units, _facts, _reasons):
        yield from part(category)


def _sums(category: str) -> Iterator[Item]:
    for number, (text, formula) in enumerate(SUMS[category]):
        for a in range(3, 100):
            for b in range(3, 60):
                first, second = (a, b) if formula.startswith("{a}") else (b, a)
                value = _calculate(first, formula.split()[1], second)
                if value > 1 and a != b:
                    goal = Goal(f"compute {formula.format(a=a, b=b)}", str(value))
                    yield Item("sum", f"sum/{category}/{number}/{a}/{b}", text.format(a=a, b=b), Plan((goal,)))


def _units(category: str) -> Iterator[Item]:
    for unit, smaller, factor in world.DOMAINS[category].units:
        for a in range(2, 100):
            asked = f"{unit}/{smaller}/{a}"
            converted = Goal(f"convert {a} {unit} to {smaller}", str(a * factor))
            text = f"how many {smaller} are in {a} {unit}?"
            yield Item("unit", f"unit/{category}/{asked}", text, Plan((converted,)))
            for b in range(2, 10):
                product = Goal(f"compute {a * factor} * {b}", str(a * factor * b))
                text = f"{b} times {a} {unit} make how many {smaller}?"
                yield Item("unit_sum", f"unit_sum/{category}/{asked}/{b}", text, Plan((converted, product)))


def _facts(category: str) -> Iterator[Item]:
    domain = world.DOMAINS[category]
    for fact in world.facts():
        if fact.category != category:
            continue
        asked = f"{fact.relation}/{fact.subject}"
        found = Goal(f"find the {fact.relation} of {fact.subject}", fact.value)
        decoys: tuple[str, ...] = ()
        if fact.relation != domain.number:
            decoys = tuple(name for name in world.pool(category, fact.relation) if name != fact.value)
        text = f"what is the {fact.relation} of {fact.subject}?"
        yield Item("fact", f"fact/{category}/{asked}", text, Plan((found,)), decoys)
        if fact.relation == domain.number:
            yield from _fact_sums(category, asked, found)


def _fact_sums(category: str, asked: str, found: Goal) -> Iterator[Item]:
    for b in range(2, 41):
        for sign, word in (("*", "times"), ("+", "plus")):
            total = Goal(f"compute {found.value} {sign} {b}", str(_calculate(int(found.value), sign, b)))
            text = f"what is the {found.noun} {word} {b}?"
            yield Item("fact_sum", f"fact_sum/{category}/{asked}/{word}/{b}", text, Plan((found, total)))


def _reasons(category: str) -> Iterator[Item]:
    domain = world.DOMAINS[category]
    others = [word for other in world.DOMAINS.values() if other is not domain for word in other.members]
    for member in domain.members:
        yield from _variants(domain.kind, f"which of these is {domain.kind}?", member, others)
    yield from _pairs(category, OPPOSING, [*world.OPPOSITES, *(pair[::-1] for pair in world.OPPOSITES)], "opposite of")
    yield from _pairs(category, ORDERING, [pair for order in world.ORDERS for pair in pairwise(order)], "next after")


OPPOSING = ("philosophy", "psychology", "physics", "other")
ORDERING = ("history", "law", "math", "computer science")


def _pairs(category: str, categories: tuple[str, ...], pairs: list[tuple[str, str]], noun: str) -> Iterator[Item]:
    """Questions from one word to another; each pair belongs to one of the categories, so that none is asked twice."""
    if category not in categories:
        return
    words = sorted({word for pair in pairs for word in pair})
    for word, answer in pairs[categories.index(category) :: len(categories)]:
        text = f"what comes after {word}?" if noun == "next after" else f"what is the {noun} {word}?"
        rest = [other for other in words if other not in (word, answer)]
        yield from _variants(f"the {noun} {word}", text, answer, rest)


def _variants(noun: str, text: str, answer: str, others: list[str]) -> Iterator[Item]:
    """The same question with different options; what is asked includes them here."""
    plan, seen = Plan((Goal(f"pick {noun}", answer),)), set()
    for variant in range(VARIANTS):
        rng = random.Random(f"{text}/{answer}/{variant}")
        decoys = tuple(rng.sample(others, rng.choice(OPTION_COUNTS) - 1))
        content = f"reason/{text}/{answer}/{','.join(sorted(decoys))}"
        if content not in seen:
            seen.add(content)
            yield Item("reason", content, text, plan, decoys)


def _calculate(a: int, sign: str, b: int) -> int:
    return {"*": a * b, "+": a + b, "-": a - b}[sign]
