"""The settings of the eight tools, shared by the stages that run them."""

from typing import Literal

from pydantic import Field

from sparkctl.settings import Settings


class Tools(Settings):
    """Back ends and bounds, from tools.toml."""

    backend: Literal["offline"] = "offline"
    """offline: sympy, pint, a Python process with limits, and a small corpus; no network."""
    hits: int = Field(1, ge=1)
    """Documents that a retrieval tool shows."""
    limit: int = Field(600, ge=1)
    """Characters of an observation; the rest is cut and marked."""
    descriptions: dict[str, str]
    """Action -> the line that the policy's prompt says of it."""
