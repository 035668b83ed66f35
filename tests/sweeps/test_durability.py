"""A sweep whose driver, workers and Ray runtime are killed at once ends with the table of an untouched one."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import sweep_durability
import yaml
from sweep_durability import complaints, finish, kill, measured, results, start, table
from sweep_samples import FIELDS

from cl_forget.config.sweep import Sweep
from cl_forget.run.shared import Setups
from cl_forget.sweeps.planning import plan_grid, share
from cl_forget.sweeps.work import work


@pytest.mark.slow
def test_nothing_finished_is_lost_or_repeated(tmp_path: Path) -> None:
    file, killed, whole = tmp_path / "sweep.yaml", tmp_path / "killed", tmp_path / "whole"
    file.write_text(yaml.safe_dump(FIELDS))
    driver = start(file, killed)
    while len(results(killed)) < 2:
        assert driver.poll() is None, complaints(killed).read_text()
        time.sleep(0.05)
    assert kill(driver)
    driver.wait()
    before = results(killed)
    assert 2 <= len(before) < 6
    finish(file, killed)
    after = results(killed)
    assert len(after) == 6 and {name: after[name] for name in before} == before
    for group in share(plan_grid(Sweep(**FIELDS))):
        work(group, whole, Setups(), lambda trial: None)
    same = table(killed) == table(whole)
    assert same


def test_columns_that_other_trials_fill_are_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        {
            "id": "a",
            "status": "finished",
            "seed": 0,
            "test.speciality": 0.5,
            "test.speciality_by_task.x": None,
        },
        {"id": "b", "status": "pruned", "seed": 0, "test.speciality": None, "test.speciality_by_task.x": 0.1},
    ]
    monkeypatch.setattr(sweep_durability, "table", lambda folder: rows)
    assert measured(tmp_path) == {"a": {"test.speciality": 0.5}}
