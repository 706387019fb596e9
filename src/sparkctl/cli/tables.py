"""The commands about tables: show, path, schema, and the recordings of tools."""

from pathlib import Path
from typing import Annotated, Any

import typer

from sparkctl.cli.app import Data, Json, Policy, Profile, Run, Step, app
from sparkctl.cli.printing import part_of, print_made, workbench
from sparkctl.method.plain import plain, say

_LEAST_WIDTH = 14
"""Characters that a column of `show` needs to be of use."""


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
    found = workbench(profile, run, None, data, None).table(table, part_of(step, policy)).slice(0, rows)
    if as_json:
        print_made(found.to_pylist(), True)
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
    for path in workbench(profile, run, None, data, None).paths(table, part_of(step, policy)):
        say(str(path))


@app.command("schema")
def schema_command(
    table: Annotated[str | None, typer.Argument(help="Only this table.")] = None, as_json: Json = False
) -> None:
    """Print the contract: every table, its columns, types and null rules."""
    from sparkctl.method.tables import TABLES, named

    chosen = [named(table)] if table else list(TABLES.values())
    if as_json:
        columns = {
            t.name: [{"name": c.name, "type": str(c.type), "null": c.null, "meaning": c.meaning} for c in t.columns]
            for t in chosen
        }
        print_made(columns, True)
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
    from sparkctl.pipeline.experiment import recordings

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
    from sparkctl.pipeline.experiment import recordings

    done = recordings(data).read(file, replace=replace)
    say(f"{done.new} recordings added, {done.replaced} replaced, {done.known} there already")


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    return plain(" ".join(text.split())[:60])
