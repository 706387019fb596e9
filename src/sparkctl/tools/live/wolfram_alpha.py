"""Wolfram Alpha: how its LLM API is asked and read."""

from typing import Any

from sparkctl.tools.live.public_http import Answer
from sparkctl.tools.live.service import listed
from sparkctl.tools.observation import Observation, ToolFailed


def ask_wolfram_alpha(query: str, hits: int) -> dict[str, Any]:
    return {"input": query}


def read_wolfram_alpha(answer: Answer, hits: int) -> Observation:
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
    return listed("\n".join(told).splitlines())
