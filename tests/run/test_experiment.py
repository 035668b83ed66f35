"""An experiment: what its runs share, and runs side by side."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import deadly
import pytest
import torch
import yaml
from PIL import Image
from tiny import COLOURS, images

from cl_forget.comparison.records import Result
from cl_forget.config.experiment import Experiment, load_experiment
from cl_forget.ground.errors import UserError
from cl_forget.ground.processes import KILLED
from cl_forget.reporting import load_runs
from cl_forget.run.experiment import run_experiment


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    """Three arms, two of which share a fine-tune, on a folder of pictures (what another process finds, too)."""
    data = images(3, 8, seed=1)
    for number, label in enumerate(data.labels):
        folder = tmp_path / "squares" / list(COLOURS)[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(data.array[number].transpose(1, 2, 0)).save(folder / f"{number}.png")
    return Experiment(
        model="emoji-clip",
        stream=[{"folder": {"path": str(tmp_path / "squares")}}],
        methods={"full fine-tuning": [], "WiSE-FT": [{"wise_ft": 0.5}], "linear probe": ["linear_probe"]},
        train={"epochs": 1, "batch_size": 8},
        evaluate={"curves": False, "export": False},
    )


def test_the_configuration_in_a_runs_folder_is_an_experiment(experiment: Experiment, tmp_path: Path) -> None:
    """So that any run can be made again by `cl-forget run <folder>/config.yaml`."""
    for run in experiment.model_copy(update={"seeds": [3]}).runs():
        file = tmp_path / "config.yaml"
        file.write_text(yaml.safe_dump(run.model_dump(mode="json"), sort_keys=False))
        (again,) = load_experiment(file).runs()
        assert again.key() == run.key() and (again.method, again.seed) == (run.method, 3)


def test_runs_side_by_side_give_the_bits_of_runs_in_turn(experiment: Experiment, tmp_path: Path) -> None:
    """Whatever number of threads this process uses: each run has its own."""
    seen: list[tuple[str, int, int]] = []

    def note(run: Any, number: int, total: int) -> None:
        seen.append((run.method, number, total))

    together = run_experiment(experiment, tmp_path / "together", on_run=note, jobs=2)
    assert sorted(number for _, number, _ in seen) == [1, 2, 3]
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        in_turn = run_experiment(experiment, tmp_path / "in-turn")
    finally:
        torch.set_num_threads(threads)
    assert [result.method for result in together] == ["full fine-tuning", "WiSE-FT", "linear probe"]
    for one, other in zip(together, in_turn, strict=True):
        assert plain(one) == plain(other)
    shared = [result.rows[-1].cost.steps for result in together]
    assert shared[0] == shared[1] > 0 == shared[2]
    _folders_say_what_belongs_together(experiment, tmp_path / "in-turn")


def plain(result: Result) -> dict[str, Any]:
    """Everything a result says except how long it took and where."""
    found = result.model_dump(mode="json", exclude={"environment"})
    for row in found["rows"]:
        for key in ("train_seconds", "evaluation_seconds", "peak_memory_mb"):
            row["cost"].pop(key)
    return found


def _folders_say_what_belongs_together(experiment: Experiment, folder: Path) -> None:
    """Arms that the file names no more stay on disk, and out of the report."""
    assert not list(folder.rglob(".*"))
    with pytest.raises(UserError, match=r"holds 3 runs already: .*--resume.*--overwrite.*--output"):
        run_experiment(experiment, folder)
    assert len(load_runs([folder]).results) == 3
    assert experiment.methods is not None
    fewer = experiment.model_copy(update={"methods": {"WiSE-FT": experiment.methods["WiSE-FT"]}})
    (result,) = run_experiment(fewer, folder, resume=True)
    assert result.method == "WiSE-FT"
    loaded = load_runs([folder])
    assert [result.method for result in loaded.results] == ["WiSE-FT"]
    assert sorted(path.name for path in loaded.left_over) == ["full-fine-tuning-seed0", "linear-probe-seed0"]


def test_an_experiment_has_one_writer_and_one_set_of_data(experiment: Experiment, tmp_path: Path) -> None:
    import fcntl

    first = experiment.model_copy(update={"methods": {"full fine-tuning": []}})
    run_experiment(first, tmp_path / "runs")
    with (tmp_path / "runs" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="being worked on by another process"):
            run_experiment(experiment, tmp_path / "runs", resume=True)
    picture = next((tmp_path / "squares").rglob("*.png"))
    Image.new("RGB", (16, 16)).save(picture)
    with pytest.raises(UserError, match="the data of squares are not what the experiment's other runs"):
        run_experiment(experiment, tmp_path / "runs", resume=True)


def test_a_mistake_in_one_of_several_processes_is_the_users_line(
    experiment: Experiment, tmp_path: Path
) -> None:
    lost = experiment.model_copy(update={"stream": [{"folder": {"path": str(tmp_path / "nowhere")}}]})
    with pytest.raises(UserError, match="nowhere"):
        run_experiment(lost, tmp_path / "lost", jobs=2)


def test_a_run_whose_process_is_killed_is_named_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Experiment(
        model="tiny-clip",
        stream=["deadly-squares"],
        methods={"full fine-tuning": [], "WiSE-FT": ["wise_ft"]},
        seeds=[3],
        train={"epochs": 1, "batch_size": 8},
        evaluate={"curves": False},
    )
    deadly.arm(tmp_path, monkeypatch)
    said = rf"full fine-tuning, seed 3: {re.escape(KILLED)}. .* add --resume to go on"
    with pytest.raises(UserError, match=said):
        run_experiment(asked, tmp_path / "runs", jobs=2)
    assert len(run_experiment(asked, tmp_path / "runs", resume=True, jobs=2)) == 2
