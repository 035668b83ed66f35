"""Files that are written whole, what killed processes leave, and folders with one writer."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cl_forget.ground import files
from cl_forget.ground.errors import UserError
from cl_forget.ground.files import only_writer, remove_leftovers, whole, write_text


def dead_process() -> int:
    """The number of a process that has ended."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_content_is_on_disk_before_its_name_and_the_name_before_the_next_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(descriptor: int) -> None:
        done.append(f"fsync {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name}")
        fsync(descriptor)

    def note_replace(source: Path, target: Path) -> None:
        done.append(f"rename {Path(target).name}")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    write_text(tmp_path / "a", "text")
    with whole(tmp_path / "model") as temporary:
        temporary.mkdir()
        (temporary / "inside").write_text("x")
    own = os.getpid()
    assert done == [
        f"fsync .a.{own}.tmp", "rename a", f"fsync {tmp_path.name}",
        "fsync inside", f"fsync .model.{own}.tmp", "rename model", f"fsync {tmp_path.name}",
    ]  # fmt: skip


def test_leftovers_of_dead_processes_go_and_everything_else_stays(tmp_path: Path) -> None:
    dead, alive = dead_process(), os.getpid()
    (tmp_path / f".state.json.{dead}.tmp").write_text("half")
    (tmp_path / f".model.{dead}.tmp").mkdir()
    (tmp_path / f".model.{dead}.tmp" / "part").write_text("half")
    kept = [f".state.json.{alive}.tmp", ".notes.tmp", "mine.123.tmp", f".state.json.{dead}", ".x.abc.tmp"]
    for name in kept:
        (tmp_path / name).write_text("whole")
    remove_leftovers(tmp_path, tmp_path / "nowhere")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


def test_a_process_that_began_after_the_file_did_not_write_it(tmp_path: Path) -> None:
    """Numbers of processes come round again, in containers within minutes."""
    old = tmp_path / f".state.json.{os.getpid()}.tmp"
    old.write_text("half")
    os.utime(old, (1e9, 1e9))
    remove_leftovers(tmp_path)
    assert not old.exists()


def test_a_folder_has_one_writer_and_a_dead_one_does_not_count(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("process 1 on another machine")  # of a process that was killed
    refused: list[str] = []

    def another() -> None:
        try:
            with only_writer(tmp_path):
                pass
        except UserError as error:
            refused.append(str(error))

    with only_writer(tmp_path), only_writer(tmp_path):  # the same thread may go on
        thread = threading.Thread(target=another)
        thread.start()
        thread.join()
    assert len(refused) == 1 and f"process {os.getpid()}" in refused[0] and "--output" in refused[0]
    assert list(tmp_path.iterdir()) == []
    another()
    assert len(refused) == 1


def test_a_lock_whose_file_was_removed_meanwhile_guards_nothing(tmp_path: Path) -> None:
    first = files.acquire(tmp_path / "lock")
    (tmp_path / "lock").unlink()
    second = files.acquire(tmp_path / "lock")
    assert None not in (first, second)
    assert files.acquire(tmp_path / "lock") is None
    files.release(first)
    assert files.acquire(tmp_path / "lock") is None
    files.release(second)


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UserError, match=r"cannot write to .*; choose another --output"),
        only_writer(tmp_path / "file"),
    ):
        pass
