"""Four tools against the real services: Wikipedia, a search engine, Semantic Scholar and Wolfram|Alpha.

What a service *says* is an Observation, with ok=False where it is no result ("no result", not understood, ambiguous): the
same query will hear it again. What keeps a service from saying anything (network, HTTP 429 and 5xx after three tries, time,
an answer in another format) raises ToolFailed and is nobody's memory. Text of a service is data: it is handed on as it
came, the toolbox makes one bounded line of it.

Etiquette: one request at a time per host, with a pause between (see `_SERVICES`); a User-Agent that names us and `contact`;
gzip; three tries with exponential back-off and jitter; `Retry-After` holds for every call to that host, and where it asks
for more than half a minute, calls fail at once until then. Keys come from the environment, travel in a header, and are cut out of every text.
"""

import math
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, TypeVar
from urllib.parse import quote, quote_plus

import httpx
import tenacity
from pydantic import BaseModel, ValidationError

import sparkctl
from sparkctl.backends.limits import retry_after
from sparkctl.backends.public_http import Answer, PublicHttp, Unreachable
from sparkctl.errors import SparkError
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


def open_live(name: str, settings: LiveSettings, *, timeout_s: float) -> LiveTool:
    """The tool `name` over its service. `timeout_s`: seconds for one try, redirects included.

    Raises SparkError in one line where the settings or the environment lack something. Sends nothing.
    """
    if name != "search" and name not in _SERVICES:
        raise SparkError(f"{name}: there is no live tool of that name; there are: {', '.join([*_SERVICES])}")
    _check(name, settings)
    if name == "search" and settings.url is None:
        return WebSearch(settings, timeout_s)
    return Service(name, settings, timeout_s)


def _check(name: str, settings: LiveSettings) -> None:
    if not 1 <= settings.hits <= MAX_HITS:
        raise SparkError(f"tools.hits: {settings.hits} is not between 1 and {MAX_HITS}")
    contact = settings.contact or ""
    if not contact.isascii() or not contact.isprintable() or set("()") & set(contact):
        raise SparkError(f"{name}.contact: goes into a header; give an e-mail or a URL in plain ASCII")
    if settings.url is not None:
        _check_url(name, settings.url)


def _check_url(name: str, text: str) -> None:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.raw_host:
        raise SparkError(f"{name}.url: is not an address; give one such as https://example.org/path")
    if url.userinfo or url.query or url.fragment:
        raise SparkError(f"{name}.url: leave out credentials, '?' and '#'; keys come from the environment")


@dataclass(frozen=True)
class _Key:
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
class _Api:
    """How one service is asked and read."""

    base: str
    path: str
    min_interval_s: float
    parameters: Callable[[str, int], dict[str, Any]]
    read: Callable[[Answer, int], Observation]
    max_query: int = MAX_QUERY
    key: _Key | None = None


class Busy(ToolFailed):
    """The service asks to be left alone for now, for `after_s` seconds where it says so."""

    def __init__(self, reason: str, after_s: float | None) -> None:
        super().__init__(reason)
        self.after_s = after_s


class Service:
    """A tool that asks one HTTP API."""

    def __init__(self, name: str, settings: LiveSettings, timeout_s: float) -> None:
        self._name, self._api, self._hits = name, _SERVICES[name], settings.hits
        key = self._api.key
        self._secret = key.found(name) if key else None
        self._secrets = {key.header: key.form.format(self._secret)} if key and self._secret else {}
        self._address = (settings.url or self._api.base).rstrip("/") + self._api.path
        self._turn = _turn(httpx.URL(self._address).raw_host)
        self._pause_s = _pause(settings, self._api.min_interval_s)
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
            observation = self._retrying(self._ask, _sendable(query))
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
            raise _busy(f"HTTP {answer.status}", answer)
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


