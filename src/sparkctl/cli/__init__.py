"""What you type: options, one file per group of commands, printing."""

from sparkctl.cli.main import main

__all__ = ["main"]
