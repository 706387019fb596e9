"""The commands of single stages: synth, judge, select, train, eval."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sparkctl.cli.app import (
    Categories,
    Data,
    Json,
    Policies,
    Policy,
    Profile,
    Reads,
    Recipes,
    RetryFailed,
    Run,
    Sets,
    Step,
    Writes,
    app,
)
from sparkctl.cli.printing import part_of, print_made, report, show_found, workbench
from sparkctl.errors import SparkError

if TYPE_CHECKING:
    from sparkctl.pipeline.experiment import Workbench


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
        bench = workbench(profile, run, sets, data, recipes)
        print_made(_done(bench, name, part_of(step), read, write, retry_failed), as_json)

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
    from sparkctl.pipeline.previews import judge_estimates, judge_reliability

    if estimate + (reliability is not None) + retry_failed > 1:
        raise SparkError("judge: --estimate, --reliability and --retry-failed are three commands; give one")
    if (write and estimate) or ((read or write) and (reliability is not None or retry_failed)):
        raise SparkError("judge: --reliability and --retry-failed are about the run; --estimate writes nothing")
    bench, part = workbench(profile, run, sets, data, recipes), part_of(step)
    if estimate:
        show_found("estimates", judge_estimates(bench, part, read or []), as_json)
    elif reliability is not None:
        found = judge_reliability(bench, part, reliability)
        show_found("agreement", found.as_json() if as_json else found, as_json)
    else:
        print_made(_done(bench, "judge", part, read, write, retry_failed), as_json)


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
    from sparkctl.pipeline.previews import audits, footprints

    bench = workbench(profile, run, sets, data, recipes)
    if not (audited or dry_run):
        print_made(_done(bench, "train", policy, read, write), as_json)
        return
    if read or write or (audited and dry_run):
        raise SparkError(
            "train: --audit and --dry-run look at the run as it is; leave out --read, --write and the other"
        )
    found = audits(bench, policy) if audited else footprints(bench, policy)
    if as_json:
        print_made(found, True)
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
    bench = workbench(profile, run, (sets or []) + chosen, data, recipes)
    made = _done(bench, "eval", None, read, write, retry_failed)
    if read or write:
        print_made(made, as_json)
    else:
        report(bench, made, as_json)
