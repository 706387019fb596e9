"""The planted faults can be planted: each text that one replaces occurs once in its file, and the tests that it names exist."""

import ast
import importlib.util
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
SOURCE = TESTS.parent / "src" / "sparkctl"


def planted():
    spec = importlib.util.spec_from_file_location("mutants", TESTS / "mutants.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.MUTANTS


@pytest.mark.parametrize("mutant", planted(), ids=lambda mutant: mutant.what)
def test_a_planted_fault_has_one_place_and_a_test(mutant):
    text = (SOURCE / mutant.file).read_text()
    assert text.count(mutant.old) == 1
    if mutant.file.endswith(".py"):
        ast.parse(text.replace(mutant.old, mutant.new))  # else it would be "caught" by a syntax error
    assert all((TESTS / name).is_file() for name in mutant.tests.split())


def test_no_two_planted_faults_have_one_name():
    names = [mutant.what for mutant in planted()]
    assert len(names) == len(set(names))
