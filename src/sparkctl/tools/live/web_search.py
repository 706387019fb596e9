"""Search on the web: a search engine's pages, or a SearXNG instance."""

from typing import Any

from pydantic import BaseModel

from sparkctl.tools.live.public_http import Answer, PublicHttp
from sparkctl.tools.live.service import (
    MAX_QUERY,
    LiveSettings,
    listed,
    parsed,
    pause,
    sendable,
    titled,
    turn,
    user_agent,
)
from sparkctl.tools.observation import Observation, ToolFailed


class WebSearch:
    """Search without a key: the result pages of fixed engines, fetched under the guard and read by ddgs.

    ddgs fetches with a client of its own, which follows redirects to anywhere; and an engine redirects to whatever site a
    query asks for ("!ducky"). So only its reading of pages is used. Nothing found cannot be told from turned away: both are
    failures, not results. With `url` set, a SearXNG instance is asked instead.
    """

    ENGINES = ("duckduckgo", "brave", "mojeek")
    """Asked in this order until one gives results; encyclopedias are left out, for they are tools of their own."""

    def __init__(self, settings: LiveSettings, timeout_s: float, usual_pause_s: float) -> None:
        self._hits = settings.hits
        self._turn, self._pause_s = turn(b"ddgs"), pause(settings, usual_pause_s)
        self._http = PublicHttp(own=None, timeout_s=timeout_s, user_agent=user_agent(settings.contact))

    def __call__(self, query: str) -> Observation:
        """Titles and snippets. Raises ToolFailed where no engine gives any."""
        if len(query) > MAX_QUERY:
            return Observation(f"error: query too long: {len(query)} characters, at most {MAX_QUERY}", ok=False)
        faults = []
        for name in self.ENGINES:
            try:
                with self._turn.taken(self._pause_s):
                    rows = self._asked(name, sendable(query))
                return listed(titled(row.title, row.body) for row in rows[: self._hits])
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


# SearXNG --------------------------------------------------------------------------------------------------------------


class _Hit(BaseModel):
    title: str
    content: str | None = None


class _Hits(BaseModel):
    """SearXNG's JSON. Engines that did not answer are `unresponsive_engines`."""

    results: list[_Hit]
    unresponsive_engines: list[Any] = []


def ask_searxng(query: str, hits: int) -> dict[str, Any]:
    return {"q": query, "format": "json"}


def read_searxng(answer: Answer, hits: int) -> Observation:
    said = parsed(_Hits, answer)
    if not said.results and said.unresponsive_engines:
        raise ToolFailed("no result, but engines did not answer")
    return listed(titled(hit.title, hit.content or "") for hit in said.results[:hits])
