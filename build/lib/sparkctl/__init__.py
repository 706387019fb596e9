"""Offline, step-wise reinforcement learning for tool-using language models (SPaRK, arXiv 2507.11371)."""

__version__ = "0.1.0"
