"""Keys and passwords in others' words, masked before they are kept, told or sent on: found by their form, or because they
are what a variable of our environment holds.

Questions, models, tools, judges and errors may bring them. Each sink has one place that comes here: tables and pages
(`store`), replies (`ports`), recordings, the terminal (`plain`). A form is taken only where it is a key's alone: the tests
measure that no text of MMLU-Pro, nor of models that answered it, is touched.

Own patterns: those of detect-secrets find the line where a private key begins, not the key; know no newer key of OpenAI,
none of Anthropic, Google or Hugging Face; and take words such as `password` for a finding, of which exam questions are
full.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache, partial
from typing import Any, NamedTuple

DROPPED = "the policy wrote what looks like a key or a password; it was not kept"
"""The error of a candidate that holds one: its tokens would spell what is masked in its text."""
SHORTEST = 16
"""Characters of a variable's value that is looked for: a shorter one may be a word that anyone writes."""
_HOLDS_A_KEY = re.compile(r"(?:^|_)(?:API_?KEY|KEY|TOKEN|SECRET|PASSWORD|PASSWD|PAT)$", re.IGNORECASE)
_A_DIGIT = r"(?=[A-Za-z_.~+/-]{0,200}\d)"
"""What is made by chance has one; words joined by '-' have none. Bounded, as is all that is looked at twice: time is linear."""


class Form(NamedTuple):
    """How one kind of key looks. Group 1, where there is one, stays; `hints`, in lower case: without one there is none."""

    kind: str
    hints: tuple[str, ...]
    pattern: re.Pattern[str]


_FORMS = (
    (
        "private key",
        "private key-----",
        r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----(?:(?:[^-]|-(?!----))*-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----"
        # One that was cut before its end: base64, in long runs.
        r"|(?:\s*[A-Za-z0-9+/=]{16,})+)",
    ),
    ("OpenAI or Anthropic key", "sk-", rf"(?<![\w-])sk-{_A_DIGIT}[\w-]{{20,}}"),
    ("AWS key", "akia|asia", r"\b(?:AKIA|ASIA)(?=[A-Z]{0,15}\d)[0-9A-Z]{16}\b"),
    ("AWS key", "secret_access_key", r"(?i)(secret_access_key[\"']?\s{0,3}[:=]\s{0,3}[\"']?)[A-Za-z0-9+/]{40}"),
    ("GitHub token", "ghp_|gho_|ghu_|ghs_|ghr_", r"\bgh[pousr]_[A-Za-z0-9]{36,}"),
    ("GitHub token", "github_pat_", r"\bgithub_pat_\w{22,}"),
    ("GitLab token", "glpat-", r"\bglpat-[\w-]{20,}"),
    ("Google key", "aiza", r"\bAIza[\w-]{35}"),
    ("Slack token", "xox|xapp-", r"\bx(?:ox[abeoprs]|app)-(?=[A-Za-z-]{0,60}\d)[A-Za-z0-9-]{10,}"),
    ("Hugging Face token", "hf_", r"\bhf_[A-Za-z0-9]{30,}"),
    ("Groq or xAI key", "gsk_|xai-", r"\b(?:gsk_|xai-)[A-Za-z0-9]{40,}"),
    ("Stripe key", "k_live_", r"\b[sr]k_live_[A-Za-z0-9]{16,}"),
    ("web token", "eyj", r"(?<![\w-])eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}"),
    (
        "key in a header",
        "authorization",
        r"(?i)(\bauthorization[\"']?\s{0,3}[:=]\s{0,3}[\"']?(?:basic|bearer|token)\s{1,3})[A-Za-z0-9._~+/=-]{8,}",
    ),
    ("key in a header", "bearer", rf"(\b[Bb]earer\s{{1,3}}){_A_DIGIT}[A-Za-z0-9._~+/=-]{{20,}}"),
    (
        "key in a header",
        "api-key|api_key|apikey",
        rf"(?i)(\b(?:x-)?api[-_]?key[\"']?\s{{0,3}}[:=]\s{{0,3}}[\"']?){_A_DIGIT}[\w.-]{{16,}}",
    ),
    ("key in an address", "token=|key=", rf"([?&](?:access_token|token|key)=){_A_DIGIT}[\w.~%+-]{{16,}}"),
    ("password in an address", "://", r"(://[^\s/:@\"'<>\[\]]{0,100}:)[^\s/@\"'<>\[\]]{1,200}(?=@[\w\[])"),
)  # fmt: skip
"""Kind, hints, pattern; compiled at the first use, for `--help` needs none."""

_found: defaultdict[str, set[int]] = defaultdict(set)
"""Where -> the different keys that were masked there, each as a number that does not tell it."""


def masked(text: str, where: str = "") -> str:
    """The text with `[masked: KIND]` in place of each key; `where`: a name under which `told` counts them."""
    low = text.lower()
    for form in forms():
        if any(hint in low for hint in form.hints):
            text = form.pattern.sub(partial(_mark, form.kind, where), text)
    return text


def cleaned(value: Any, where: str = "") -> Any:
    """The same of every text in dicts and lists; what holds none is given back as it is."""
    if isinstance(value, str):
        return masked(value, where)
    if isinstance(value, dict):
        return {name: cleaned(part, f"{where}.{name}" if where else "") for name, part in value.items()}
    if isinstance(value, list | tuple) and not (value and isinstance(value[0], int | float)):  # thousands of tokens
        return [cleaned(part, where) for part in value]
    return value


def hints() -> Iterator[str]:
    """Words, in lower case, without one of which a text holds nothing to mask."""
    return (hint for form in forms() for hint in form.hints)


def told() -> str | None:
    """One line on what was masked since this was asked last: how many different keys, and where."""
    counts = ", ".join(f"{len(keys)} in {where}" for where, keys in sorted(_found.items()))
    _found.clear()
    return f"masked what looks like keys or passwords: {counts}" if counts else None


@cache
def forms() -> tuple[Form, ...]:
    """Those above, and the values of the environment's keys, as they are when this is asked first."""
    values = [
        Form(f"value of {name}", (value.lower(),), re.compile(re.escape(value)))
        for name, value in sorted(os.environ.items())
        if _HOLDS_A_KEY.search(name) and len(value) >= SHORTEST and not re.search(r"\s", value)
    ]
    known = [Form(kind, tuple(hints.split("|")), re.compile(pattern)) for kind, hints, pattern in _FORMS]
    return (*values, *known)


def _mark(kind: str, where: str, found: re.Match[str]) -> str:
    kept = (found[1] or "") if found.re.groups else ""
    if where:
        _found[where].add(hash(found[0]))
    return f"{kept}[masked: {kind}]"
