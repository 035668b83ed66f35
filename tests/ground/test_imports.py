"""Modules that the user names: imported once, found by workers, and refused in one line where they fail."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cl_forget.ground import imports
from cl_forget.ground.errors import UserError
from cl_forget.ground.imports import bring_in, brought_in


@pytest.fixture(autouse=True)
def _own_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(imports, "_brought_in", {})
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    known = set(sys.modules)
    yield
    for name in set(sys.modules) - known:
        del sys.modules[name]


def test_a_file_is_imported_once_under_its_own_name_and_children_find_it(tmp_path: Path) -> None:
    (tmp_path / "file_of_mine.py").write_text(
        "import os\nos.environ['TIMES'] = os.environ.get('TIMES', '') + 'x'\n"
    )
    os.environ.pop("TIMES", None)
    file = str((tmp_path / "file_of_mine.py").resolve())
    assert bring_in(["file_of_mine.py"], tmp_path) == bring_in([file]) == brought_in() == [file]
    assert os.environ.pop("TIMES") == "x"
    assert str(tmp_path) in sys.path and str(tmp_path) in os.environ["PYTHONPATH"].split(os.pathsep)


def test_a_module_is_found_by_name_installed_or_beside_the_experiment(tmp_path: Path) -> None:
    (tmp_path / "beside_it.py").write_text("X = 1\n")
    assert bring_in(["json.tool"]) == ["json.tool"]
    assert bring_in(["beside_it"], tmp_path) == [str((tmp_path / "beside_it.py").resolve())]


@pytest.mark.parametrize(
    ("name", "code", "place", "said"),
    [
        ("json.py", "", "json.py", "Python knows another module 'json'"),
        ("my-file.py", "", "my-file.py", "name it like a variable"),
        ("no_colon.py", "def f(\n", "no_colon.py", "cannot be imported: SyntaxError"),
        ("fails_now.py", "raise RuntimeError('two\\nlines')", "fails_now.py", "RuntimeError: two lines"),
        ("leaves.py", "import nothing_of_that_name", "leaves.py", "No module named 'nothing_of_that_name'"),
        ("x.py", "", "absent.py", "there is no file absent.py"),
        ("x.py", "", "absent_module", "there is no module absent_module"),
        ("x.py", "", "absent_package.methods", "there is no module absent_package.methods"),
        ("x.py", "", "not a module", "neither a module"),
        ("x.py", "", "", "neither a module"),
    ],
)
def test_what_cannot_be_imported_is_one_line(
    tmp_path: Path, name: str, code: str, place: str, said: str
) -> None:
    (tmp_path / name).write_text(code)
    with pytest.raises(UserError) as caught:
        bring_in([place], tmp_path)
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert brought_in() == []
