"""Processes beside this one are forked off a server only where nothing forbids it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import cl_forget.ground.processes as processes


def test_a_gpu_or_another_system_gets_fresh_interpreters(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    driver = tmp_path / "driver"
    monkeypatch.setattr(processes, "DRIVERS", (str(driver),))
    monkeypatch.setattr(sys, "platform", "linux")
    assert processes.context([]).get_start_method() == "forkserver"
    driver.touch()
    assert processes.context([]).get_start_method() == "spawn"
    driver.unlink()
    monkeypatch.setattr(sys, "platform", "darwin")
    assert processes.context([]).get_start_method() == "spawn"
