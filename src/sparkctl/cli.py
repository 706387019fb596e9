"""The command line: parse, call, print. Nothing heavy is imported before a command runs.

Exit code 0: done. 1: doctor found something that does not work. 2: what was asked for cannot be done; one line on
standard error says what, where, and what to do; where several things are missing each has its line.
"""

import contextlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sparkctl import masking, trust
from sparkctl.errors import SparkError
from sparkctl.plain import plain, say

if TYPE_CHECKING:
    from sparkctl.workbench import Workbench

_INTERRUPTED = 130
"""What typer gives back, instead of raising, where Ctrl-C was pressed."""

_LONGEST_LINE = 2000
"""Characters of an error: some quote what a file holds, which may be of any length."""

_LEAST_WIDTH = 14
"""Characters that a column of `show` needs to be of use."""

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


def _workbench(profile: str, run: str, sets: list[str] | None, data: Path, recipes: Path | None) -> "Workbench":
    from sparkctl.workbench import Workbench

    return Workbench.open(profile, run, tuple(sets or ()), data, recipes)


def _stage_command(name: str, doc: str) -> Callable[..., None]:
    def command(
        profile: Profile = "nano",
        run: Run = "default",
        sets: Sets = None,
        data: Data = Path("data"),
        recipes: Recipes = None,
        step: Step = None,
        read: Reads = None,
        write: Writes = None,
        retry_failed: RetryFailed = False,
        as_json: Json = False,
    ) -> None:
        bench = _workbench(profile, run, sets, data, recipes)
        _print(_done(bench, name, _part(step), read, write, retry_failed), as_json)

    command.__doc__ = doc
    return command


def _done(
    bench: "Workbench",
    stage: str,
    part: str | None,
    read: list[str] | None,
    write: list[str] | None,
    retry_failed: bool = False,
) -> list[Any]:
    """The stage, on explicit files where such are named, or again for what failed."""
    if retry_failed:
        if read or write:
            raise SparkError(f"{stage}: --retry-failed is about the run; leave --read and --write out")
        return bench.stage(stage, part, retry_failed=True)
    return bench.explicit(stage, part, read or [], write or []) if read or write else bench.stage(stage, part)


def _part(step: int | None, policy: str | None = None) -> str | None:
    return policy if step is None else str(step)


for _name, _doc in {
    "synth": "Let the policy write a thought and nine candidates per step.",
    "select": "Take one viable candidate per step, rare tools first, and run its tool.",
}.items():
    app.command(_name)(_stage_command(_name, _doc))


@app.command("judge")
def judge_command(
    profile: Profile = "nano",
    run: Run = "default",
    sets: Sets = None,
    data: Data = Path("data"),
    recipes: Recipes = None,
    step: Step = None,
    read: Reads = None,
    write: Writes = None,
    estimate: Annotated[bool, typer.Option("--estimate", help="Say calls, tokens and cost; nothing is sent.")] = False,
    reliability: Annotated[
        int | None, typer.Option("--reliability", min=1, help="Score N states again, and say how well that agrees.")
    ] = None,
    retry_failed: RetryFailed = False,
    as_json: Json = False,
) -> None:
    """Let the judge score every candidate 0-10."""
    if estimate + (reliability is not None) + retry_failed > 1:
        raise SparkError("judge: --estimate, --reliability and --retry-failed are three commands; give one")
    if (write and estimate) or ((read or write) and (reliability is not None or retry_failed)):
        raise SparkError("judge: --reliability and --retry-failed are about the run; --estimate writes nothing")
    bench, part = _workbench(profile, run, sets, data, recipes), _part(step)
    if estimate:
        _show("estimates", bench.judge_estimates(part, read or []), as_json)
    elif reliability is not None:
        found = bench.judge_reliability(part, reliability)
        _show("agreement", found.as_json() if as_json else found, as_json)
    else:
        _print(_done(bench, "judge", part, read, write, retry_failed), as_json)


