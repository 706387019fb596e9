"""The commands about a whole run: run, plan, report, doctor, gc."""

import contextlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from sparkctl.cli.app import Data, Json, Profile, Recipes, Run, Sets, app
from sparkctl.cli.printing import print_made, report, spoken, workbench
from sparkctl.method.plain import say


@app.command("run")
def run_command(
    profile: Profile = "nano",
    run: Run = "default",
    sets: Sets = None,
    data: Data = Path("data"),
    recipes: Recipes = None,
    as_json: Json = False,
) -> None:
    """Run everything: five rounds of synth, judge, select, then train, then eval; and write the report."""
    bench = workbench(profile, run, sets, data, recipes)
    report(bench, bench.everything(), as_json, with_page=True)


@app.command("report")
def report_command(
    runs: Annotated[list[str] | None, typer.Argument(help="Names of runs; default: default.")] = None,
    data: Data = Path("data"),
    out: Annotated[Path | None, typer.Option("--out", help="HTML file; default: DATA/RUN/report.html.")] = None,
    as_json: Json = False,
) -> None:
    """Write what runs have shown as one HTML file, with its tables as Parquet and Markdown beside it."""
    from sparkctl.report import write

    path, found = write.report(data, runs or ["default"], out)
    if as_json:
        print_made({"report": str(path), "runs": {of.run.name: of.as_json() for of in found}}, True)
        return
    from sparkctl.report import terminal

    console = terminal.Screen()
    for of in found:
        terminal.verdicts(console, of.run)
    console.print(f"Report: {path}", soft_wrap=True)


@app.command("plan")
def plan_command(
    profile: Profile = "nano",
    run: Run = "default",
    sets: Sets = None,
    data: Data = Path("data"),
    recipes: Recipes = None,
    as_json: Json = False,
) -> None:
    """Say what `run` would do, and why."""
    fates = workbench(profile, run, sets, data, recipes).plan()
    if as_json:
        print_made([{"node": f.node.name, "runs": f.runs, "why": f.why} for f in fates], True)
        return
    for fate in fates:
        say(f"{'run  ' if fate.runs else 'reuse'}  {spoken(fate.node.name)}: {fate.why}")


@app.command("doctor")
def doctor_command(
    profile: Profile = "nano",
    sets: Sets = None,
    data: Data = Path("data"),
    recipes: Recipes = None,
    ask: Annotated[bool, typer.Option("--ask", help="Send the judge one token; ask the policy's server.")] = False,
    as_json: Json = False,
) -> None:
    """Say what of a recipe works on this machine, and what to do where something does not. Exit code 1 if so."""
    from sparkctl.config import recipe
    from sparkctl.pipeline.doctor import examine
    from sparkctl.report import terminal

    found = list(examine(recipe.load(recipes or recipe.default_folder(), profile, tuple(sets or ())), data, ask=ask))
    if as_json:
        print_made([vars(finding) for finding in found], as_json)
    else:
        terminal.findings(terminal.Screen(), [(f.what, f.works, f.says, f.do) for f in found])
    raise typer.Exit(int(any(finding.works is False for finding in found)))


@app.command("gc")
def gc_command(
    data: Data = Path("data"), yes: Annotated[bool, typer.Option("--yes", help="Delete; without it only list.")] = False
) -> None:
    """List, or delete, files of the store that no run links to."""
    from sparkctl.storage import lock
    from sparkctl.storage.store import Store

    store = Store(data, "default")
    alone = lock.held(data, lambda line: say(line, sys.stderr))
    with alone if yes and data.exists() else contextlib.nullcontext():  # what is being made has no link yet
        garbage = store.garbage()
        for path in garbage:
            say(str(path))
            if yes:
                store.discard(path)
    say(f"{len(garbage)} files no run links to{', deleted' if yes else '; --yes deletes them'}", sys.stderr)
