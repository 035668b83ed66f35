"""Pictures that are kept: drawn once, never stale, never damaged."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from cl_forget.ground.environment import cache_folder
from cl_forget.streams import _drawn, _kept, symbols


class Maker:
    """Draws, and counts how often."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> np.ndarray:
        self.times += 1
        return np.arange(2 * 3 * 4 * 4, dtype=np.uint8).reshape(2, 3, 4, 4)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CL_FORGET_CACHE", str(tmp_path))
    return cache_folder().parent / "pictures"


def test_pictures_are_drawn_once_for_each_key_and_source(folder: Path, tmp_path: Path) -> None:
    make, source = Maker(), tmp_path / "source.py"
    source.write_text("a")
    first = _kept.kept(make, "task", 1, sources=(source,))
    again = _kept.kept(make, "task", 1, sources=(source,))
    assert make.times == 1 and np.array_equal(first, again) and first.dtype == again.dtype
    again[0] = 0  # what is given back may be changed
    _kept.kept(make, "task", 2, sources=(source,))
    assert make.times == 2
    source.write_text("b")
    _kept.kept(make, "task", 1, sources=(source,))
    assert make.times == 3 and len(list(folder.iterdir())) == 3


def test_of_several_that_want_the_same_one_draws(folder: Path) -> None:
    class Slow(Maker):
        def __call__(self) -> np.ndarray:
            others.wait()  # until the others are about to ask for it
            return super().__call__()

    make, others = Slow(), threading.Event()
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(_kept.kept, make, "task", sources=()) for _ in range(3)]
        others.set()
        found = [one.result() for one in asked]
    assert make.times == 1 and all(np.array_equal(found[0], one) for one in found)
    assert [file.suffix for file in folder.iterdir()] == [".bin"]


@pytest.mark.parametrize("damage", [b"", b"short", b"x" * 500])
def test_a_damaged_file_is_made_anew(folder: Path, damage: bytes) -> None:
    make = Maker()
    expected = _kept.kept(make, "task", sources=())
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    for content in (damage, whole[:-1], whole[:40] + b"\xff" + whole[41:]):
        file.write_bytes(content)
        assert np.array_equal(_kept.kept(make, "task", sources=()), expected)
        assert file.read_bytes() == whole
    assert make.times == 4


def test_a_folder_that_cannot_be_written_to_is_passed_over(folder: Path) -> None:
    folder.write_text("in the way")
    make = Maker()
    _kept.kept(make, "task", sources=())
    _kept.kept(make, "task", sources=())
    assert make.times == 2


def test_a_task_that_was_kept_is_the_task_that_was_drawn(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (drawn,) = symbols.cards(limit=8)
    monkeypatch.setattr(_drawn, "draw_glyph", None)  # drawing would fail
    monkeypatch.setattr(symbols, "draw_glyph", None)
    (found,) = symbols.cards(limit=8)
    assert [data.fingerprint for data in found.splits().values()] == [
        data.fingerprint for data in drawn.splits().values()
    ]
