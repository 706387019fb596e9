"""How a web service is asked for a tool: what Wikipedia, a search engine, Semantic Scholar and Wolfram|Alpha have in common.

What a service *says* is an Observation, with ok=False where it is no result ("no result", not understood, ambiguous): the
same query will hear it again. What keeps a service from saying anything (network, HTTP 429 and 5xx after three tries, time,
an answer in another format) raises ToolFailed and is nobody's memory. Text of a service is data: it is handed on as it
came, the toolbox makes one bounded line of it.

Etiquette: one request at a time per host, with a pause between (see `_SERVICES` in open.py); a User-Agent that names us and `contact`;
gzip; three tries with exponential back-off and jitter; `Retry-After` holds for every call to that host, and where it asks
for more than half a minute, calls fail at once until then. Keys come from the environment, travel in a header, and are cut out of every text.
"""

import math
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, TypeVar
from urllib.parse import quote, quote_plus

import httpx
import tenacity
from pydantic import BaseModel, ValidationError

import sparkctl
from sparkctl.errors import SparkError
from sparkctl.method.retry_after import retry_after
from sparkctl.tools.live.public_http import Answer, PublicHttp, Unreachable
from sparkctl.tools.observation import Observation, ToolFailed

TRIES = 3
BACKOFF_S = 1.0
"""Seconds before the second try, doubled before the third, plus up to a second of jitter."""
MAX_WAIT_S = 30.0
"""Seconds that a Retry-After may ask for."""
MAX_REST_S = 3600.0
"""Seconds that a service is left alone, whatever it asks for."""
MAX_QUERY = 1000
"""Characters of a query; Wikipedia's search takes fewer."""
MAX_HITS = 20
"""Extracts that one MediaWiki request gives."""
_BUSY = frozenset({429, 500, 502, 503, 504})
_NOT_ACCEPTED = frozenset({400, 413, 414, 422})
_NO_RESULT = Observation("no result", ok=False)

Format = TypeVar("Format", bound=BaseModel)


class LiveSettings(Protocol):
    """What a tool's table in tools.toml says of a live tool."""

    @property
    def url(self) -> str | None:
        """Another base address than the service's own: a mirror, a SearXNG instance. Its origin may be private."""

    @property
    def min_interval_s(self) -> float | None:
        """Seconds from one request to the next; None: what the service asks for."""

    @property
    def contact(self) -> str | None:
        """E-mail or URL of whoever runs this, for the User-Agent, as Wikimedia's policy asks."""

    @property
    def hits(self) -> int:
        """Documents in an observation, at most."""


class LiveTool(Protocol):
    """A query in, an observation out."""

    def __call__(self, query: str) -> Observation: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Key:
    """A secret: the environment variable that holds it, and the header that takes it."""

    variable: str
    header: str
    form: str
    required: bool

    def found(self, name: str) -> str | None:
        value = os.environ.get(self.variable, "").strip()
        if value.isascii() and value.isprintable() and value:
            return value
        if value:
            raise SparkError(f"{self.variable}: what the environment holds cannot stand in a header; set it anew")
        if self.required:
            raise SparkError(f"{name}: needs {self.variable} in the environment; set it, or choose another backend")
        return None


@dataclass(frozen=True)
class Api:
    """How one service is asked and read."""

    base: str
    path: str
    min_interval_s: float
    parameters: Callable[[str, int], dict[str, Any]]
    read: Callable[[Answer, int], Observation]
    max_query: int = MAX_QUERY
    key: Key | None = None


class Busy(ToolFailed):
    """The service asks to be left alone for now, for `after_s` seconds where it says so."""

    def __init__(self, reason: str, after_s: float | None) -> None:
        super().__init__(reason)
        self.after_s = after_s


