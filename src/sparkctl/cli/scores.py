"""The commands that compare: score, compare."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from sparkctl.cli.app import Data, Json, Profile, Run, app
from sparkctl.cli.printing import print_made, workbench


@app.command("score")
def score_command(
    file: Annotated[Path, typer.Argument(help="Parquet: question_id, model_output, options, answer; maybe category.")],
    mode: Annotated[
        Literal["official", "strict"],
        typer.Option("--mode", help="strict: what the output committed to. official: MMLU-Pro's rules and guess."),
    ] = "strict",
    write: Annotated[Path | None, typer.Option("--write", help="Parquet file for one row per output.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the guess in official mode.")] = 0,
    as_json: Json = False,
) -> None:
    """Score the outputs of any model on MMLU-Pro, and say how many could not be read."""
    from sparkctl.pipeline.results import score

    card = score(file, mode, seed, write)
    if as_json:
        print_made({"mode": mode} | card.as_json(), True)
        return
    from sparkctl.report import terminal

    terminal.scores(terminal.Screen(), card, mode)


@app.command("compare")
def compare_command(
    a: Annotated[str, typer.Argument(help="A Parquet file of answers, or a policy of the run.")],
    b: Annotated[str, typer.Argument(help="The other one, on the same questions.")],
    profile: Profile = "nano",
    run: Run = "default",
    data: Data = Path("data"),
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the bootstrap.")] = 0,
    resamples: Annotated[int, typer.Option("--resamples", min=100, help="Of the bootstrap of entropy.")] = 2_000,
    as_json: Json = False,
) -> None:
    """Say whether two policies differ in accuracy or choice of tools, question by question."""
    from sparkctl.pipeline.results import compare

    found = compare(workbench(profile, run, None, data, None), a, b, resamples, seed)
    if as_json:
        print_made(found.as_json(), True)
        return
    from sparkctl.report import terminal

    terminal.comparison(terminal.Screen(), found)