class WebSearch:
    """Search without a key: the result pages of fixed engines, fetched under the guard and read by ddgs.

    ddgs fetches with a client of its own, which follows redirects to anywhere; and an engine redirects to whatever site a
    query asks for ("!ducky"). So only its reading of pages is used. Nothing found cannot be told from turned away: both are
    failures, not results. With `url` set, a SearXNG instance is asked instead.
    """

    ENGINES = ("duckduckgo", "brave", "mojeek")
    """Asked in this order until one gives results; encyclopedias are left out, for they are tools of their own."""

    def __init__(self, settings: LiveSettings, timeout_s: float) -> None:
        self._hits = settings.hits
        self._turn, self._pause_s = _turn(b"ddgs"), _pause(settings, _SERVICES["search"].min_interval_s)
        self._http = PublicHttp(own=None, timeout_s=timeout_s, user_agent=user_agent(settings.contact))

    def __call__(self, query: str) -> Observation:
        """Titles and snippets. Raises ToolFailed where no engine gives any."""
        if len(query) > MAX_QUERY:
            return Observation(f"error: query too long: {len(query)} characters, at most {MAX_QUERY}", ok=False)
        faults = []
        for name in self.ENGINES:
            try:
                with self._turn.taken(self._pause_s):
                    rows = self._asked(name, _sendable(query))
                return _listed(_entry(row.title, row.body) for row in rows[: self._hits])
            except ToolFailed as fault:
                faults.append(f"{name}: {fault}")
        raise ToolFailed(f"search: no engine gave a result ({'; '.join(faults)[:200]})")

    def close(self) -> None:
        """Close the connections that are kept."""
        self._http.close()

    def _asked(self, name: str, query: str) -> list[Any]:
        """What one engine found, as ddgs reads it: `title` and `body`; at least one."""
        from ddgs.engines import ENGINES

        engine = ENGINES["text"][name]()
        asked = engine.build_payload(query=query, region="us-en", safesearch="moderate", timelimit=None, page=1)
        answer = self._http.get(engine.search_url, asked, {})
        if answer.status != 200:
            raise ToolFailed(f"HTTP {answer.status}")
        try:
            rows = engine.post_extract_results(engine.extract_results(answer.text))
        except Exception as fault:  # a page of any content, read by a parser with its own kinds
            raise ToolFailed(f"answer in another format ({type(fault).__name__})") from None
        if not rows:
            raise ToolFailed("no result")
        return list(rows)


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
def _turn(host: bytes) -> _Turn:
    """The one of this process for a host, whatever tools are opened on it."""
    return _Turn()


def _sendable(query: str) -> str:
    """A model may write half of a surrogate pair, which no URL can hold."""
    return query.encode("utf-8", "replace").decode()


def _pause(settings: LiveSettings, default: float) -> float:
    return default if settings.min_interval_s is None else settings.min_interval_s


def _wait(state: tenacity.RetryCallState) -> float:
    """Seconds until the next try: what the service asked for, else back-off with jitter."""
    fault = state.outcome.exception() if state.outcome else None
    told = fault.after_s if isinstance(fault, Busy) else None
    return BACKOFF_S * (2 ** (state.attempt_number - 1) + random.random()) if told is None else told


def _busy(reason: str, answer: Answer) -> Busy:
    return Busy(reason, retry_after(answer.headers.get("retry-after")))


def _parsed(form: type[Format], answer: Answer) -> Format:
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


def _entry(title: str, text: str) -> str:
    return f"{title}: {text}" if text else title


def _listed(entries: Any) -> Observation:
    shown = [entry for entry in entries if entry]
    return Observation(" | ".join(shown)) if shown else _NO_RESULT


# Wikipedia ------------------------------------------------------------------------------------------------------------


class _Page(BaseModel):
    title: str
    index: int = 0
    extract: str | None = None
    pageprops: Mapping[str, Any] = {}

    @property
    def ambiguous(self) -> bool:
        return "disambiguation" in self.pageprops


class _Pages(BaseModel):
    pages: list[_Page]


class _WikiError(BaseModel):
    code: str
    info: str = ""


class _Wiki(BaseModel):
    """MediaWiki's action API, formatversion 2. Nothing found is `batchcomplete` without a `query`."""

    error: _WikiError | None = None
    query: _Pages | None = None
    batchcomplete: bool = False


def _ask_wikipedia(query: str, hits: int) -> dict[str, Any]:
    """Search and the first section of each page found, in one request (the etiquette's "use a generator")."""
    form = {"action": "query", "format": "json", "formatversion": 2, "maxlag": 5}
    found = {"generator": "search", "gsrsearch": query, "gsrlimit": hits}
    extracts = {"prop": "extracts|pageprops", "ppprop": "disambiguation", "exintro": 1, "explaintext": 1}
    return form | found | extracts | {"exchars": 1200, "exlimit": "max"}


def _read_wikipedia(answer: Answer, hits: int) -> Observation:
    said = _parsed(_Wiki, answer)
    if said.error:
        return _wiki_error(said.error, answer)
    if said.query is None and not said.batchcomplete:
        raise ToolFailed("answer in another format: neither query nor batchcomplete")
    pages = sorted(said.query.pages if said.query else [], key=lambda page: page.index)[:hits]
    if pages and all(page.extract is None for page in pages):
        raise ToolFailed("the wiki gave no extracts; it needs the TextExtracts extension")
    plain = [page for page in pages if not page.ambiguous]
    if pages and not plain:
        return Observation(f"ambiguous: {', '.join(page.title for page in pages)}; be more precise", ok=False)
    return _listed(_entry(page.title, page.extract or "") for page in plain)


_WIKI_BUSY = ("maxlag", "ratelimited", "readonly", "busy", "backend")
_WIKI_REFUSES = ("too-long", "parse-error", "syntax-error")


