"""Rules that the tests themselves keep: what `make check` leaves out, private names, clocks."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiers import HERE, WHOLE

HEAVY = ("ray", "nbclient", "wandb_server", "torch.multiprocessing")
CLOCKS = {"time", "monotonic", "perf_counter"}
FILES = sorted(HERE.rglob("*.py"))
ROOMS = {"avalanche_bridge": "avalanche", "kit": "testing", "starting": "cli"}
"""Where a folder of tests is called otherwise than the room that it is about."""


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(path: Path) -> str:
    folder = path.relative_to(HERE).parts[0]
    return ROOMS.get(folder, folder)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(HERE).as_posix())
def test_every_file_keeps_them(file: Path) -> None:
    tree = ast.parse(file.read_text())
    name = file.relative_to(HERE).as_posix()
    for imported in imports(tree):
        parts = imported.split(".")
        private = any(part.startswith("_") and not part.startswith("__") for part in parts[1:])
        if parts[0] == "cl_forget" and private:
            assert parts[1] == room_of(file), f"{name} imports {imported}, a private name of another room"
    heavy = [one for node in tree.body for one in imports(node) if one.startswith(HEAVY)]
    if heavy and file.name.startswith("test_"):
        assert name.startswith(WHOLE), f"{name} imports {heavy[0]}: list it in conftest.WHOLE"
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            assert not CLOCKS & set(methods(node)), f"{name}:{node.lineno} asserts how long something takes"


def methods(node: ast.AST) -> Iterator[str]:
    """The names of the methods that are called in it."""
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
            yield call.func.attr


def test_what_is_left_out_is_there() -> None:
    names = [file.relative_to(HERE).as_posix() for file in FILES]
    assert not [entry for entry in WHOLE if not any(name.startswith(entry) for name in names)]


def test_no_two_files_have_one_name() -> None:
    """Pytest imports them by their bare names: whichever comes second would be another folder's."""
    names = Counter(file.name for file in FILES if file.name != "conftest.py")
    assert [name for name, count in names.items() if count > 1] == []