class Service:
    """A tool that asks one HTTP API."""

    def __init__(self, name: str, api: Api, settings: LiveSettings, timeout_s: float) -> None:
        self._name, self._api, self._hits = name, api, settings.hits
        key = self._api.key
        self._secret = key.found(name) if key else None
        self._secrets = {key.header: key.form.format(self._secret)} if key and self._secret else {}
        self._address = (settings.url or self._api.base).rstrip("/") + self._api.path
        self._turn = turn(httpx.URL(self._address).raw_host)
        self._pause_s = pause(settings, self._api.min_interval_s)
        self._http = PublicHttp(own=settings.url, timeout_s=timeout_s, user_agent=user_agent(settings.contact))
        self._retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(TRIES),
            wait=_wait,
            retry=tenacity.retry_if_exception_type((Busy, Unreachable)),
            reraise=True,
        )

    def __call__(self, query: str) -> Observation:
        """What the service says. Raises ToolFailed where it says nothing."""
        if len(query) > self._api.max_query:
            text = f"error: query too long: {len(query)} characters, at most {self._api.max_query}"
            return Observation(text, ok=False)
        try:
            observation = self._retrying(self._ask, sendable(query))
        except ToolFailed as fault:
            raise ToolFailed(f"{self._name}: {self._cleaned(str(fault))}") from None
        return Observation(self._cleaned(observation.text), observation.ok)

    def close(self) -> None:
        """Close the connections that are kept."""
        self._http.close()

    def _ask(self, query: str) -> Observation:
        with self._turn.taken(self._pause_s):
            answer = self._http.get(self._address, self._api.parameters(query, self._hits), self._secrets)
            try:
                return self._read(answer)
            except Busy as busy:
                self._turn.rest(busy.after_s or 0.0)
                if busy.after_s and busy.after_s > MAX_WAIT_S:
                    raise ToolFailed(f"{busy}, asks to wait {busy.after_s:.0f} s") from None
                raise

    def _read(self, answer: Answer) -> Observation:
        if answer.status in _BUSY:
            raise busy_reply(f"HTTP {answer.status}", answer)
        if answer.status in _NOT_ACCEPTED:
            return Observation(f"error: the service did not accept the query (HTTP {answer.status})", ok=False)
        if answer.status in (401, 403):
            advice = f"; look at {self._api.key.variable}" if self._api.key else "; does it want to know `contact`?"
            raise ToolFailed(f"HTTP {answer.status}, not allowed{advice}")
        return self._api.read(answer, self._hits)

    def _cleaned(self, text: str) -> str:
        """The text without the key, in whatever spelling a server may have sent it back."""
        if not self._secret or not self._api.key:
            return text
        for spelling in {self._secret, quote(self._secret, safe=""), quote_plus(self._secret)}:
            text = text.replace(spelling, f"({self._api.key.variable})")
        return text


def user_agent(contact: str | None) -> str:
    """As Wikimedia's policy has it: client/version (contact) library/version."""
    told = f" (+{contact})" if contact else ""
    return f"sparkctl/{sparkctl.__version__}{told} httpx/{httpx.__version__}"


class _Turn:
    """One request at a time, each so long after the one before; none while the service wants to be left alone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free_at = self._rested_at = -math.inf

    @contextmanager
    def taken(self, pause_s: float) -> Iterator[None]:
        with self._lock:
            rest_s = self._rested_at - time.monotonic()
            if rest_s > MAX_WAIT_S:
                raise ToolFailed(f"asks to be left alone for {rest_s:.0f} s more")
            time.sleep(max(0.0, rest_s, self._free_at - time.monotonic()))
            self._free_at = time.monotonic() + pause_s
            yield

    def rest(self, seconds: float) -> None:
        """For whatever tool or thread asks next."""
        self._rested_at = max(self._rested_at, time.monotonic() + min(seconds, MAX_REST_S))


@cache
def turn(host: bytes) -> _Turn:
    """The one of this process for a host, whatever tools are opened on it."""
    return _Turn()


def sendable(query: str) -> str:
    """A model may write half of a surrogate pair, which no URL can hold."""
    return query.encode("utf-8", "replace").decode()


def pause(settings: LiveSettings, default: float) -> float:
    return default if settings.min_interval_s is None else settings.min_interval_s


def _wait(state: tenacity.RetryCallState) -> float:
    """Seconds until the next try: what the service asked for, else back-off with jitter."""
    fault = state.outcome.exception() if state.outcome else None
    told = fault.after_s if isinstance(fault, Busy) else None
    return BACKOFF_S * (2 ** (state.attempt_number - 1) + random.random()) if told is None else told


def busy_reply(reason: str, answer: Answer) -> Busy:
    return Busy(reason, retry_after(answer.headers.get("retry-after")))


def parsed(form: type[Format], answer: Answer) -> Format:
    """A JSON answer in the format that is documented. Raises ToolFailed where it is another."""
    if answer.status != 200:
        raise ToolFailed(f"HTTP {answer.status}")
    try:
        return form.model_validate_json(answer.body)
    except ValidationError as fault:
        first = fault.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"])) or "body"
        kind = answer.headers.get("content-type", "no type")[:60]
        raise ToolFailed(f"answer in another format ({kind}): {place}: {first['type']}") from None


def titled(title: str, text: str) -> str:
    return f"{title}: {text}" if text else title


def listed(entries: Any) -> Observation:
    shown = [entry for entry in entries if entry]
    return Observation(" | ".join(shown)) if shown else _NO_RESULT