def _wiki_error(error: _WikiError, answer: Answer) -> Observation:
    """What is wrong with the query is said; whatever else the wiki complains of is a failure, so that it is not kept."""
    if any(word in error.code for word in _WIKI_REFUSES):
        return Observation(f"error: {error.info or error.code}", ok=False)
    if any(word in error.code for word in _WIKI_BUSY):
        raise _busy(error.code[:60], answer)
    raise ToolFailed(f"the wiki says {error.code[:60]}")


# SearXNG --------------------------------------------------------------------------------------------------------------


class _Hit(BaseModel):
    title: str
    content: str | None = None


class _Hits(BaseModel):
    """SearXNG's JSON. Engines that did not answer are `unresponsive_engines`."""

    results: list[_Hit]
    unresponsive_engines: list[Any] = []


def _ask_searxng(query: str, hits: int) -> dict[str, Any]:
    return {"q": query, "format": "json"}


def _read_searxng(answer: Answer, hits: int) -> Observation:
    said = _parsed(_Hits, answer)
    if not said.results and said.unresponsive_engines:
        raise ToolFailed("no result, but engines did not answer")
    return _listed(_entry(hit.title, hit.content or "") for hit in said.results[:hits])


# Semantic Scholar -----------------------------------------------------------------------------------------------------


class _Tldr(BaseModel):
    text: str | None = None


class _Paper(BaseModel):
    title: str
    year: int | None = None
    abstract: str | None = None
    tldr: _Tldr | None = None


class _Papers(BaseModel):
    """`data` is left out where `total` is 0."""

    total: int
    data: list[_Paper] | None = None


def _ask_semantic_scholar(query: str, hits: int) -> dict[str, Any]:
    # Its search finds nothing for a word with a hyphen; the documentation says to put a space there.
    return {"query": query.replace("-", " "), "limit": hits, "fields": "title,year,abstract,tldr"}


def _read_semantic_scholar(answer: Answer, hits: int) -> Observation:
    said = _parsed(_Papers, answer)
    if said.data is None and said.total:
        raise ToolFailed("answer in another format: no data")
    return _listed(_paper(paper) for paper in (said.data or [])[:hits])


def _paper(paper: _Paper) -> str:
    title = f"{paper.title} ({paper.year})" if paper.year else paper.title
    return _entry(title, (paper.tldr and paper.tldr.text) or paper.abstract or "")


# Wolfram|Alpha --------------------------------------------------------------------------------------------------------


def _ask_wolfram_alpha(query: str, hits: int) -> dict[str, Any]:
    return {"input": query}


def _read_wolfram_alpha(answer: Answer, hits: int) -> Observation:
    """The LLM API's plain text, without the query, pictures and the link to the site. 501: not understood."""
    if answer.status not in (200, 501):
        raise ToolFailed(f"HTTP {answer.status}")
    if "html" in answer.headers.get("content-type", ""):
        raise ToolFailed("answer in another format: a web page")
    if answer.status == 501:
        return Observation(f"not understood: {answer.text.strip()}".removesuffix(": "), ok=False)
    sections = [part.strip() for part in answer.text.replace("\r\n", "\n").split("\n\n")]
    told = [part for part in sections if not part.startswith(("Query:", "image:", "Wolfram|Alpha website result"))]
    if not any(told):
        raise ToolFailed("answer in another format: nothing in it")
    return _listed("\n".join(told).splitlines())


_SERVICES = {
    # https://www.mediawiki.org/wiki/API:Etiquette: no fixed rate, but requests in series, gzip, maxlag. The pause is ours.
    "wikipedia": _Api("https://en.wikipedia.org/w", "/api.php", 0.2, _ask_wikipedia, _read_wikipedia, max_query=300),
    # The address of an instance comes from `url`; how often it may be asked is its owner's matter. The pause is ours.
    "search": _Api("", "/search", 1.0, _ask_searxng, _read_searxng),
    # https://api.semanticscholar.org/api-docs: with a key one request per second; without one a pool shared by all.
    "semantic_scholar": _Api(
        "https://api.semanticscholar.org/graph/v1",
        "/paper/search",
        1.0,
        _ask_semantic_scholar,
        _read_semantic_scholar,
        key=_Key("SEMANTIC_SCHOLAR_API_KEY", "x-api-key", "{}", required=False),
    ),
    # https://products.wolframalpha.com/llm-api/documentation: the key as a bearer token; a number of calls per month is
    # all it limits. The pause is ours.
    "wolfram_alpha": _Api(
        "https://www.wolframalpha.com/api/v1",
        "/llm-api",
        0.5,
        _ask_wolfram_alpha,
        _read_wolfram_alpha,
        key=_Key("WOLFRAM_APP_ID", "Authorization", "Bearer {}", required=True),
    ),
}
