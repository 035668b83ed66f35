"""Sweeps on a Ray cluster of four unequal nodes that come, go, stand still and tell another time."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import yaml
from machines import Drive, Machines, raylet, workers
from object_storage import files, names, s3
from sweep_samples import plain_numbers

from cl_forget.comparison.trials import Trial, load_trials
from cl_forget.config.run import Run
from cl_forget.run.simulate import simulate
from cl_forget.sweeps.storage import Mirror

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]

HOURS = 3600.0
SHORT: dict[str, Any] = {"methods": {"WiSE-FT": ["wise_ft"], "L2-SP": ["l2_sp"]}}
LONG: dict[str, Any] = {
    "methods": {"L2-SP": ["l2_sp"]},
    "space": {"l2_sp.strength": [0.01, 0.1]},
    "train": {"epochs": 12, "batch_size": 8, "lr": 1e-3, "checkpoint_seconds": 3600},
}
"""Three trainings that are not saved before their first task is over."""


class Four:
    """Two spot nodes, and two with an accelerator, one of them larger and the other one's clock ten hours ahead.

    Attributes:
        storage: an address that all of them reach.
    """

    def __init__(self, storage: str) -> None:
        self.storage, self.machines = storage, Machines()
        self.spot = [self.machines.add(1, spot=1) for _ in range(2)]
        self.fpga = [self.machines.add(2, fpga=1), self.machines.add(1, clock=10 * HOURS, fpga=1)]


@pytest.fixture(scope="module")
def four() -> Iterator[Four]:
    with pytest.MonkeyPatch.context() as environment, s3(environment) as storage:
        before = dict(os.environ)
        found = Four(storage)
        assert dict(os.environ) == before, "a test after these may start a runtime in this process"
        yield found
        found.machines.end()


def alike(folder: Path, trials: list[Trial], alone: Path) -> None:
    """The same numbers, to the bit, as the trials have by themselves in one undisturbed process."""
    for trial in trials:
        of_trial = folder / "trials" / trial.id
        run = Run.parse(yaml.safe_load((of_trial / "config.yaml").read_text()))
        assert plain_numbers(of_trial) == plain_numbers(simulate(run, alone / trial.id)), trial.id


def in_training(folder: Path, steps: int = 3) -> list[str]:
    """Running trials that have taken so many steps."""
    running = [trial.id for trial in load_trials(folder) if trial.status == "running"]
    logs = {name: folder / "trials" / name / "events.jsonl" for name in running}
    return [
        name for name, log in logs.items() if log.exists() and log.read_text().count('"run_step"') >= steps
    ]


def test_trials_land_where_they_fit_and_tell_one_time(four: Four, tmp_path: Path) -> None:
    began = time.time()
    options = {"sweep": SHORT, "resources": {"custom": {"fpga": 1}}}
    seen = Drive(tmp_path / "sweep", four.machines.address, options, tmp_path).seen()
    assert set(seen["raylets"].values()) == {raylet(node) for node in four.fpga}
    trials = load_trials(tmp_path / "sweep")
    assert [trial.status for trial in trials] == ["finished"] * 6 and len(seen["raylets"]) == 6
    told = [when for trial in trials for one in trial.attempts for when in (one.started, one.ended or 0.0)]
    ended = time.time()
    assert began - 5 < min(told) and max(told) < ended + 5, "also where the clock is ten hours ahead"


def test_nodes_vanish_and_another_comes(four: Four, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    options = {"sweep": LONG, "resources": {"custom": {"spot": 1}}}
    drive = Drive(folder, four.machines.address, options, tmp_path)
    drive.until(lambda: len(in_training(folder)) == 2)
    for node in four.spot:
        four.machines.remove(node)
    four.spot[:] = [four.machines.add(1, spot=1)]
    seen = drive.seen()
    four.spot.append(four.machines.add(1, spot=1))
    assert seen["recovered"] == 2 and raylet(four.spot[0]) in seen["raylets"].values()
    trials = load_trials(folder)
    again = sum(trial.redone_steps for trial in trials)
    assert again >= 3 and any("done again" in line for line in seen["said"])
    # What that has cost stands in the tables.
    for table, column in (("trials", "redone_steps"), ("final", "spent_redone_steps")):
        lines = pyarrow.parquet.read_table(folder / f"{table}.parquet").to_pylist()
        assert sum(line[column] or 0 for line in lines) == again
    assert "steps done again" in (folder / "final.md").read_text()
    assert [trial.status for trial in trials] == ["finished"] * 3
    alike(folder, trials, tmp_path / "alone")


def test_a_worker_that_hangs_is_ended_and_its_trial_starts_elsewhere(four: Four, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    options = {"sweep": LONG, "resources": {"custom": {"spot": 1}}, "silent": 15}
    drive = Drive(folder, four.machines.address, options, tmp_path)
    drive.until(lambda: len(in_training(folder)) == 2)
    hung = workers(*four.spot)[0]
    hung.send_signal(signal.SIGSTOP)
    seen = drive.seen()
    assert any("no sign of life" in line for line in seen["said"]) and seen["recovered"] == 1
    assert not hung.is_running()
    trials = load_trials(folder)
    twice = [trial for trial in trials if len(trial.attempts) == 2]
    assert len(twice) == 1 and len({attempt.worker for attempt in twice[0].attempts}) == 2
    assert [trial.status for trial in trials] == ["finished"] * 3
    alike(folder, twice, tmp_path / "alone")


def test_the_head_is_lost_and_another_machine_goes_on(four: Four, tmp_path: Path) -> None:
    address = four.storage
    options = {"sweep": LONG, "resources": {"custom": {"spot": 1}, "max_concurrent": 1}}

    def results() -> dict[str, Any]:
        found = [name for name in names(address) if name.endswith("/result.json")]
        return {name: files().modified(f"{address}/{name}") for name in found}

    def under_way() -> bool:
        """Whether one trial is over, and another one trains on the worker's machine."""
        return bool(results()) and any(map(in_training, (tmp_path / "first").rglob("*-workers")))

    drive = Drive(address, four.machines.address, options, tmp_path / "first")
    drive.until(under_way)
    drive.kill()
    four.machines.end()
    before = results()
    # A fresh head, and machines that have nothing but the address.
    fresh = Machines()
    fresh.add(1, spot=1)
    Drive(address, fresh.address, {**options, "resume": True}, tmp_path / "second").seen()
    fresh.end()
    after = results()
    assert 1 <= len(before) < 3 == len(after) and after.items() >= before.items()
    copy = tmp_path / "copy"
    Mirror(address, copy).pull()
    trials = load_trials(copy)
    assert [trial.status for trial in trials] == ["finished"] * 3
    over = [trial for trial in trials if f"trials/{trial.id}/result.json" in before]
    assert len(over) == len(before) and all(len(trial.attempts) == 1 for trial in over)
    alike(copy, trials, tmp_path / "alone")
    assert not [name for name in names(address) if "-step-" in name]
