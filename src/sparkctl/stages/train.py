"""train: a LoRA adapter from the judged steps: supervised fine-tuning, step-wise offline PPO, or the exact expectation.

reads   questions; candidates, scores and steps of all rounds; reference (log-probs under the frozen start)
writes  adapter (a peft folder), updates (one row per optimiser update), credit (one row per action)
asks    nothing: no generation, no judge

As in the paper: offline PPO with clipped ratio and KL on synthetic steps, LoRA; with `critic = "value"` a second LoRA
with a value head (SPaRK, extended abstract and released model). The old policy is the frozen start for all epochs.
"""

from collections.abc import Sequence

from sparkctl.method import rollouts, tables
from sparkctl.method.ports import Inputs
from sparkctl.stages.stage import Context, Outputs, Stage
from sparkctl.training import tokens
from sparkctl.training.adapters import write_questions
from sparkctl.training.credit import Entry, check_signal, credit_table, credited, inert, parts_of_step
from sparkctl.training.settings import Train
from sparkctl.training.trees import Action, Fork, Tree, distinguishing


def run(inputs: Inputs, settings: Train, context: Context) -> Outputs:
    """See the module's docstring."""
    assert context.learner is not None
    assert context.scratch is not None
    learner = context.learner()
    reader = tokens.Reader.of(learner, settings)
    entries = credited(inputs, settings, reader)
    check_signal(entries, settings)
    for line in inert(entries, settings):
        context.warn(line)
    folder = context.scratch / "adapter"
    rows = learner.fit(trees(entries, settings, reader), folder)
    write_questions(folder, [rollouts.content(q) for q in inputs["questions"].to_pylist()])
    return {"adapter": folder, "updates": tables.from_rows("updates", rows), "credit": credit_table(entries)}


def trees(entries: Sequence[Entry], settings: Train, reader: tokens.Reader) -> list[Tree]:
    """The trained actions, as one tree per rollout."""
    names = distinguishing(reader.names())
    forks: dict[str, dict[int, list[Entry]]] = {}
    for entry in entries:
        if entry.trained and not entry.dropped_because:
            rollout, step = entry.state
            forks.setdefault(rollout, {}).setdefault(step, []).append(entry)
    return [
        Tree(rollout, tuple(_fork(step, of, settings) for step, of in sorted(steps.items())), names)
        for rollout, steps in forks.items()
    ]


def _fork(step: int, entries: Sequence[Entry], settings: Train) -> Fork:
    first = entries[0]
    if settings.critic == "value":
        # The critic's estimate is added to what has a baseline of its own.
        own, reward = parts_of_step(first, settings)
        return Fork(first.prompt_ids, (Action(first.ids, first.start, own, first.reward),), step, reward)
    actions = tuple(Action(e.ids, e.start, e.advantage, e.reward) for e in entries)
    return Fork(first.prompt_ids, actions, step)


STAGE = Stage(
    "train",
    4,
    Train,
    run,
    "train a LoRA adapter on the judged steps",
    ("questions", "candidates", "scores", "steps", "reference"),
    (),
    ("adapter", "updates", "credit"),
)
