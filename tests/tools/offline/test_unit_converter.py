"""Run: pytest tests/tools/offline/test_unit_converter.py. Expected values are definitions: an inch is 2.54 cm."""

import pytest

from sparkctl.tools.offline.unit_converter import unit_converter


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("12 km to m", "12000 m"),
        ("12 km in m", "12000 m"),
        ("12km -> m", "12000 m"),
        ("convert 3 hours to minutes", "180 minutes"),
        ("Convert 3 hours into minutes.", "180 minutes"),
        ("5 in to cm", "12.7 cm"),
        ("5 ft in in", "60 in"),
        ("1/2 mile to km", "0.804672 km"),
        ("1,000 lbs to kg", "453.59237 kg"),
        ("1e3 m to km", "1 km"),
        ("-40 F to C", "-40 C"),
        ("25 C to F", "77 F"),
        ("0 K to C", "-273.15 C"),
        ("100 degrees celsius to kelvin", "373.15 kelvin"),
        ("20 °C to °F", "68 °F"),
        ("100 degrees C to F", "212 F"),
        ("3 m2 to cm^2", "30000 cm^2"),
        ("60 miles per hour to m/s", "26.8224 m/s"),
        ("180 degrees to radians", "3.141592654 radians"),
        ("5 Km to Meters", "5000 Meters"),
        ("1 eV to J", "1.602176634e-19 J"),
        ("how many inches in 2 feet?", "24 inches"),
        ("how many seconds are there in an hour", "3600 seconds"),
    ],
)
def test_conversions(query: str, text: str) -> None:
    assert unit_converter(query).text == text


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("100 USD to EUR", "'USD': unknown unit"),
        ("5 kg to m", "different things"),
        ("12", "write NUMBER UNIT to UNIT"),
        ("", "write NUMBER UNIT to UNIT"),
        ("9**9**9 m to m", "not a unit"),
        ("5 m to 9**9**9", "not a unit"),
        ("5 m^999999999 to m", "not a unit"),
        ("5 __import__('os') to m", "not a unit"),
        ("1/0 m to km", "division by zero"),
        ("9" * 10**5 + " m to km", "too long"),
    ],
)
def test_refusals_say_why(query: str, reason: str) -> None:
    observation = unit_converter(query)
    assert not observation.ok
    assert observation.text.startswith("error: ")
    assert reason in observation.text
