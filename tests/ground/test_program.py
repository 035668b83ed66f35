"""The command that records name is one that can be given again."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cl_forget.ground.environment import describe


@pytest.mark.parametrize(
    ("file", "command"),
    [
        ("/usr/bin/cl-forget", "cl-forget run mine.yaml"),
        ("/src/cl_forget/cl_forget/cli/__main__.py", "python -m cl_forget.cli run mine.yaml"),
        ("/src/other/__main__.py", "python -m other run mine.yaml"),
        ("train.py", "train.py run mine.yaml"),
    ],
)
def test_the_command_can_be_given_again(monkeypatch: pytest.MonkeyPatch, file: str, command: str) -> None:
    monkeypatch.setattr(sys, "argv", [str(Path(file)), "run", "mine.yaml"])
    assert describe()["command"] == command
