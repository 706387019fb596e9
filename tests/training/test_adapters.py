"""What must hold of adapters' folders given in place of a policy's name: found, refused in one line, named apart."""

import os

import pytest

from sparkctl.errors import SparkError
from sparkctl.training.adapters import check_questions, folder_of, labels

POLICIES = ["base", "spark"]


def lay(folder, weights=b"w"):
    """What peft's format needs at least."""
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(weights)
    return folder


def test_a_folder_in_pefts_format_is_found(tmp_path):
    assert folder_of(str(lay(tmp_path / "mine")), POLICIES) == tmp_path / "mine"


def test_what_is_neither_a_policy_nor_a_folder_is_refused_with_the_list():
    with pytest.raises(
        SparkError, match=r"'sprk'; did you mean 'spark'\? There are: base, spark; or give an adapter's"
    ):
        folder_of("sprk", POLICIES)


@pytest.mark.parametrize("missing", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_folder_that_holds_no_adapter_is_refused_with_the_list(tmp_path, missing):
    (lay(tmp_path / "mine") / missing).unlink()
    with pytest.raises(SparkError, match=r"mine' holds no adapter in peft's format .*or one of: base, spark"):
        folder_of(str(tmp_path / "mine"), POLICIES)


def test_a_label_is_the_folders_name_as_a_file_name_and_a_run_can_bear_it(tmp_path):
    odd = lay(tmp_path / "adapter.my run")
    assert labels([odd], POLICIES) == {odd: "adapter-my-run"}


def test_a_link_keeps_the_name_that_the_run_gave_it(tmp_path):
    link = tmp_path / "adapter.spark"
    link.symlink_to(lay(tmp_path / "store" / "adapter.spark-0123456789"))
    assert labels([link], POLICIES) == {link: "adapter-spark"}


def test_labels_that_would_clash_bear_some_of_the_digest(tmp_path):
    one, two = lay(tmp_path / "1" / "adapter", b"1"), lay(tmp_path / "2" / "adapter", b"2")
    spark = lay(tmp_path / "spark")
    found = labels([one, two, spark], POLICIES)
    assert len({*found.values(), *POLICIES}) == 5
    assert all(label.startswith(folder.name + "-") for folder, label in found.items())
    assert found == labels([spark, two, one], POLICIES), "whatever their order"


def test_a_folder_of_an_unknown_user_is_refused_in_one_line():
    with pytest.raises(SparkError, match=r"eval\.policies: '~nosuchuser/a' begins with a user that is unknown"):
        folder_of("~nosuchuser/a", ["base"])


@pytest.mark.parametrize("text", ["{}", '"text"', "null", "[1]", "[[]]", "[" * 100_000, "\udcff"])
def test_odd_lists_of_questions_are_one_line(tmp_path, text):
    (tmp_path / "trained_on.json").write_text(text, errors="surrogateescape")
    with pytest.raises(SparkError, match=r"trained_on\.json: cannot be read"):
        check_questions(tmp_path, ["a"])


def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "trained_on.json")
    with pytest.raises(SparkError, match=r"trained_on\.json: cannot be read"):
        check_questions(tmp_path, ["a"])
