"""A method from another package: an entry point is all it takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

METHOD = '''
from pydantic import Field

from cl_forget import Mitigation


class Shrink(Mitigation):
    """Scales what was learned.

    Attributes:
        factor: how much of it stays.
    """

    name = "shrink"
    place = "weights"
    knob = "factor"
    grid = (0.0, 0.5, 1.0)
    absent = 1.0
    post_hoc = True
    title = "Shrink"
    formula = "θ0 + factor·(θ-θ0)"
    source = "this test"

    factor: float = Field(0.5, ge=0, le=1)

    def edit_weights(self, edit, weights):
        return {n: edit.pretrained[n] + self.factor * (w - edit.pretrained[n]) for n, w in weights.items()}
'''

USE = """
import tiny
from cl_forget import Run, simulate

fields = dict(model="tiny-clip", stream={"squares": {"tasks": 1}}, train={"epochs": 1, "batch_size": 8})
shrunk = simulate(Run.parse({**fields, "mitigations": [{"shrink": 0.0}]}))
assert shrunk.rows[1].tasks == shrunk.rows[0].tasks  # nothing of what was learned stays
assert [point.value for point in shrunk.curves[0].points] == [0.0, 0.5, 1.0]
"""


def install(folder: Path, module: str, code: str, entry_points: str) -> None:
    """What pip leaves behind for a package: its module, and its metadata with the entry points."""
    (folder / f"{module}.py").write_text(code)
    metadata = folder / f"{module}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(entry_points)


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = f"{folder}:{Path(__file__).parents[1]}"
    return subprocess.run(
        [sys.executable, *arguments],
        env={"PYTHONPATH": path, "PATH": "", "HOME": str(folder), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_method_of_another_package_is_listed_composed_and_swept(tmp_path: Path) -> None:
    install(tmp_path, "my_methods", METHOD, "[cl_forget.mitigations]\nshrink = my_methods:Shrink\n")
    listed = python(tmp_path, "-m", "cl_forget.cli", "list", "mitigations")
    assert "shrink" in listed.stdout, listed.stderr
    used = python(tmp_path, "-c", USE)
    assert used.returncode == 0, used.stderr


def test_an_entry_point_that_cannot_be_imported_is_named(tmp_path: Path) -> None:
    install(tmp_path, "broken", "import nothing_of_that_name", "[cl_forget.mitigations]\nbad = broken:Bad\n")
    (tmp_path / "e.yaml").write_text("model: emoji-clip\nstream: digits\nmitigations: [bad]\n")
    done = python(tmp_path, "-m", "cl_forget.cli", "run", str(tmp_path / "e.yaml"), "--dry-run")
    assert done.returncode == 2
    assert "mitigation 'bad' (broken:Bad) cannot be loaded" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
