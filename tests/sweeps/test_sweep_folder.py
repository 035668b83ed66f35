"""The folder of a sweep: what it is known by, what of it can be made again, and what is never its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from records import trial
from sweep_samples import FIELDS

from cl_forget.comparison.trials import load_trial
from cl_forget.config.sweep import Sweep
from cl_forget.ground.errors import UserError
from cl_forget.sweeps.folder import (
    Lost,
    SweepState,
    clear,
    known_state,
    load_state,
    new_folder,
)
from cl_forget.sweeps.live import driver_line
from cl_forget.sweeps.spending import SPENDING

ASKED = Sweep(**FIELDS)


def begun(folder: Path) -> Path:
    """A sweep with one trial."""
    new_folder(folder, ASKED)
    trial("L2-SP", 0.1, 0, (0.5, 0.4)).save(folder)
    return folder


def files(folder: Path) -> list[str]:
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())


@pytest.mark.parametrize(
    "name",
    [
        "trials/mine/thesis.txt",
        "world/map.png",
        "report.html",
        "trials.csv",
        "final.md",
        "audit.json",
        "repair.json",
    ],
)
@pytest.mark.parametrize("flags", [{"resume": False}, {"resume": True}, {"resume": False, "overwrite": True}])
def test_what_is_no_sweeps_is_neither_replaced_nor_deleted(
    tmp_path: Path, name: str, flags: dict[str, bool]
) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(
        UserError, match=rf"holds {name.partition('/')[0]}, which is no sweep's; choose another"
    ):
        known_state(tmp_path, ASKED, **flags)
    assert files(tmp_path) == [name]


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_file_that_a_user_wrote_is_not_replaced_by_what_a_sweep_records(
    tmp_path: Path, overwrite: bool
) -> None:
    (tmp_path / "sweep.yaml").write_text("model: tiny-clip  # mine\n")
    with pytest.raises(
        UserError, match=r"sweep\.yaml is no sweep's record of what was asked; choose another"
    ):
        known_state(tmp_path, ASKED, resume=False, overwrite=overwrite)


def test_a_folder_that_a_killed_sweep_left_empty_is_taken(tmp_path: Path) -> None:
    (tmp_path / "trials").mkdir()
    assert known_state(tmp_path, ASKED, resume=False) is None
    SweepState(name="small", mode="curve").save(tmp_path)
    assert known_state(tmp_path, ASKED, resume=False) is None


def test_what_a_user_put_among_the_trials_outlives_them(tmp_path: Path) -> None:
    begun(tmp_path)
    own = ["notes.txt", "trials/mine/thesis.txt", "world/map.png"]
    (tmp_path / "world").mkdir()
    (tmp_path / "world" / f"{'0a' * 8}.json").write_text("{}")
    for name in own:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("mine")
    assert known_state(tmp_path, ASKED, resume=False, overwrite=True) is None
    clear(tmp_path)
    assert files(tmp_path) == own


@pytest.mark.parametrize("content", [None, "", '{"name": "sm', "[]", "{}", '{"name": 3, "mode": "curve"}'])
def test_a_lost_state_is_made_again(tmp_path: Path, content: str | None) -> None:
    begun(tmp_path)
    (tmp_path / SPENDING).write_text('{"hours": 0.5}')
    file = tmp_path / "sweep.json"
    file.unlink() if content is None else file.write_text(content)
    with pytest.raises(Lost, match="the same command with --resume makes it again"):
        load_state(tmp_path)
    with pytest.raises(UserError, match="already holds this sweep; go on with --resume"):
        known_state(tmp_path, ASKED, resume=False)
    state = known_state(tmp_path, ASKED, resume=True)
    assert state is not None and (state.name, state.mode, state.seconds) == ("small", "curve", 1800.0)
    assert not state.finished


def test_what_a_later_version_wrote_is_refused(tmp_path: Path) -> None:
    begun(tmp_path)
    record = next(tmp_path.glob("trials/*/trial.json"))
    for file in (tmp_path / "sweep.json", record):
        file.write_text(json.dumps({**json.loads(file.read_text()), "schema_version": 9}))
    said = r"is of schema 9, and this version of cl-forget reads up to \d: update it"
    with pytest.raises(UserError, match=said):
        known_state(tmp_path, ASKED, resume=True)
    for more in ({}, {"field": "of a later version"}):
        record.write_text(json.dumps({**json.loads(record.read_text()), **more}))
        with pytest.raises(UserError, match=said):
            load_trial(tmp_path, record.parent.name)


def test_a_sweep_that_its_budget_stopped_says_so(tmp_path: Path) -> None:
    state = SweepState(name="small", mode="curve", stopped="passes")
    assert (
        driver_line(tmp_path, state, 0.0) == "stopped by its budget: raise `budget.passes` and add --resume"
    )
