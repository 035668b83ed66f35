"""Whether a sweep's driver lives: what it says of itself, and what `sweep status` makes of it."""

from __future__ import annotations

import io
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from records import trial
from rich.console import Console
from typer.testing import CliRunner

from cl_forget.cli.app import app
from cl_forget.ground import progress
from cl_forget.ground.errors import UserError
from cl_forget.sweeps.folder import SweepState, only_driver
from cl_forget.sweeps.heartbeat import FILE, SILENT, Heartbeat, heartbeat
from cl_forget.sweeps.live import LogView, screen

GONE = 2**22 + 1  # above the largest number a process can have


def test_a_driver_gives_signs_of_life_and_leaves_none_behind(tmp_path: Path) -> None:
    with only_driver(tmp_path):
        sign = heartbeat(tmp_path)
        assert sign is not None and (sign.host, sign.process) == (socket.gethostname(), os.getpid())
        assert sign.state(sign.time + 1) == "alive"
    assert heartbeat(tmp_path) is None and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("host", "process", "later", "state", "words"),
    [
        (None, None, 5.0, "alive", "last sign of life 5 s ago"),
        (None, None, SILENT + 60, "silent", "no sign of life for 2 min"),
        (None, GONE, 5.0, "dead", "has died"),
        ("elsewhere", GONE, 5.0, "alive", f"process {GONE} on elsewhere"),
        ("elsewhere", GONE, SILENT, "silent", "--resume"),
    ],
)
def test_dead_and_silent_are_told_apart(
    host: str | None, process: int | None, later: float, state: str, words: str
) -> None:
    sign = Heartbeat(host=host or socket.gethostname(), process=process or os.getpid(), time=1000.0)
    assert sign.state(1000.0 + later) == state and words in sign.line(1000.0 + later)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sweep of three trials, one of them over."""
    now = time.time()
    SweepState(name="small", mode="curve", planned=3, started=now - 60, resumed=now - 60).save(tmp_path)
    trial("L2-SP", 0.1, 0, (0.5, 0.4)).save(tmp_path)
    trial("L2-SP", 1.0, 0, (0.5, 0.4), status="running", seconds=None).save(tmp_path)
    return tmp_path


def shown(what: Any) -> str:
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(what)
    return console.export_text()


def test_the_status_says_who_drives_and_what_each_trial_does(folder: Path) -> None:
    with only_driver(folder):
        progress.into(folder)
        try:
            with progress.stretch(0, "under way", arm="L2-SP", seed=0, trial="L2-SP-1.0-0-tune"):
                progress.row(doing="after a, 1 of 2", scores="tasks 50.0 %")
        finally:
            progress.into(None)
        said = shown(screen(folder))
        assert "1 of 3 trials" in said and f"driven by process {os.getpid()}" in said
        assert "L2-SP, seed 0 · after a, 1 of 2 · tasks 50.0 %" in said and "min left" in said


def test_a_dead_driver_is_known_by_the_status(folder: Path) -> None:
    sign = Heartbeat(host=socket.gethostname(), process=GONE, time=time.time() - 5)
    (folder / FILE).write_text(sign.model_dump_json())
    said = CliRunner().invoke(app, ["sweep", "status", str(folder)]).output
    assert "has died" in said and "--resume" in said and "left" not in said
    with pytest.raises(UserError, match=r"is not complete: its driver .* has died"):
        CliRunner().invoke(app, ["sweep", "status", str(folder), "--follow"], catch_exceptions=False)
    (folder / FILE).unlink()
    assert "nobody drives it" in CliRunner().invoke(app, ["sweep", "status", str(folder)]).output


def test_without_a_terminal_a_line_says_how_far_all_of_it_is(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    with caplog.at_level("INFO", "cl_forget"):
        view = LogView(folder, seconds=30.0, clock=lambda: now[0])
        view.look()
        assert not caplog.records, "it is not yet time"
        now[0] = 31.0
        view.look()
    (record,) = caplog.records
    assert record.getMessage().startswith("small: 1 of 3 over · about")
    assert record.fields["over"] == 1 and record.fields["statuses"] == {"finished": 1, "running": 1}  # type: ignore[attr-defined]
