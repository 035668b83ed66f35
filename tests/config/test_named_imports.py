"""A method in a file of one's own: named in the experiment or on the command line; never run from a record."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cl_forget.config.experiment import load_experiment
from cl_forget.config.recorded import check_recorded
from cl_forget.config.run import Run
from cl_forget.ground.errors import UserError

METHOD = '''
from cl_forget.method import Field, Mitigation, State, Tensors, register


class Last(State):
    """The last gradient's size."""

    size: Tensors


@register
class Shrink(Mitigation):
    """Scales what was learned.

    Attributes:
        factor: how much of it stays.
    """

    name = "shrink_of_a_file"
    place = "weights"
    knob = "factor"
    grid = (0.0, 0.5)
    absent = 1.0
    post_hoc = True
    title = "Shrink"
    formula = "θ0 + factor·(θ-θ0)"
    source = "this test"

    factor: float = Field(0.5, ge=0, le=1, description="how much of it stays")

    def edit_weights(self, edit, weights):
        """Part of the way back."""
        return {n: edit.pretrained[n] + self.factor * (w - edit.pretrained[n]) for n, w in weights.items()}
'''
EXPERIMENT = {
    "model": "tiny-clip",
    "stream": [{"squares": {"tasks": 1}}],
    "methods": {"plain": [], "shrunk": [{"shrink_of_a_file": 0.5}]},
    "train": {"epochs": 1, "batch_size": 8},
    "evaluate": {"curves": False, "export": False},
}


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line, as on a machine where the tiny worlds are registered by a module, too."""
    path = os.pathsep.join(sys.path)
    return subprocess.run(
        [sys.executable, "-m", "cl_forget.cli", *arguments],
        env={"PYTHONPATH": path, "PATH": "", "HOME": str(folder), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False, cwd=folder,
    )  # fmt: skip


def written(folder: Path, **more: object) -> Path:
    (folder / "shrink_file.py").write_text(METHOD)
    file = folder / "mine.yaml"
    file.write_text(yaml.safe_dump({**EXPERIMENT, **more}))
    return file


def test_a_method_of_a_file_runs_and_its_record_does_not(tmp_path: Path) -> None:
    written(tmp_path, imports=["shrink_file.py", "cl_forget.testing.worlds"])
    done = command(tmp_path, "run", "mine.yaml")
    assert done.returncode == 0, done.stderr
    record = tmp_path / "runs" / "mine" / "shrunk-seed0"
    assert (record / "result.json").exists()
    place = str((tmp_path / "shrink_file.py").resolve())
    kept = yaml.safe_load((record / "config.yaml").read_text())
    assert kept["imports"] == [place, "cl_forget.testing.worlds"]
    # Somebody else's record could name any file: it is not imported unasked.
    (tmp_path / "shrink_file.py").write_text("raise SystemExit('this was executed')")
    again = command(tmp_path, "run", str(record / "config.yaml"), "--dry-run")
    assert again.returncode == 2 and "executed" not in again.stderr
    assert f"--allow-code '{place}'" in again.stderr and len(again.stderr.strip().splitlines()) == 1


def test_the_command_line_names_a_file_too(tmp_path: Path) -> None:
    written(tmp_path)
    more = ("--import", "shrink_file.py", "--import", "cl_forget.testing.worlds")
    done = command(tmp_path, "run", "mine.yaml", "--dry-run", *more)
    assert done.returncode == 0, done.stderr
    listed = command(tmp_path, "list", "mitigations", "--import", "shrink_file.py")
    assert "shrink_of_a_file" in listed.stdout, listed.stderr
    unknown = command(tmp_path, "run", "mine.yaml", "--dry-run", "--import", "other_file.py")
    assert unknown.returncode == 2 and "there is no file other_file.py" in unknown.stderr


@pytest.mark.parametrize("imports", [3, [3], {"a": 1}])
def test_imports_is_a_list_of_places(tmp_path: Path, imports: object) -> None:
    with pytest.raises(UserError, match="imports is a list of modules and files"):
        load_experiment(written(tmp_path, imports=imports))


@pytest.mark.parametrize("imports", [["mine.py"], "mine.py", ["a_module"]])
def test_a_record_that_names_modules_is_refused(imports: object) -> None:
    with pytest.raises(UserError, match="asks for code that is not registered here"):
        check_recorded({"model": "tiny-clip", "imports": imports}, "theirs")


def test_a_run_without_imports_is_written_as_ever() -> None:
    fields = {"model": "tiny-clip", "stream": ["squares"]}
    assert "imports" not in Run.parse(fields).model_dump()
    with_them = Run.parse({**fields, "imports": ["json"]})
    assert with_them.model_dump()["imports"] == ["json"] and with_them.key() == Run.parse(fields).key()


def test_processes_side_by_side_know_what_a_file_registers(tmp_path: Path) -> None:
    (tmp_path / "own_world.py").write_text(
        "from cl_forget.streams import STREAMS\n"
        "import cl_forget.testing.worlds\n"
        "STREAMS.add('own-squares', 'cl_forget.testing.worlds:squares')\n"
    )
    fields = {
        "model": "tiny-clip", "stream": {"own-squares": {"tasks": 1}}, "methods": {"a": [], "b": [{"l2_sp": 0.1}]},
        "train": {"epochs": 1, "batch_size": 8}, "track": {"wandb": "off"}, "imports": ["own_world.py"],
    }  # fmt: skip
    file = tmp_path / "own.yaml"
    file.write_text(yaml.safe_dump(fields))
    command = [
        sys.executable,
        "-m",
        "cl_forget.cli",
        "run",
        str(file),
        "--jobs",
        "2",
        "--output",
        str(tmp_path / "out"),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "CL_FORGET_DEVICE": "cpu"}
    )
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").glob("*/result.json"))) == 2
