"""A made-up world: invented names, facts about them, units, word classes, and which source holds what.

Everything is invented so that no fact can be known beforehand: a policy has to look it up. Each fact stands in one to
four of the retrieval tools. `wikipedia` and `search` hold most of them, `static_kb` and `semantic_scholar` fewer, so
that a policy meets sources that do not know. Nothing here is random: names and holdings follow from numbers and digests.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b

from sparkctl.method.episode import CATEGORIES
from sparkctl.tools.observation import Document

# fmt: off
HEADS = (
    "bal", "bor", "bren", "cal", "cor", "dal", "dor", "fal", "fen", "gal", "gor", "hal", "hel", "jal", "jor", "kal", "kel", "lor",
    "mal", "mer", "mor", "nal", "nor", "pal", "pel", "qua", "rav", "ros", "sel", "sil", "tal", "tor", "ul", "val", "vel", "vor",
    "wel", "yor", "zan", "zel",
)
TAILS = (
    "ba", "bix", "da", "dell", "din", "dor", "fen", "ga", "gard", "go", "ka", "kin", "la", "land", "lo", "ma", "mar", "mir",
    "mo", "na", "nis", "no", "pa", "pis", "ra", "rix", "ro", "sa", "so", "ta", "tan", "to", "tus", "va", "vin", "vo", "wick",
    "za", "zin", "zo",
)
# fmt: on
"""A name is a head and a tail, such as `norland`; each part is one token of the nano policy."""

SUBJECTS = 24
"""Things told about in each category."""
VALUES = 12
"""Different names that a relation can point to: enough for ten options."""


@dataclass(frozen=True)
class Domain:
    """What a category is told about: two relations to names, one to numbers, its units, its class of words."""

    relations: tuple[str, str]
    number: str
    units: tuple[tuple[str, str, int], ...]
    kind: str
    members: tuple[str, ...]


@dataclass(frozen=True)
class Fact:
    """`the <relation> of <subject> is <value>`."""

    category: str
    relation: str
    subject: str
    value: str

    @property
    def sentence(self) -> str:
        return f"the {self.relation} of {self.subject} is {self.value}"


# fmt: off
DOMAINS = {
    "biology": Domain(("habitat", "prey"), "lifespan", (("cm", "mm", 10),), "an animal",
        ("cat", "dog", "horse", "cow", "sheep", "bird")),
    "business": Domain(("founder", "product"), "price", (("tonnes", "kg", 1000),), "a job",
        ("baker", "driver", "farmer", "doctor", "painter", "pilot")),
    "chemistry": Domain(("solvent", "ore"), "mass", (("l", "ml", 1000), ("kg", "g", 1000)), "a metal",
        ("iron", "gold", "silver", "copper", "zinc", "tin")),
    "computer science": Domain(("author", "platform"), "size", (("bytes", "bits", 8),), "a tool",
        ("hammer", "saw", "drill", "knife", "spade", "axe")),
    "economics": Domain(("currency", "export"), "debt", (("weeks", "days", 7),), "a drink",
        ("tea", "milk", "water", "juice", "wine", "beer")),
    "engineering": Domain(("material", "builder"), "length", (("feet", "inches", 12), ("m", "mm", 1000)), "a building",
        ("house", "church", "tower", "bridge", "castle", "barn")),
    "health": Domain(("cure", "cause"), "dose", (("g", "mg", 1000), ("days", "hours", 24)), "a part of the body",
        ("arm", "leg", "nose", "ear", "knee", "hand")),
    "history": Domain(("ruler", "ally"), "year", (("centuries", "years", 100),), "a weapon",
        ("sword", "spear", "bow", "rifle", "cannon", "dagger")),
    "law": Domain(("judge", "court"), "fine", (("years", "months", 12),), "a crime",
        ("theft", "murder", "fraud", "arson", "bribery", "robbery")),
    "math": Domain(("prover", "field"), "rank", (("hours", "minutes", 60), ("minutes", "seconds", 60)), "a shape",
        ("circle", "square", "cube", "cone", "sphere", "line")),
    "other": Domain(("capital", "river"), "height", (("yards", "feet", 3), ("gallons", "quarts", 4)), "a fruit",
        ("apple", "pear", "plum", "grape", "lemon", "cherry")),
    "philosophy": Domain(("school", "teacher"), "age", (("days", "minutes", 1440),), "a virtue",
        ("courage", "honesty", "justice", "mercy", "wisdom", "patience")),
    "physics": Domain(("discoverer", "symbol"), "speed", (("km", "m", 1000), ("m", "cm", 100)), "a colour",
        ("red", "blue", "green", "yellow", "black", "white")),
    "psychology": Domain(("theory", "mentor"), "score", (("hours", "seconds", 3600),), "a feeling",
        ("fear", "anger", "joy", "shame", "pride", "grief")),
}
OPPOSITES = (
    ("hot", "cold"), ("big", "small"), ("fast", "slow"), ("early", "late"), ("rich", "poor"), ("hard", "soft"),
    ("high", "low"), ("old", "young"), ("long", "short"), ("light", "dark"), ("wet", "dry"), ("full", "empty"),
    ("strong", "weak"), ("true", "false"), ("good", "bad"), ("open", "closed"), ("thick", "thin"), ("loud", "quiet"),
)
ORDERS = (
    ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"),
    ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
     "december"),
)
# fmt: on

HOLDINGS = {"wikipedia": 0.92, "search": 0.92, "static_kb": 0.7, "semantic_scholar": 0.62}
"""Share of the facts that each source holds."""


@cache
def facts() -> tuple[Fact, ...]:
    """All facts, category by category."""
    return tuple(fact for number, category in enumerate(CATEGORIES) for fact in _told(number, category))


def pool(category: str, relation: str) -> tuple[str, ...]:
    """The names that a relation of this category can point to."""
    which = DOMAINS[category].relations.index(relation)
    start = len(CATEGORIES) * SUBJECTS + (CATEGORIES.index(category) * 2 + which) * VALUES
    return tuple(_name(start + i) for i in range(VALUES))


def holders(fact: Fact) -> tuple[str, ...]:
    """The sources that hold a fact; at least one."""
    held = tuple(source for source, share in HOLDINGS.items() if _share(source, fact.sentence) < share)
    return held or ("search",)


def documents() -> list[Document]:
    """The corpus of the four retrieval tools: one short document per fact and holder, and how units convert."""
    corpus = [
        Document(source, f"{fact.relation} of {fact.subject}", fact.sentence)
        for fact in facts()
        for source in holders(fact)
    ]
    for domain in DOMAINS.values():
        for unit, smaller, factor in domain.units:
            rule = f"multiply by {factor}"
            corpus += [Document(source, f"{unit} to {smaller}", rule) for source in ("wikipedia", "search")]
    return corpus


def _told(number: int, category: str) -> Iterator[Fact]:
    domain = DOMAINS[category]
    for i in range(SUBJECTS):
        subject = _name(number * SUBJECTS + i)
        for relation in domain.relations:
            values = pool(category, relation)
            yield Fact(category, relation, subject, values[_number(relation + subject) % VALUES])
        yield Fact(category, domain.number, subject, str(11 + _number(domain.number + subject) % 289))


def _name(index: int) -> str:
    """The index-th name. The stride has no factor in common with the number of names, so none comes twice."""
    head, tail = divmod(index * 617 % (len(HEADS) * len(TAILS)), len(TAILS))
    return HEADS[head] + TAILS[tail]


def _share(*parts: str) -> float:
    return _number("/".join(parts)) / 2**64


def _number(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")
