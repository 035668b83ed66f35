"""Which checkpoints a pattern or a folder stands for, and what they are called."""

from __future__ import annotations

from pathlib import Path

import pytest

from cl_forget.auditing.checkpoints import expand_names, short_names
from cl_forget.ground.errors import UserError


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for number in (1000, 200, 30):
        folder = tmp_path / "out" / f"checkpoint-{number}"
        folder.mkdir(parents=True)
        (folder / "model.safetensors").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "out"


def test_a_pattern_and_a_folder_stand_for_checkpoints_by_their_numbers(steps: Path) -> None:
    expected = [f"out/checkpoint-{number}" for number in (30, 200, 1000)]
    assert expand_names("out/checkpoint-*") == expected
    assert expand_names("out") == expected
    assert expand_names([str(steps / "checkpoint-*")]) == [str(steps.parent / name) for name in expected]
    assert expand_names(["out/checkpoint-30", "emoji-clip"]) == ["out/checkpoint-30", "emoji-clip"]
    (steps / "model.safetensors").touch()  # a final model of its own: that is what is meant
    assert expand_names("out") == ["out"]


def test_what_cannot_be_found_is_one_line(steps: Path) -> None:
    for given, word in (
        ([], "--tuned"),
        (["out", "out/checkpoint-*"], "named twice"),
        ("gone-*", "nothing matches"),
    ):
        with pytest.raises(UserError, match=word):
            expand_names(given)


def test_names_are_as_short_as_tells_them_apart() -> None:
    assert short_names(["a/checkpoint-1", "a/checkpoint-2/"]) == ["checkpoint-1", "checkpoint-2"]
    assert short_names(["a/model", "b/model"]) == ["a/model", "b/model"]
    assert short_names(["one"]) == ["one"]
