"""What a person reads in 80 columns."""

import io

from rich.console import Console

from helpers.finished_runs import sampled
from sparkctl.method import tables
from sparkctl.report import terminal
from sparkctl.report.figures.comparison import compare
from sparkctl.report.figures.summary import summarise


def shown(what, *found):
    text = io.StringIO()
    what(Console(file=text, width=80), *found)
    return text.getvalue()


def cells(text, first):
    """What a table's row that begins with this word says."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"│ {first}")]
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_lost_answers_are_said_below_the_headline_and_only_then():
    rows = [{**row, **({"is_correct": None, "error": "down"} if row["question_id"] < 3 else {})} for row in answered()]
    whole, lost = (summarise(tables.from_rows("answers", r)) for r in (answered(), rows))
    said = "Ended by a failed call of the policy, neither right nor wrong, in no figure: 2 of 10 of spark."
    assert said in shown(terminal.headline, {"base": whole, "spark": lost}).replace("\n", " ")
    assert "in no figure" not in shown(terminal.headline, {"base": whole})
    assert cells(shown(terminal.headline, {"spark": lost}), "spark")[-1] == "8"
    # Where the policies differ in how many came, the number is that of all that were asked and came under one.
    assert cells(shown(terminal.categories, {"base": whole, "spark": lost}), "math")[1] == "10"


def test_a_comparison_says_how_many_questions_it_leaves_out():
    rows = [{**row, **({"is_correct": None, "error": "down"} if row["question_id"] < 3 else {})} for row in answered()]
    whole, lost = (tables.from_rows("answers", r) for r in (answered(), rows))
    said = "Left out: 2 questions that failed calls left without an answer under a or b."
    assert said in shown(terminal.comparison, compare(whole, lost, ("a", "b"), 100))
    assert "Left out" not in shown(terminal.comparison, compare(whole, whole, ("a", "b"), 100))


def answered():
    return sampled(*[[(q < 9, ["search"])] for q in range(10)]).to_pylist()


def of(policies):
    answers = sampled(*[[(q < 9, ["search"] if q % 2 else ["calculator"])] for q in range(10)])
    return {name: summarise(answers) for name in policies}


def test_categories_have_their_n_their_intervals_and_both_averages():
    text = shown(terminal.categories, of(["base", "spark"]))
    # Wilson's interval of 9 in 10.
    assert cells(text, "math") == ["math", "10", "90 (60-98)", "90 (60-98)"]
    assert cells(text, "micro average") == ["micro average", "10", "90 (60-98)", "90 (60-98)"]
    assert cells(text, "macro average") == ["macro average", "", "90 (60-98)", "90 (60-98)"]


def test_the_tool_mix_has_intervals():
    # Wilson's interval of 5 in 10, and of 0.
    text = shown(terminal.tool_mix, of(["base"]))
    assert cells(text, "search")[1:] == ["50 (24-76)"]
    assert cells(text, "wikipedia")[1:] == ["0 (0-28)"]


def test_four_policies_fit_80_columns():
    summaries = of(["base", "sft_best", "sft_selected", "spark"])
    for what in (terminal.headline, terminal.categories, terminal.tool_mix):
        text = shown(what, summaries)
        assert max(map(len, text.splitlines())) <= 80
        assert "…" not in text
        assert sum(line.startswith("│") for line in text.splitlines()) in (3, 4, 9), "a row takes one line"
