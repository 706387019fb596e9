"""Wikipedia: how MediaWiki is asked and read."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from sparkctl.tools.live.public_http import Answer
from sparkctl.tools.live.service import busy_reply, listed, parsed, titled
from sparkctl.tools.observation import Observation, ToolFailed


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


def ask_wikipedia(query: str, hits: int) -> dict[str, Any]:
    """Search and the first section of each page found, in one request (the etiquette's "use a generator")."""
    form = {"action": "query", "format": "json", "formatversion": 2, "maxlag": 5}
    found = {"generator": "search", "gsrsearch": query, "gsrlimit": hits}
    extracts = {"prop": "extracts|pageprops", "ppprop": "disambiguation", "exintro": 1, "explaintext": 1}
    return form | found | extracts | {"exchars": 1200, "exlimit": "max"}


def read_wikipedia(answer: Answer, hits: int) -> Observation:
    said = parsed(_Wiki, answer)
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
    return listed(titled(page.title, page.extract or "") for page in plain)


_WIKI_BUSY = ("maxlag", "ratelimited", "readonly", "busy", "backend")
_WIKI_REFUSES = ("too-long", "parse-error", "syntax-error")


def _wiki_error(error: _WikiError, answer: Answer) -> Observation:
    """What is wrong with the query is said; whatever else the wiki complains of is a failure, so that it is not kept."""
    if any(word in error.code for word in _WIKI_REFUSES):
        return Observation(f"error: {error.info or error.code}", ok=False)
    if any(word in error.code for word in _WIKI_BUSY):
        raise busy_reply(error.code[:60], answer)
    raise ToolFailed(f"the wiki says {error.code[:60]}")
