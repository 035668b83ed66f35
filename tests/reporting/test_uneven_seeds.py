"""A report on runs of which some are missing: it says so, and ranks nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from samples import CONTROL, make_results

from cl_forget.comparison.records import Result
from cl_forget.reporting import specify, specify_folders
from cl_forget.reporting.tables import table_markdown


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two methods with two seeds each, and the index of them."""
    results = make_results([CONTROL, "LDIFS"], seeds=(0, 1))
    for result in results:
        folder = tmp_path / folder_of(result)
        folder.mkdir()
        (folder / "result.json").write_text(result.model_dump_json())
    names = [folder_of(result) for result in results]
    (tmp_path / "experiment.json").write_text(json.dumps({"schema_version": 1, "runs": names}))
    return tmp_path


def folder_of(result: Result) -> str:
    return f"{result.method.lower().replace(' ', '-')}-seed{result.seed}"


def test_a_run_that_is_missing_is_named_and_nothing_is_best(runs: Path) -> None:
    whole = specify_folders(runs).item("results")
    assert any(cell.best for row in whole.rows.values() for cell in row.values())
    (runs / "ldifs-seed1" / "result.json").unlink()
    (runs / "ldifs-seed1").rmdir()
    page = specify_folders(runs)
    table = page.item("results")
    text = table_markdown(table, labelled=True)
    assert "ldifs-seed1 belongs to the same experiment and cannot be found" in text
    assert "LDIFS seed 0" in text and f"{CONTROL} seeds 0 and 1" in text
    assert "**" not in text and "Bold" not in text and "*|" not in text.replace(" ", "")
    assert not any(source.on_front for source in table.sources.values())
    said = " ".join(page.findings)
    assert "Not all methods have the same seeds" in said and "cannot be found" in said
    assert "keeps the most" not in said and "Every other method" not in said


def test_a_run_that_was_renamed_is_not_called_old(runs: Path) -> None:
    (runs / "ldifs-seed1").rename(runs / "mine")
    said = " ".join(specify_folders(runs).findings)
    assert (
        "mine is not of the experiment that was last run into the same folder" in said and "renamed" in said
    )
    assert "ldifs-seed1 belongs to the same experiment and cannot be found" in said


def test_runs_of_the_same_seeds_are_ranked() -> None:
    page = specify(make_results([CONTROL, "LDIFS"], seeds=(0, 1)))
    assert "Not all methods" not in " ".join([*page.findings, *page.item("results").notes])
    assert any(source.on_front for source in page.item("results").sources.values())
