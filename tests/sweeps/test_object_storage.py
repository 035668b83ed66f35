"""Runs in folders that are mirrored to an S3 server of this machine."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from object_storage import files, names, s3
from sweep_samples import FIELDS, plain_numbers

from cl_forget.comparison.trials import load_trials
from cl_forget.config.run import Run
from cl_forget.config.sweep import Sweep
from cl_forget.ground.progress import into
from cl_forget.run.simulate import simulate
from cl_forget.run.simulation import Simulation, Watch
from cl_forget.sweeps import storage
from cl_forget.sweeps.planning import plan_grid, share
from cl_forget.sweeps.sources import Grid
from cl_forget.sweeps.storage import Mirror
from cl_forget.sweeps.trainable import Given, GroupTrainable

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with s3(monkeypatch) as where:
        yield where


class Ended(Exception):
    """As if the machine had gone."""


class Ends(Watch):
    """Ends a run at a step, and looks at each step before."""

    def __init__(self, at: int, look: Callable[[], Any]) -> None:
        self.left, self.look = at, look

    def step(self, simulation: Simulation, record: dict[str, Any]) -> bool | None:
        self.look()
        self.left -= 1
        if not self.left:
            raise Ended
        return None


def inside_stages(address: str) -> list[str]:
    return [name for name in names(address) if "-step-" in name]


def test_a_run_goes_on_where_another_machine_was_lost(
    address: str, tmp_path: Path, tiny_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "SECONDS", 0.01)
    run = tiny_run(train={"epochs": 2, "batch_size": 8, "lr": 1e-3, "checkpoint_seconds": 1e-9})
    lost, other = (Mirror(address, tmp_path / name) for name in ("lost", "other"))
    looked: list[str] = []

    def look() -> None:
        """While the run stands still the background comes to its latest checkpoint, and keeps no earlier one."""
        file = lost.folder / "trials" / "a" / "state.json"
        step = json.loads(file.read_text())["step"] if file.exists() else None
        if step and len(looked) < 2:
            until = time.monotonic() + 30
            while (
                inside_stages(address) != [f"trials/a/checkpoints/{step['file']}"]
                and time.monotonic() < until
            ):
                time.sleep(0.02)
            looked.extend(inside_stages(address))

    with pytest.raises(Ended), lost.pushing(["trials/a"]):
        simulate(run, lost.folder / "trials" / "a", watch=Ends(12, look))
    lost.push(["trials/a"])
    assert len(set(looked)) == 2 and len(inside_stages(address)) == 1
    other.pull(["trials/a"], theirs=True)
    state = (other.folder / "trials" / "a" / "state.json").read_bytes()
    assert state == (lost.folder / "trials" / "a" / "state.json").read_bytes()
    found = simulate(run, other.folder / "trials" / "a", resume=True)
    assert plain_numbers(found) == plain_numbers(simulate(run, tmp_path / "alone"))
    other.push(["trials/a"])
    assert not inside_stages(address)


def test_a_fine_tune_that_many_take_is_kept_once(
    address: str, tmp_path: Path, tiny_run: Callable[..., Run]
) -> None:
    here = Mirror(address, tmp_path / "here")
    giver = here.folder / "trials" / "giver"
    simulate(tiny_run(), giver)
    for alpha in (0.25, 0.75):
        simulate(
            tiny_run(mitigations=[{"wise_ft": alpha}]), here.folder / "trials" / f"taker-{alpha}", donor=giver
        )
    here.push()
    kept = [name for name in names(address) if "checkpoints/" in name]
    stages = sorted((giver / "checkpoints").glob("*.safetensors"))
    assert len(kept) == len(stages) and len(list(here.folder.glob("trials/*/checkpoints/*"))) == 3 * len(
        stages
    )
    there = Mirror(address, tmp_path / "there")
    there.pull(theirs=True)
    for file in here.folder.glob("trials/*/checkpoints/*"):
        assert (there.folder / file.relative_to(here.folder)).read_bytes() == file.read_bytes()


def test_storage_that_fails_for_a_while_is_tried_again(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "SECONDS", 0.01)
    mirror = Mirror(address, tmp_path)
    push, failed = Mirror.push, []

    def twice(self: Mirror, below: Any = None) -> None:
        if len(failed) < 2:
            failed.append(below)
            raise OSError("the network is away")
        push(self, below)

    monkeypatch.setattr(Mirror, "push", twice)
    (tmp_path / "world").mkdir()
    (tmp_path / "world" / "a.json").write_text("{}")
    with mirror.pushing(["world"]):
        until = time.monotonic() + 30
        while "world/a.json" not in names(address) and time.monotonic() < until:
            time.sleep(0.02)
    assert len(failed) == 2 and files().cat(f"{address}/world/a.json") == b"{}"


def test_machines_of_workers_meet_at_the_address_alone(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alphas = {"wise_ft.alpha": [0.25, 0.5, 0.75]}
    asked = Sweep(**{**FIELDS, "methods": {"WiSE-FT": ["wise_ft"]}, "space": alphas, "control": False})
    (group,) = share(plan_grid(asked))
    pieces = [group[:1], group[1:]]  # who trains, and two who take what it gives
    given = Given(Grid(pieces), folder="", threads=1, device="cpu", address=address, share=None)

    class Worker(GroupTrainable):
        def setup(self, config: dict[str, Any]) -> None:
            super().setup(config, given)

    driver = Mirror(address, tmp_path / "driver", records=True)
    for number in range(2):
        monkeypatch.setenv("CL_FORGET_CACHE", str(tmp_path / f"machine-{number}" / "cache"))
        worker = Worker({"group": number})
        reports = [worker.step() for _ in pieces[number]]
        assert [one["status"] for one in reports] == ["finished"] * len(reports)
        worker.cleanup()
        into(None)
    driver.pull()
    trials = load_trials(driver.folder)
    assert [trial.status for trial in trials] == ["finished"] * 3
    assert not list(driver.folder.glob("trials/*/checkpoints/*.safetensors"))
    giver = plain_numbers(driver.folder / "trials" / group[0].trial.id)
    kept = [name for name in names(address) if "checkpoints/" in name]
    assert len(kept) == len(giver["rows"]) - 1, "one after each task, for all three trials"
    for one in group[1:]:
        assert plain_numbers(driver.folder / "trials" / one.trial.id) == plain_numbers(simulate(one.run))
