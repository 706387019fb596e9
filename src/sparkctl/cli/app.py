"""The command line's app, and the options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from sparkctl.config import trust
from sparkctl.method.plain import say

app = typer.Typer(
    name="sparkctl",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Offline, step-wise reinforcement learning that teaches language models to use many tools (SPaRK). "
    "The stages synth, judge, select, train, eval each read and write Parquet; each brings what it needs up to date.",
)


def _say_version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        say(f"sparkctl {metadata.version('sparkctl')}")
        raise typer.Exit


@app.callback()
def _app(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_say_version)
    ] = False,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that comes with a model's folder. Read it first.")
    ] = False,
) -> None:
    trust.say(trust_remote_code)


Profile = Annotated[str, typer.Option("--profile", help="nano (embedded, no key, no GPU) or paper.")]
Run = Annotated[str, typer.Option("--run", help="Name of the run: its tables are linked under DATA/RUN.")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="Override, such as train.kl=0.1. Repeatable.")]
Data = Annotated[Path, typer.Option("--data", help="Folder of the store, the memory and the runs.")]
Recipes = Annotated[Path | None, typer.Option("--recipes", help="Folder of the recipes; default: stages/.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Step = Annotated[int | None, typer.Option("--step", min=1, help="Only this step of the rollouts; default: all.")]
Reads = Annotated[list[str] | None, typer.Option("--read", help="INPUT=FILE: work on this file. Repeatable.")]
Writes = Annotated[
    list[str] | None, typer.Option("--write", help="FILE, or OUTPUT=FILE: write here, not to the store.")
]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Ask again what failed, and for nothing else.")]
Policy = Annotated[str | None, typer.Option("--policy", help="Only this policy of the recipe.")]
Policies = Annotated[
    list[str] | None,
    typer.Option("--policy", help="Only this policy of the recipe, or an adapter's folder. Repeatable."),
]
Categories = Annotated[str | None, typer.Option("--categories", help="all, or names separated by commas.")]
