"""What a person reads in 80 columns."""

import io

from rich.console import Console

from reported import sampled
from sparkctl.report import terminal
from sparkctl.report.summary import summarise


def shown(what, *found):
    text = io.StringIO()
    what(Console(file=text, width=80), *found)
    return text.getvalue()


def cells(text, first):
    """What a table's row that begins with this word says."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"│ {first}")]
    return [cell.strip() for cell in line.strip("│").split("│")]


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
