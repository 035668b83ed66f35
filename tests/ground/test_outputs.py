"""No command writes over what another one has left, unless asked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cl_forget.ground.errors import UserError
from cl_forget.ground.outputs import (
    GENERATOR,
    make_way,
    mode,
    refuse_report_over_others,
    refuse_taken,
    refuse_unwritable,
    set_aside,
)


@pytest.mark.parametrize(
    "name",
    [
        "result.json",
        "state.json",
        "ldifs-seed0/result.json",
        "ldifs-seed0/state.json",
        "table.csv",
        "report.html",
    ],
)
def test_an_experiment_starts_in_a_folder_without_results(tmp_path: Path, name: str) -> None:
    refuse_taken(tmp_path / "new", "new")
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "ldifs-seed0" / "checkpoints").mkdir(parents=True)
    refuse_taken(tmp_path, "new")
    (tmp_path / name).write_text("{}")
    with pytest.raises(UserError, match=r"holds .* already: .*--resume.*--overwrite.*--output"):
        refuse_taken(tmp_path, "new")
    refuse_taken(tmp_path, mode(resume=True, overwrite=False))
    refuse_taken(tmp_path, mode(resume=False, overwrite=True))


@pytest.mark.parametrize(
    ("name", "what"), [("sweep.yaml", "a sweep"), ("audit.json", "an audit"), ("repair.json", "a repair")]
)
def test_results_of_another_kind_are_never_mixed_with_runs(tmp_path: Path, name: str, what: str) -> None:
    (tmp_path / name).write_text("{}")
    with pytest.raises(UserError, match=f"holds {what}: choose another --output"):
        refuse_taken(tmp_path, "resume or overwrite")


def test_files_of_an_earlier_command_stay(tmp_path: Path) -> None:
    make_way(tmp_path / "new", ["audit.json"], overwrite=False)
    (tmp_path / "log.jsonl").write_text("old")
    (tmp_path / ".audit.json.4194303.tmp").write_text("half")
    with pytest.raises(UserError, match=r"holds log\.jsonl already: .*--output.*--overwrite"):
        make_way(tmp_path, ["audit.json", "log.jsonl"], overwrite=False)
    make_way(tmp_path, ["audit.json", "log.jsonl"], overwrite=True)
    (tmp_path / "page.html").mkdir()
    with pytest.raises(
        UserError, match=r"page\.html is a folder, and would be a file: choose another --output"
    ):
        make_way(tmp_path, ["page.html"], overwrite=True)
    (tmp_path / "page.html").rmdir()
    assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]
    make_way(tmp_path, ["audit.json", "log.jsonl"], overwrite=True, delete=True)
    assert list(tmp_path.iterdir()) == []


def test_a_report_replaces_reports_only(tmp_path: Path) -> None:
    refuse_report_over_others(tmp_path, overwrite=False)
    (tmp_path / "table.csv").write_text("my own")
    with pytest.raises(UserError, match=r"holds table\.csv already"):
        refuse_report_over_others(tmp_path, overwrite=False)
    refuse_report_over_others(tmp_path, overwrite=True)
    (tmp_path / "report.html").write_text(GENERATOR.decode())
    refuse_report_over_others(tmp_path, overwrite=False)
    (tmp_path / "audit.json").write_text("{}")
    with pytest.raises(UserError, match="holds an audit"):
        refuse_report_over_others(tmp_path, overwrite=False)


def test_what_is_set_aside_comes_back_unless_replaced(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "weights").write_text("old")
    with pytest.raises(RuntimeError), set_aside(model, wanted=True):
        assert not model.exists()
        raise RuntimeError
    assert (model / "weights").read_text() == "old"
    with set_aside(model, wanted=True):
        model.mkdir()
    assert list(model.iterdir()) == [] and list(tmp_path.iterdir()) == [model]
    (tmp_path / ".model.before").mkdir()  # of a command that was killed
    model.rmdir()
    with set_aside(model, wanted=False):
        assert model.exists()


def test_what_cannot_be_written_to_is_refused_before_there_is_anything_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("mine")
    refuse_unwritable(tmp_path, tmp_path / "new", tmp_path / "new" / "deeper")
    assert not (tmp_path / "new").exists(), "nothing is made"
    for place in ("file", "file/below"):
        with pytest.raises(UserError, match=r"cannot write to .*file.*: Not a directory.*--output"):
            refuse_unwritable(tmp_path / place)
    monkeypatch.setattr(os, "access", lambda place, mode: Path(place) != tmp_path)  # root may write anywhere
    for refused in (
        lambda: make_way(tmp_path / "audit", ["audit.json"], overwrite=False),
        lambda: refuse_taken(tmp_path / "runs", "new"),
        lambda: refuse_report_over_others(tmp_path, overwrite=False),
    ):
        with pytest.raises(
            UserError, match=r"cannot write to .*: Permission denied.*choose another --output"
        ):
            refused()
