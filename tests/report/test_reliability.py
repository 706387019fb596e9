"""What must hold of the judge's reliability: figures worked out by hand, what was not scored left out."""

import pytest

from sparkctl.report.figures.reliability import reliability

ONE = {("a", 1): {"cot": 1.0, "search": 2.0, "calculator": None}, ("b", 1): {"cot": 3.0, "search": 5.0}}
TWO = {("a", 1): {"cot": 1.0, "search": 2.0, "calculator": 7.0}, ("b", 1): {"cot": 4.0, "search": 5.0}}


def test_two_passes_by_hand():
    """Pairs (1,1) (2,2) (3,4) (5,5). Observed disagreement: 2 x 1 / 8 = 0.25. Expected: the squared differences of all
    ordered pairs of 1 2 3 5 1 2 4 5: 2 (8 x 85 - 23^2) = 302, of 8 x 7 = 56 pairs: 5.393. Alpha = 1 - 0.25 / 5.393."""
    found = reliability(ONE, TWO, threshold=3.5)
    assert found.alpha == pytest.approx(1 - 0.25 / (302 / 56))
    assert (found.states, found.candidates, found.unscored) == (2, 4, 1)
    assert (found.mean_shift, found.mean_change) == (0.25, 0.25)
    assert (found.crossed, found.viable_set_changed) == (0.25, 0.5)


def test_a_shift_down_is_negative_and_its_size_is_not():
    found = reliability(TWO, ONE, threshold=4.5)
    assert (found.mean_shift, found.mean_change) == (-0.25, 0.25)
    assert (found.crossed, found.viable_set_changed) == (0.0, 0.0)


def test_a_score_at_the_threshold_is_viable():
    assert reliability(ONE, TWO, threshold=4.0).crossed == 0.25
    assert reliability(ONE, TWO, threshold=3.0).crossed == 0.0


def test_a_score_at_the_threshold_is_not_above_it():
    """4 against 3 crosses what is above 3 and what is at least 4."""
    assert reliability(ONE, TWO, 3.0, "above").crossed == 0.25
    assert reliability(ONE, TWO, 4.0, "above").crossed == 0.0
    assert reliability(ONE, TWO, 3.0, "above").as_json()["viable"] == "above"


def test_where_all_scores_are_the_same_nothing_can_be_said_of_agreement():
    same = {("a", 1): {"cot": 5.0, "search": 5.0}}
    found = reliability(same, same, 6.0)
    assert (found.alpha, found.mean_shift) == (None, 0.0)


def test_where_nothing_was_scored_twice_nothing_can_be_said():
    found = reliability({("a", 1): {"cot": None}}, {("a", 1): {"cot": 5.0}}, 6.0)
    assert (found.candidates, found.unscored) == (0, 1)
    assert (found.alpha, found.mean_shift, found.mean_change, found.crossed, found.viable_set_changed) == (None,) * 5
