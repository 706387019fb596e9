"""Open a live tool by its name: its settings checked, its service known. Sends nothing."""

import httpx

from sparkctl.errors import SparkError
from sparkctl.tools.live.semantic_scholar import ask_semantic_scholar, read_semantic_scholar
from sparkctl.tools.live.service import MAX_HITS, Api, Key, LiveSettings, LiveTool, Service
from sparkctl.tools.live.web_search import WebSearch, ask_searxng, read_searxng
from sparkctl.tools.live.wikipedia import ask_wikipedia, read_wikipedia
from sparkctl.tools.live.wolfram_alpha import ask_wolfram_alpha, read_wolfram_alpha


def open_live(name: str, settings: LiveSettings, *, timeout_s: float) -> LiveTool:
    """The tool `name` over its service. `timeout_s`: seconds for one try, redirects included.

    Raises SparkError in one line where the settings or the environment lack something. Sends nothing.
    """
    if name != "search" and name not in _SERVICES:
        raise SparkError(f"{name}: there is no live tool of that name; there are: {', '.join([*_SERVICES])}")
    _check(name, settings)
    if name == "search" and settings.url is None:
        return WebSearch(settings, timeout_s, _SERVICES["search"].min_interval_s)
    return Service(name, _SERVICES[name], settings, timeout_s)


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


_SERVICES = {
    # https://www.mediawiki.org/wiki/API:Etiquette: no fixed rate, but requests in series, gzip, maxlag. The pause is ours.
    "wikipedia": Api("https://en.wikipedia.org/w", "/api.php", 0.2, ask_wikipedia, read_wikipedia, max_query=300),
    # The address of an instance comes from `url`; how often it may be asked is its owner's matter. The pause is ours.
    "search": Api("", "/search", 1.0, ask_searxng, read_searxng),
    # https://api.semanticscholar.org/api-docs: with a key one request per second; without one a pool shared by all.
    "semantic_scholar": Api(
        "https://api.semanticscholar.org/graph/v1",
        "/paper/search",
        1.0,
        ask_semantic_scholar,
        read_semantic_scholar,
        key=Key("SEMANTIC_SCHOLAR_API_KEY", "x-api-key", "{}", required=False),
    ),
    # https://products.wolframalpha.com/llm-api/documentation: the key as a bearer token; a number of calls per month is
    # all it limits. The pause is ours.
    "wolfram_alpha": Api(
        "https://www.wolframalpha.com/api/v1",
        "/llm-api",
        0.5,
        ask_wolfram_alpha,
        read_wolfram_alpha,
        key=Key("WOLFRAM_APP_ID", "Authorization", "Bearer {}", required=True),
    ),
}
