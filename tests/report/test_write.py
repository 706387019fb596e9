"""The report on disk, through the command line: where it is written, when, and what is refused."""

import json

import pyarrow.parquet as pq
import pytest

from helpers.command_line import refused, sparkctl, written
from helpers.finished_runs import evaluated, kept, rollouts, updates, whole
from sparkctl.report import write


def test_the_report_and_its_tables_lie_beside_the_run(tmp_path):
    kept(tmp_path, whole())
    done = sparkctl("report", "--data", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "What this run shows of spark against base: " in " ".join(done.stdout.split())
    assert "Did tool choice grow more diverse? Yes, it rose: +1.00 bits." in " ".join(done.stdout.split())
    assert done.stdout.strip().splitlines()[-1] == f"Report: {tmp_path / 'default' / 'report.html'}"
    tables = tmp_path / "default" / "report"
    assert pq.read_table(tables / "headline.parquet")["policy"].to_pylist() == ["base", "sft_best", "spark"]
    lines = (tables / "headline.md").read_text().splitlines()
    assert lines[0] == "# Policies compared"
    assert sum(line.startswith("| ") for line in lines) == 2 + 3
    assert {p.suffix for p in tables.iterdir()} == {".parquet", ".md"}


def test_the_page_goes_where_it_is_told(tmp_path):
    kept(tmp_path / "data", whole())
    done = sparkctl("report", "--data", tmp_path / "data", "--out", tmp_path / "mine" / "page.html")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mine" / "page" / "headline.md").is_file()
    assert not (tmp_path / "data" / "default" / "report.html").exists()


def test_programs_get_the_figures(tmp_path):
    kept(tmp_path, whole())
    found = json.loads(sparkctl("report", "--json", "--data", tmp_path).stdout)
    assert found["report"] == str(tmp_path / "default" / "report.html")
    run = found["runs"]["default"]
    assert [row["policy"] for row in run["headline"]] == ["base", "sft_best", "spark"]
    assert run["main"] == "spark"
    assert run["verdicts"][0]["answer"] == "Yes, it rose: +1.00 bits"
    assert len(run["training"]) == 10


def test_several_runs_share_a_page(tmp_path):
    kept(tmp_path, whole())
    kept(tmp_path, evaluated(), run="other")
    done = sparkctl("report", "default", "other", "--data", tmp_path)
    assert done.returncode == 0, done.stderr
    page = tmp_path / "default+other" / "report.html"
    html = page.read_text()
    assert [html.count(f'id="{name}.headline"') for name in ("default", "other")] == [1, 1]
    assert (tmp_path / "default+other" / "report" / "other" / "headline.parquet").is_file()


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (rollouts(2), "No policy has been evaluated yet"),
        ({"scores.1": rollouts(2)["scores.1"]}, "Missing: questions (`sparkctl synth` makes them), candidates"),
        ({"updates.spark": updates()}, "This run is not finished"),
    ],
)
def test_a_half_made_run_is_reported_as_far_as_it_goes(tmp_path, made, says):
    kept(tmp_path, made)
    done = sparkctl("report", "--data", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert says in " ".join(done.stdout.split())
    assert says in (tmp_path / "default" / "report.html").read_text()


def test_a_file_that_is_gone_is_missing_and_one_that_is_broken_is_named(tmp_path):
    store = kept(tmp_path, whole())
    store.linked("answers.base").unlink()
    done = sparkctl("report", "--data", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "'base' has not been evaluated" in done.stdout
    broken = store.linked("questions")
    broken.write_bytes(b"PAR1")
    refused(sparkctl("report", "--data", tmp_path), broken.name, "not a readable Parquet file")


def test_what_cannot_be_reported_is_refused(tmp_path):
    data = tmp_path / "data"
    refused(sparkctl("report", "--data", data), "there is no such run; there are: none")
    assert written(data) == []
    kept(data, whole())
    (data / "empty").mkdir()
    before = written(data)
    refused(sparkctl("report", "defualt", "--data", data), "defualt: there is no such run; there are: default")
    refused(sparkctl("report", "empty", "--data", data), "this run has no tables yet; `sparkctl run` makes them")
    refused(sparkctl("report", "default", "empty", "--data", data), "empty: this run has no tables yet")
    refused(sparkctl("report", "../x", "--data", data), "'../x'")
    refused(sparkctl("report", "--data", data, "--out", data), "is a folder; name a new HTML file")
    refused(sparkctl("report", "--data", data, "--out", data / "x.txt"), "must end in .html")
    assert written(data) == before


def test_an_unchanged_run_keeps_its_page_and_a_changed_one_does_not(tmp_path):
    store = kept(tmp_path, evaluated())
    page = write.report_if_changed(store)
    page.write_text(page.read_text() + "<!-- mine -->")
    assert "mine" in write.report_if_changed(store).read_text()
    kept(tmp_path, {"updates.spark": updates()})
    assert "mine" not in write.report_if_changed(store).read_text()
    page.write_text("not a page of ours")
    assert "verdict" in write.report_if_changed(store).read_text()
