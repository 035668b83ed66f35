"""The notebooks run from a clean kernel, and what is committed is what they give."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
sys.path.insert(0, str(ROOT / "notebooks"))
PLACES = re.compile(r"(?<![\w.])/(?:work|tmp|root|home|usr|opt|private|Users)/")


def outputs(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def texts(notebook: nbformat.NotebookNode) -> str:
    found = []
    for output in outputs(notebook):
        found += [
            output.get("text", ""),
            *(v for k, v in output.get("data", {}).items() if k.startswith("text/")),
        ]
    return "\n".join("".join(text) for text in found)


def test_the_five_notebooks_are_there() -> None:
    assert [path.name[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04", "05"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_and_pictures_are_committed(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), (
        "run notebooks/execute.py"
    )
    pictures = [output for output in outputs(notebook) if "image/png" in output.get("data", {})]
    assert pictures, "no picture"
    assert not any(output.get("name") == "stderr" for output in outputs(notebook))
    assert not PLACES.search(texts(notebook)), PLACES.search(texts(notebook))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_from_a_clean_kernel(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from execute import execute

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("HOME", str(tmp_path))
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    executed = execute(path, workspace)
    assert not any(output.output_type == "error" for output in outputs(executed))
    committed = nbformat.read(path, as_version=4)
    drawn = [sum("image/png" in o.get("data", {}) for o in outputs(n)) for n in (executed, committed)]
    assert drawn[0] == drawn[1] > 0
    assert not PLACES.search(texts(executed))