def _show(what: str, found: Any, as_json: bool) -> None:
    """Print JSON for programs, else with the function of that name in report/terminal.py."""
    if as_json:
        _print(found, True)
        return
    from sparkctl.report import terminal

    getattr(terminal, what)(terminal.Screen(), found)


@app.command("train")
def train_command(
    profile: Profile = "nano",
    run: Run = "default",
    sets: Sets = None,
    data: Data = Path("data"),
    recipes: Recipes = None,
    policy: Policy = None,
    read: Reads = None,
    write: Writes = None,
    audited: Annotated[bool, typer.Option("--audit", help="Say what would teach what, without training.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what training would take, and make nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Train the adapters on the judged steps: SFT controls, offline PPO, the exact expectation."""
    bench = _workbench(profile, run, sets, data, recipes)
    if not (audited or dry_run):
        _print(_done(bench, "train", policy, read, write), as_json)
        return
    if read or write or (audited and dry_run):
        raise SparkError(
            "train: --audit and --dry-run look at the run as it is; leave out --read, --write and the other"
        )
    found = bench.audits(policy) if audited else bench.footprints(policy)
    if as_json:
        _print(found, True)
        return
    from sparkctl.report import terminal

    (terminal.audits if audited else terminal.footprints)(terminal.Screen(), found)


@app.command("eval")
def eval_command(
    profile: Profile = "nano",
    run: Run = "default",
    sets: Sets = None,
    data: Data = Path("data"),
    recipes: Recipes = None,
    categories: Categories = None,
    policy: Policies = None,
    read: Reads = None,
    write: Writes = None,
    retry_failed: RetryFailed = False,
    as_json: Json = False,
) -> None:
    """Let the policies answer unseen questions, and compare them."""
    chosen = [] if categories is None else [f'eval.categories="{categories}"']
    chosen += [f"eval.policies={json.dumps(policy, ensure_ascii=False)}"] if policy else []
    if (read or write) and len(policy or []) > 1:
        raise SparkError("eval: --read and --write are for one policy; give --policy once")
    bench = _workbench(profile, run, (sets or []) + chosen, data, recipes)
    made = _done(bench, "eval", None, read, write, retry_failed)
    if read or write:
        _print(made, as_json)
    else:
        _report(bench, made, as_json)


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
    bench = _workbench(profile, run, sets, data, recipes)
    _report(bench, bench.everything(), as_json, with_page=True)


@app.command("report")
def report_command(
    runs: Annotated[list[str] | None, typer.Argument(help="Names of runs; default: default.")] = None,
    data: Data = Path("data"),
    out: Annotated[Path | None, typer.Option("--out", help="HTML file; default: DATA/RUN/report.html.")] = None,
    as_json: Json = False,
) -> None:
    """Write what runs have shown as one HTML file, with its tables as Parquet and Markdown beside it."""
    from sparkctl import reporting

    path, found = reporting.report(data, runs or ["default"], out)
    if as_json:
        _print({"report": str(path), "runs": {of.run.name: of.as_json() for of in found}}, True)
        return
    from sparkctl.report import terminal

    console = terminal.Screen()
    for of in found:
        terminal.verdicts(console, of.run)
    console.print(f"Report: {path}", soft_wrap=True)


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
    from sparkctl.workbench import score

    card = score(file, mode, seed, write)
    if as_json:
        _print({"mode": mode} | card.as_json(), True)
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
    found = _workbench(profile, run, None, data, None).compare(a, b, resamples, seed)
    if as_json:
        _print(found.as_json(), True)
        return
    from sparkctl.report import terminal

    terminal.comparison(terminal.Screen(), found)


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
    fates = _workbench(profile, run, sets, data, recipes).plan()
    if as_json:
        _print([{"node": f.node.name, "runs": f.runs, "why": f.why} for f in fates], True)
        return
    for fate in fates:
        say(f"{'run  ' if fate.runs else 'reuse'}  {_spoken(fate.node.name)}: {fate.why}")


@app.command("show")
def show_command(
    table: Annotated[str, typer.Argument(help="Name of the table, such as scores; `sparkctl schema` lists them.")],
    profile: Profile = "nano",
    run: Run = "default",
    data: Data = Path("data"),
    step: Step = None,
    policy: Policy = None,
    rows: Annotated[int, typer.Option("--rows", min=1, help="How many rows.")] = 20,
    as_json: Json = False,
) -> None:
    """Show the rows of a table of the run."""
    found = _workbench(profile, run, None, data, None).table(table, _part(step, policy)).slice(0, rows)
    if as_json:
        _print(found.to_pylist(), True)
        return
    from rich.table import Table

    from sparkctl.report.terminal import Screen

    console = Screen()
    if found.num_columns * _LEAST_WIDTH > console.width:  # too narrow for a line each: a table each
        for row in found.to_pylist():
            shown = Table(show_header=False)
            for name, value in row.items():
                shown.add_row(name, _cell(value))
            console.print(shown)
        return
    shown = Table()
    for name in found.column_names:
        shown.add_column(name, overflow="ellipsis", no_wrap=True)
    for row in found.to_pylist():
        shown.add_row(*(_cell(value) for value in row.values()))
    console.print(shown)


@app.command("path")
def path_command(
    table: Annotated[str, typer.Argument(help="Name of the table.")],
    profile: Profile = "nano",
    run: Run = "default",
    data: Data = Path("data"),
    step: Step = None,
    policy: Policy = None,
) -> None:
    """Print the file of a table of the run, one line for each round or policy."""
    for path in _workbench(profile, run, None, data, None).paths(table, _part(step, policy)):
        say(str(path))


@app.command("schema")
def schema_command(
    table: Annotated[str | None, typer.Argument(help="Only this table.")] = None, as_json: Json = False
) -> None:
    """Print the contract: every table, its columns, types and null rules."""
    from sparkctl.tables import TABLES, named

    chosen = [named(table)] if table else list(TABLES.values())
    if as_json:
        columns = {
            t.name: [{"name": c.name, "type": str(c.type), "null": c.null, "meaning": c.meaning} for c in t.columns]
            for t in chosen
        }
        _print(columns, True)
        return
    for spec in chosen:
        say(f"{spec.name}: made by {spec.made_by}, one row per {spec.row}, key {', '.join(spec.key)}")
        for column in spec.columns:
            null = f"; null: {column.null}" if column.null else ""
            say(f"  {column.name:<20} {column.type!s:<22} {column.meaning}{null}")


_recordings = typer.Typer(
    no_args_is_help=True, help="What tools were asked and what they answered, as one Parquet file."
)
app.add_typer(_recordings, name="recordings")


@_recordings.command("export")
def export_command(
    file: Annotated[Path, typer.Argument(help="Parquet file to write.")],
    tool: Annotated[str | None, typer.Option("--tool", help="Only this tool.")] = None,
    data: Data = Path("data"),
) -> None:
    """Write the recordings of a data folder to a file, to ship it with a data set."""
    from sparkctl.workbench import recordings

    say(f"{recordings(data).write(file, tool)} recordings written to {file}")


@_recordings.command("import")
def import_command(
    file: Annotated[Path, typer.Argument(help="Parquet file of recordings.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Where the file says otherwise than what is there, take the file.")
    ] = False,
    data: Data = Path("data"),
) -> None:
    """Add the recordings of a file, for tools whose back end is replay to answer from."""
    from sparkctl.workbench import recordings

    done = recordings(data).read(file, replace=replace)
    say(f"{done.new} recordings added, {done.replaced} replaced, {done.known} there already")


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
    from sparkctl import recipe
    from sparkctl.doctor import examine
    from sparkctl.report import terminal

    found = list(examine(recipe.load(recipes or recipe.default_folder(), profile, tuple(sets or ())), data, ask=ask))
    if as_json:
        _print([vars(finding) for finding in found], as_json)
    else:
        terminal.findings(terminal.Screen(), [(f.what, f.works, f.says, f.do) for f in found])
    raise typer.Exit(int(any(finding.works is False for finding in found)))


@app.command("gc")
def gc_command(
    data: Data = Path("data"), yes: Annotated[bool, typer.Option("--yes", help="Delete; without it only list.")] = False
) -> None:
    """List, or delete, files of the store that no run links to."""
    from sparkctl import lock
    from sparkctl.store import Store

    store = Store(data, "default")
    alone = lock.held(data, lambda line: say(line, sys.stderr))
    with alone if yes and data.exists() else contextlib.nullcontext():  # what is being made has no link yet
        garbage = store.garbage()
        for path in garbage:
            say(str(path))
            if yes:
                store.discard(path)
    say(f"{len(garbage)} files no run links to{', deleted' if yes else '; --yes deletes them'}", sys.stderr)


def _report(bench: "Workbench", fates: list[Any], as_json: bool, *, with_page: bool = False) -> None:
    """The tables a person wants to read after a run, or the same for a program; `with_page`: and the report as a file."""
    result = bench.result(fates)
    if as_json:
        _print(result.as_json() | ({"report": str(bench.report())} if with_page else {}), True)
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


def _print(value: Any, as_json: bool) -> None:
    if as_json:
        told = json.loads(json.dumps(value, default=_as_json))
        print(json.dumps(masking.cleaned(told), indent=1))
        return
    for fate in value:
        done = f"made in {fate.seconds:.1f} s ({fate.why})" if fate.runs else "up to date"
        say(f"{_spoken(fate.node.name)}: {done}")


def _as_json(value: Any) -> Any:
    return {"node": value.node.name, "runs": value.runs, "why": value.why, "seconds": value.seconds}


def _spoken(name: str) -> str:
    """ "judge.3" as a person says it: "judge step 3"."""
    stage, _, part = name.partition(".")
    return f"{stage} step {part}" if part.isdigit() else f"{stage} {part}".strip()


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    return plain(" ".join(text.split())[:60])


def main() -> None:
    """Entry point: every fault that a user can mend is one line and exit code 2. At the end, what was masked."""
    try:
        _main()
    finally:
        if line := masking.told():
            say(f"sparkctl: {line}", sys.stderr)


def _main() -> None:
    interrupted = "interrupted; what was finished is kept, and the same command goes on from there"
    # A scheduler's way to say Ctrl-C: what was opened is closed, and no scratch folder stays.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # No command reads from the terminal, and no library may ask there: `yes |` would answer for the user.
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    try:
        code = app(standalone_mode=False)
        if code == _INTERRUPTED:
            _fail(interrupted)
        if code:
            raise SystemExit(code)
    except SparkError as fault:
        _fail(*fault.lines)
    except (KeyboardInterrupt, typer.Abort):
        _fail(interrupted)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as fault:
        _fail(f"{fault.filename or 'a file'}: {fault.strerror or fault}; check disk space and permissions")
    except Exception as fault:
        if hasattr(fault, "exit_code") and hasattr(fault, "format_message"):  # a usage error of click
            said = fault.format_message().rstrip(".")
            if not said:  # the help was asked for, by giving no command, and has been shown
                raise SystemExit(2) from None
            _fail(f"{said}; see sparkctl --help")
        sys.excepthook = _crashed  # here, for typer sets its own
        raise


def _crashed(kind: type[BaseException], fault: BaseException, trace: TracebackType | None) -> None:
    """A traceback, in whose message others' words may stand."""
    say("".join(traceback.format_exception(kind, fault, trace)).rstrip(), sys.stderr)


def _fail(*lines: str) -> None:
    for line in (" ".join(line.split()) for line in lines):
        say(f"sparkctl: {line if len(line) <= _LONGEST_LINE else line[:_LONGEST_LINE] + ' ...'}", sys.stderr)
    sys.stderr.flush()
    raise SystemExit(2)
