"""What must hold of names that become names of files: none leads to another folder, hides a file or is too long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.tables_and_fakes import ROOT
from sparkctl.config import recipe
from sparkctl.errors import SparkError
from sparkctl.method import names
from sparkctl.pipeline import plan
from sparkctl.storage.store import Store
from sparkctl.training.adapters import labels

HOSTILE = [
    "../x",
    "..",
    ".",
    "",
    "a/b",
    "/tmp/x",
    "a\\b",
    ".hidden",
    "a b",
    "a\nb",
    "a\0b",
    "\x1b[2J",
    "\u202eexe",
    "~",
    "x" * 161,
]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("key", ["--run", "train.variant"])
def test_a_name_that_is_no_files_name_is_refused_by_one_rule(tmp_path, name, key):
    values = recipe.load(ROOT / "stages")
    values["train"]["variant"][name] = {}
    values["eval"]["policies"] = [name]
    with pytest.raises(SparkError, match=rf"(?s)^{key}: '.*' cannot be the name of a file; use letters, digits"):
        Store(tmp_path, name) if key == "--run" else plan.nodes(values)


@pytest.mark.parametrize("name", ["spark", "sft_best", "a-1", "größe", "9", "x" * 160])
def test_a_plain_name_is_taken(name):
    assert names.checked(name, "k") == name


@given(st.text(max_size=200))
def test_what_is_taken_is_one_part_of_a_path(name):
    try:
        names.checked(name, "k")
    except SparkError:
        return
    store = Store.__new__(Store)
    store.files = ROOT
    place = store.place(f"adapter.{name}", "0" * 64)
    assert place.parent == ROOT
    assert len(f"{place.name}.parquet.12345678.part".encode()) <= 255


@given(
    st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=250).filter(lambda t: t not in (".", ".."))
)
def test_the_label_of_a_folder_is_always_such_a_name(name):
    folder = ROOT / name
    assert names.checked(labels([folder], [])[folder], "k")


def test_policies_that_are_no_names_are_refused():
    values = recipe.load(ROOT / "stages", overrides=('eval.policies=["base", 7]',))
    with pytest.raises(SparkError, match=r"^eval\.policies: must be a list of names"):
        plan.nodes(values)
