"""Semantic Scholar: how it is asked and read."""

from typing import Any

from pydantic import BaseModel

from sparkctl.tools.live.public_http import Answer
from sparkctl.tools.live.service import listed, parsed, titled
from sparkctl.tools.observation import Observation, ToolFailed


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


def ask_semantic_scholar(query: str, hits: int) -> dict[str, Any]:
    # Its search finds nothing for a word with a hyphen; the documentation says to put a space there.
    return {"query": query.replace("-", " "), "limit": hits, "fields": "title,year,abstract,tldr"}


def read_semantic_scholar(answer: Answer, hits: int) -> Observation:
    said = parsed(_Papers, answer)
    if said.data is None and said.total:
        raise ToolFailed("answer in another format: no data")
    return listed(_paper(paper) for paper in (said.data or [])[:hits])


def _paper(paper: _Paper) -> str:
    title = f"{paper.title} ({paper.year})" if paper.year else paper.title
    return titled(title, (paper.tldr and paper.tldr.text) or paper.abstract or "")
