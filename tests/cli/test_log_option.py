"""`--log` of every command that takes long, and what is said before any work."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cl_forget import cli
from cl_forget.cli.app import app
from cl_forget.ground.progress import LOG
from cl_forget.tracking.login import project

LONG = (["run"], ["sweep", "run"], ["claims"], ["audit"], ["repair"], ["landscape"], ["pretrain"])


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LOG, "text")


@pytest.mark.parametrize("verb", LONG, ids=" ".join)
def test_every_verb_that_takes_long_can_log_for_programs(verb: list[str]) -> None:
    said = CliRunner().invoke(app, [*verb, "--help"], env={"COLUMNS": "160"}).output
    assert "--log" in said and "json" in said


def test_a_mistake_is_a_line_of_the_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], workspace: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["cl-forget", "run", "nowhere.yaml", "--log", "json"])
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    (line,) = capsys.readouterr().err.splitlines()
    found = json.loads(line)
    assert (found["level"], found["event"]) == ("error", "error") and "nowhere.yaml" in found["message"]


def test_a_run_says_each_row_with_its_place(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    Path("mine.yaml").write_text(
        "model: tiny-clip\nstream: squares\nsuites: [colours]\nmethods: {FT: [], L2-SP: [l2_sp]}\n"
        "train: {epochs: 1, batch_size: 8, lr: 1.0e-3}\nevaluate: {curves: false}\n"
    )
    monkeypatch.setattr(sys, "argv", ["cl-forget", "run", "mine.yaml", "--output", "out"])
    with caplog.at_level(logging.INFO, "cl_forget"), pytest.raises(SystemExit, match="0"):
        cli.main()
    lines = [record.fields for record in caplog.records if hasattr(record, "fields")]
    assert lines[0]["event"] == "start", "it speaks before it loads anything"
    rows = [line for line in lines if line["event"] == "row"]
    assert [(row["arm"], row["row"], row["rows"]) for row in rows] == [
        (arm, number, 3) for arm in ("FT", "L2-SP") for number in range(4)
    ]
    last = rows[-1]
    assert (last["seed"], last["run"], last["runs"], last["step"]) == (0, 2, 2, last["steps"])
    assert last["loss"] > 0 and last["seconds_left"] >= 0 and last["task"] and 0 <= last["tasks"] <= 1
    assert all("loss" not in row for row in rows if row["row"] == 0)


@pytest.mark.parametrize(
    ("where", "words"), [("nonsense", "write entity/project"), ("me/mine", "nobody is logged in")]
)
def test_who_is_not_logged_in_learns_it_before_a_report_is_drawn(
    where: str,
    words: str,
    workspace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import cl_forget.reporting as reporting

    def read(*_: object) -> None:
        raise AssertionError("the report is made before anybody knows whether it can be published")

    monkeypatch.setattr(reporting, "specify_folders", read)
    monkeypatch.setattr(sys, "argv", ["cl-forget", "report", ".", "--wandb", where])
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    assert words in capsys.readouterr().err


def test_a_project_needs_a_login() -> None:
    from cl_forget.ground.errors import UserError

    with pytest.raises(UserError, match="nobody is logged in"):
        project("me/mine")
