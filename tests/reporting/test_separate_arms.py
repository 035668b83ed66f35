"""Seeds of one arm are runs of the same; everything else that stands in a report is named for what it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from samples import CONTROL, make_results

from cl_forget.comparison.records import Result
from cl_forget.ground.errors import UserError
from cl_forget.ground.outputs import write_index
from cl_forget.ground.records import Fingerprints
from cl_forget.reporting import load_runs, specify, specify_folders
from cl_forget.reporting.specification import Table


def trained(result: Result, **train: Any) -> Result:
    """The same result as if it had been trained otherwise."""
    return result.model_copy(update={"run": {**result.run, "train": {**result.run["train"], **train}}})


def store(results: list[Result], folder: Path) -> Path:
    for result in results:
        place = folder / f"{result.method}-seed{result.seed}"
        place.mkdir(parents=True)
        (place / "result.json").write_text(result.model_dump_json())
    return folder


def table_of(specification: Any) -> Table:
    table = specification.item("results")
    assert isinstance(table, Table)
    return table


def test_no_mean_is_taken_over_different_training(tmp_path: Path) -> None:
    long, short = make_results([CONTROL], (0, 1))
    store([trained(long, epochs=4)], tmp_path / "a")
    store([trained(short, epochs=1)], tmp_path / "b")
    found = specify_folders([tmp_path / "a", tmp_path / "b"])
    assert {method.name: method.seeds for method in found.methods if method.role != "reference"} == {
        f"{CONTROL} (train.epochs=4)": (0,),
        f"{CONTROL} (train.epochs=1)": (1,),
    }
    rows = table_of(found).rows
    assert rows[f"{CONTROL} (train.epochs=4)"]["speciality"].mean == long.metrics["test"]["speciality"]
    assert all(run.folder for run in found.runs)


@pytest.mark.parametrize(
    ("change", "label"),
    [
        ({"train": {"epochs": 5, "batch_size": 64, "lr": 1e-3}}, "train.lr=0.001"),
        ({"evaluate": {"limit": 50}}, "evaluate.limit=50"),
        ({"text": {"max_length": 128}}, "text.max_length=128"),
        ({"probes": ["styles"]}, 'probes=["styles"]'),
    ],
)
def test_whatever_else_differs_is_named(change: dict[str, Any], label: str) -> None:
    one, other = make_results([CONTROL], (0, 1))
    other = other.model_copy(update={"run": {**other.run, **change}})
    names = [method.name for method in specify([one, other]).methods]
    assert any(name.startswith(f"{CONTROL} (") and label in name for name in names)


def test_bookkeeping_and_seeds_divide_no_arm() -> None:
    one, other = make_results([CONTROL], (0, 1))
    run = {**other.run, "track": {"wandb": "offline"}, "evaluate": {"curves": False, "export": False}}
    run["train"] = {**run["train"], "checkpoint_seconds": 1.0, "warmup": 0.1}  # 0.1 is the default
    names = [m.name for m in specify([one, other.model_copy(update={"run": run})]).methods]
    assert CONTROL in names and len(names) == 2


def test_other_weights_and_other_data_are_refused() -> None:
    one, other = make_results([CONTROL], (0, 1))
    known = Fingerprints(model="m", data={"digits": "d"})
    one = one.model_copy(update={"fingerprints": known})
    assert specify([one, other]).findings  # an older result does not say
    for now, words in (
        (Fingerprints(model="n", data={"digits": "d"}), "the base model's weights"),
        (Fingerprints(model="m", data={"digits": "e"}), "the data of digits"),
    ):
        with pytest.raises(UserError, match=f"cannot stand in one report: {words} are not the same"):
            specify([one, other.model_copy(update={"fingerprints": now})])


def test_other_conditions_are_said() -> None:
    one, other = make_results([CONTROL], (0, 1))
    environment = {**other.environment, "threads": 1, "packages": {"torch": "2.14.0"}}
    said = specify([one, other.model_copy(update={"environment": environment})]).findings
    assert any("threads 2 and 1; torch 2.15.0 and 2.14.0" in line for line in said)
    assert not any("conditions" in line for line in specify([one, other]).findings)
    here, there = (
        r.model_copy(update={"environment": {**r.environment, "processor": name}})
        for r, name in ((one, "model 143, AVX512"), (other, "model 167, AVX512"))
    )
    (line,) = [line for line in specify([here, there]).findings if "conditions" in line]
    assert "processor model 143, AVX512 and model 167, AVX512" in line
    assert line.endswith(
        "Floating-point rounding differs between these, and training amplifies it; compare means over seeds."
    )


def test_arms_of_an_earlier_file_are_named_and_not_read(tmp_path: Path) -> None:
    results = make_results([CONTROL, "LDIFS"], (0,))
    store(results, tmp_path)
    assert len(load_runs([tmp_path]).results) == 2
    write_index(tmp_path, [f"{CONTROL}-seed0"])
    assert [result.method for result in load_runs([tmp_path]).results] == [CONTROL]
    assert [result.method for result in load_runs([tmp_path / "LDIFS-seed0"]).results] == ["LDIFS"]
    assert specify_folders([tmp_path]).findings[-1] == (
        "LDIFS-seed0 is not of the experiment that was last run into the same folder (experiment.json) and not read: "
        "left over from an earlier one, or renamed."
    )
    (tmp_path / "experiment.json").write_text("{}")
    with pytest.raises(UserError, match=r"experiment\.json names no runs; delete it"):
        load_runs([tmp_path])
