"""Where the work is, as lines: when one is due, what it says, and how other processes' lines are read."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from cl_forget.ground import progress
from cl_forget.ground.environment import Discreet, ToStandardError
from cl_forget.ground.followed import Lines, forget, latest, passed_on
from cl_forget.ground.progress import Reporter, Stretch, bar, begin, into, sentence, stretch


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def said() -> list[tuple[str, dict[str, Any]]]:
    return []


@pytest.fixture
def reporter(clock: Clock, said: list[tuple[str, dict[str, Any]]]) -> Reporter:
    return Reporter(lambda event, fields: said.append((event, fields)), clock=clock)


def test_a_silence_is_no_longer_than_thirty_seconds(
    reporter: Reporter, clock: Clock, said: list[tuple[str, dict[str, Any]]]
) -> None:
    with (
        reporter.during(Stretch(fields={"arm": "LDIFS", "seed": 1})),
        reporter.during(Stretch("training letters", 40, "steps")) as training,
    ):
        for _ in range(4):
            clock.now += 10
            training.done += 5
            training.numbers = {"loss": 0.5}
            reporter.tick()
        assert said == [
            ("progress", {"arm": "LDIFS", "seed": 1, "doing": "training letters", "step": 15, "steps": 40,
                          "loss": 0.5, "seconds_left": 30 * 25 / 15}),
        ]  # fmt: skip
    clock.now += 100
    reporter.tick()
    assert len(said) == 1, "nothing is under way"


def test_it_is_silent_while_somebody_else_speaks_and_after_a_line_of_its_own(
    reporter: Reporter, clock: Clock, said: list[tuple[str, dict[str, Any]]]
) -> None:
    with reporter.during(Stretch("reading")):
        with reporter.held():
            clock.now += 100
            reporter.tick()
        clock.now += 20
        reporter.tick()
        reporter.spoke()
        clock.now += 20
        reporter.tick()
        assert said == []
        clock.now += 10
        reporter.tick()
    assert said == [("progress", {"doing": "reading", "seconds": 150.0})]


def test_a_row_tells_where_the_training_before_it_ended(
    reporter: Reporter, clock: Clock, said: list[tuple[str, dict[str, Any]]]
) -> None:
    with reporter.during(Stretch("under way", 4, fields={"arm": "SAM"})) as whole:
        with reporter.during(Stretch("training letters", 8, "steps")) as training:
            training.done, training.numbers = 8, {"loss": 0.25}
        whole.done = 2
        clock.now += 20
        reporter.row(doing="after letters, 1 of 2", scores="tasks 50.0 %", task="letters")
        reporter.row(doing="after digits, 2 of 2", scores="tasks 60.0 %", task="digits")
    (_, first), (event, second) = said
    assert (first["step"], first["steps"], first["loss"], first["seconds_left"]) == (8, 8, 0.25, 20.0)
    assert event == "row" and "loss" not in second, "no step was taken before the second row"
    assert sentence(first) == (
        "SAM · after letters, 1 of 2 · tasks 50.0 % · step 8 of 8 · loss 0.250 · about 20 s left"
    )


def test_the_time_left_counts_work_inside_work_and_not_what_was_done_before(
    reporter: Reporter, clock: Clock
) -> None:
    with reporter.during(Stretch("", 2)), reporter.during(Stretch("resumed", 10, done=6)) as inner:
        assert "seconds_left" in reporter.position() or inner.done == 6
    with reporter.during(Stretch("resumed", 10, done=6)) as alone:
        assert "seconds_left" not in reporter.position(), "nothing was done yet that tells the pace"
        alone.done, clock.now = 8, clock.now + 4
        assert reporter.position()["seconds_left"] == pytest.approx(4.0)
    with reporter.during(Stretch("", 4)) as outer, reporter.during(Stretch("part", 10)) as part:
        outer.done, part.done, clock.now = 1, 5, clock.now + 30  # 1.5 of 4
        assert reporter.position()["seconds_left"] == pytest.approx(50.0)


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"run": 3, "runs": 8, "arm": "LDIFS", "seed": 0, "doing": "training a", "step": 1200, "steps": 4000,
          "loss": 0.5321, "seconds_left": 4000.0},
         "[3/8] LDIFS, seed 0 · training a: step 1,200 of 4,000 · loss 0.532 · about 67 min left"),
        ({"doing": "evaluating row 0", "done": 2, "total": 7}, "evaluating row 0: 2 of 7"),
        ({"doing": "reading", "seconds": 61.0}, "reading · for 61 s"),
        ({"arm": "a", "doing": "pre-trained", "scores": "tasks 1.0 %"}, "a · pre-trained · tasks 1.0 %"),
    ],
)  # fmt: skip
def test_a_line_for_people(fields: dict[str, Any], line: str) -> None:
    assert sentence(fields) == line


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> logging.Logger:
    """A log as a command has it, written to standard error."""
    handler = ToStandardError()
    handler.setFormatter(Discreet("%(message)s"))
    logger = logging.getLogger("cl_forget")
    monkeypatch.setattr(logger, "handlers", [handler])
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "level", logging.INFO)
    monkeypatch.delenv(progress.LOG, raising=False)
    logger.manager._clear_cache()  # type: ignore[attr-defined]
    return logger


def test_the_first_line_comes_at_once(log: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    with begin("rehearsing one trial"):
        assert capsys.readouterr().err == "rehearsing one trial …\n"


def test_json_lines_have_every_field_and_no_secret(
    log: logging.Logger, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(progress.LOG, "json")
    token = "hf_" + "abcdefghijklmnopqrstuvwx"
    with begin("work"), stretch(2, "under way", arm=token, seed=0) as advance:
        advance(1)
        progress.row(doing="after a", scores="tasks 1.0 %", task="a", row=1, rows=2, tasks=0.01)
    log.warning("a warning of ours")
    start, row, warning = map(json.loads, capsys.readouterr().err.splitlines())
    assert (start["event"], start["message"], start["level"]) == ("start", "work …", "info")
    assert (row["event"], row["task"], row["row"], row["tasks"], row["seed"]) == ("row", "a", 1, 0.01, 0)
    assert "seconds_left" in row and "time" in row and token not in json.dumps(row)
    assert (warning["event"], warning["level"]) == ("message", "warning")


def test_a_bar_is_silent_without_a_terminal(log: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    with bar("short", 2) as advance:
        advance(1, "loss 0.5", loss=0.5)
        advance(1)
    assert capsys.readouterr().err == ""


def test_lines_of_another_process_are_passed_on_once_and_whole(
    tmp_path: Path, log: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = Lines(tmp_path)
    assert lines.new() == [] and latest(tmp_path) == []
    into(tmp_path)
    try:
        with stretch(0, "under way", arm="SAM"):
            progress.row(doing="after a", scores="tasks 1.0 %")
            progress.row(doing="after b", scores="tasks 2.0 %")
    finally:
        into(None)
    assert capsys.readouterr().err == "", "its lines go to the file alone"
    (file,) = (tmp_path / progress.FOLDER).iterdir()
    content = file.read_bytes()
    file.write_bytes(content[:-20])
    assert [one["doing"] for one in lines.new()] == ["after a"], "what is cut off is no line yet"
    file.write_bytes(content + b"no json\n[1]\n")
    assert [one["doing"] for one in lines.new()] == ["after b"] and lines.new() == []
    file.write_bytes(content)
    assert latest(tmp_path)[0]["scores"] == "tasks 2.0 %"
    forget(tmp_path)
    with passed_on(tmp_path, seconds=60):
        into(tmp_path)
        progress.row(doing="after c", scores="tasks 3.0 %")
        into(None)
    assert capsys.readouterr().err == "after c · tasks 3.0 %\n"
    assert not (tmp_path / progress.FOLDER).exists()
