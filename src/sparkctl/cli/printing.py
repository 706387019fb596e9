"""What the commands share: open a run, print what came of it, for a person or as JSON."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparkctl.method import masking
from sparkctl.method.plain import say

if TYPE_CHECKING:
    from sparkctl.pipeline.experiment import Workbench


def workbench(profile: str, run: str, sets: list[str] | None, data: Path, recipes: Path | None) -> "Workbench":
    from sparkctl.pipeline.experiment import Workbench

    return Workbench.open(profile, run, tuple(sets or ()), data, recipes)


def part_of(step: int | None, policy: str | None = None) -> str | None:
    return policy if step is None else str(step)


def show_found(what: str, found: Any, as_json: bool) -> None:
    """Print JSON for programs, else with the function of that name in report/terminal.py."""
    if as_json:
        print_made(found, True)
        return
    from sparkctl.report import terminal

    getattr(terminal, what)(terminal.Screen(), found)


def report(bench: "Workbench", fates: list[Any], as_json: bool, *, with_page: bool = False) -> None:
    """The tables a person wants to read after a run, or the same for a program; `with_page`: and the report as a file."""
    from sparkctl.pipeline.results import result_of

    result = result_of(bench, fates)
    if as_json:
        print_made(result.as_json() | ({"report": str(bench.report())} if with_page else {}), True)
        return
    from sparkctl.report import terminal

    console = terminal.Screen()
    terminal.categories(console, result.policies)
    terminal.tool_mix(console, result.policies)
    terminal.stages(console, result.seconds, result.reused_by_stage)
    terminal.headline(console, result.policies)
    if bench.profile == "nano":
        console.print(terminal.NANO_SAYS)
    console.print(f"Files: {result.folder}")
    if with_page:  # last, so that the figures are there already should the page fail
        console.print(f"Report: {bench.report()}", soft_wrap=True)


def print_made(value: Any, as_json: bool) -> None:
    if as_json:
        told = json.loads(json.dumps(value, default=_as_json))
        print(json.dumps(masking.cleaned(told), indent=1))
        return
    for fate in value:
        done = f"made in {fate.seconds:.1f} s ({fate.why})" if fate.runs else "up to date"
        say(f"{spoken(fate.node.name)}: {done}")


def _as_json(value: Any) -> Any:
    return {"node": value.node.name, "runs": value.runs, "why": value.why, "seconds": value.seconds}


def spoken(name: str) -> str:
    """ "judge.3" as a person says it: "judge step 3"."""
    stage, _, part = name.partition(".")
    return f"{stage} step {part}" if part.isdigit() else f"{stage} {part}".strip()
