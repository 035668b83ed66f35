"""The folder of a sweep: what it was asked for, how far it is, and who works on it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from cl_forget.comparison.trial_files import INDEX as TRIALS_INDEX
from cl_forget.comparison.trial_files import TEXTS
from cl_forget.config.run import differences
from cl_forget.config.sweep import LIMITS, Sweep
from cl_forget.ground import clock
from cl_forget.ground.documents import parse_yaml, read_object, read_record, read_text, refuse_later
from cl_forget.ground.errors import UserError
from cl_forget.ground.files import only_writer, write_text
from cl_forget.ground.outputs import INDEX, drop_empty
from cl_forget.ground.redact import redact
from cl_forget.sweeps.heartbeat import Beating
from cl_forget.sweeps.planning import Saved
from cl_forget.sweeps.spending import SPENDING, load_spending

SCHEMA = 1

MADE = (
    TRIALS_INDEX, TEXTS,
    "trials.csv", "trials.parquet", "final.csv", "final.parquet", "final.md", "summary.json", "report.html",
    "table.csv", "table.md", "tradeoff.png",
)  # fmt: skip
"""What is made of the records, and can be made again."""

OTHERS = (*MADE, "audit.json", "repair.json", "trials", "world")
"""What a folder that holds no sweep may hold of somebody else's: a sweep would replace it, or stand among it."""


class SweepState(BaseModel):
    """What `sweep.json` holds.

    Attributes:
        name, mode: of the sweep.
        planned: trials in all, as far as known; a search adds them as it goes.
        saved: what sharing saves.
        started: when it was first started, seconds since 1970.
        resumed: when it was last started or resumed.
        seconds: how long it had been worked on until then, and when it has ended in all.
        finished: whether it is complete.
        stopped: the limit of its budget that ended it the last time; None where none did.
    """

    schema_version: int = SCHEMA
    name: str
    mode: str
    planned: int = 0
    saved: Saved | None = None
    started: float = 0.0
    resumed: float = 0.0
    seconds: float = 0.0
    finished: bool = False
    stopped: str | None = None

    def save(self, folder: Path) -> None:
        """Write it, whole or not at all."""
        write_text(folder / "sweep.json", self.model_dump_json(indent=1))


class Lost(UserError):
    """`sweep.json` is missing or damaged; a resumed sweep makes it again, as the records are the truth."""


def load_state(folder: Path) -> SweepState:
    """Read `sweep.json`.

    Raises:
        Lost: there is none, or it is damaged.
        UserError: a later version wrote it.
    """
    file = folder / "sweep.json"
    again = "the same command with --resume makes it again."
    if not file.exists():
        if (folder / "sweep.yaml").exists():
            raise Lost(f"{file} is missing; {again}")
        raise Lost(f"{folder} holds no sweep; start one with `cl-forget sweep FILE`.")
    try:
        schema = read_object(file, again).get("schema_version")
    except UserError as error:
        raise Lost(str(error)) from None
    refuse_later(file, schema, SCHEMA)
    try:
        return read_record(file, SweepState, again)
    except UserError as error:
        raise Lost(str(error)) from None


def known_state(folder: Path, sweep: Sweep, resume: bool, overwrite: bool = False) -> SweepState | None:
    """How far the sweep in the folder is; None where there is none yet, or it is to be replaced. Writes nothing.

    Raises:
        UserError: there is one and nothing is to be resumed, or it is another one; says what differs. Or the
            folder holds something else.
    """
    asked = redact(sweep.model_dump(mode="json"))
    file, replace = folder / "sweep.yaml", overwrite and not resume
    runs = ("result.json", "state.json", "*/result.json", "*/state.json")
    if (folder / INDEX).exists() or any(any(folder.glob(place)) for place in runs):
        raise UserError(f"{folder} holds runs of an experiment; choose another --output.")
    begun = (folder / "sweep.json").exists() or any(folder.glob("trials/*/trial.json"))
    others = [] if begun else [name for name in OTHERS if _holds(folder / name)]
    if others:
        raise UserError(f"{folder} holds {others[0]}, which is no sweep's; choose another --output.")
    if replace and begun:
        return None
    if not file.exists():
        if any(folder.glob("trials/*/trial.json")):
            raise UserError(
                f"{folder} holds trials of a sweep whose sweep.yaml is missing; restore it, choose another --output, "
                "or replace them with --overwrite."
            )
        return None
    cure = "restore it from a copy, or choose another --output."
    known = parse_yaml(read_text(file, cure), str(file), cure).value
    if not isinstance(known, dict):
        raise UserError(f"{file} holds no sweep; {cure}")
    changed = list(differences(_without_limits(known), _without_limits(asked)))
    if changed and not begun:
        raise UserError(f"{file} is no sweep's record of what was asked; choose another --output.")
    if replace:
        return None
    if not resume:
        what = f"sweep '{known.get('name')}'" if changed else "this sweep"
        cure = "choose another --output, or replace it with --overwrite"
        cure = cure if changed else f"go on with --resume, {cure}"
        raise UserError(f"{folder} already holds {what}; {cure}.")
    if changed:
        raise UserError(
            f"{folder} was started with other settings: {'; '.join(changed)}. Undo the change, or choose another "
            "--output."
        )
    try:
        return load_state(folder)
    except Lost:
        return SweepState(name=sweep.name, mode=sweep.mode, seconds=3600 * load_spending(folder).hours)


def _holds(path: Path) -> bool:
    """Whether there is anything at a path; a folder that is empty is nothing."""
    return any(path.iterdir()) if path.is_dir() else path.exists()


def _without_limits(asked: dict[str, Any]) -> dict[str, Any]:
    """What a sweep is, without what it may spend in all: that may be raised."""
    budget = asked.get("budget")
    if not isinstance(budget, dict):
        return asked
    return {**asked, "budget": {k: v for k, v in budget.items() if k not in (*LIMITS, "prices")}}


def note_budget(folder: Path, sweep: Sweep) -> None:
    """Write the limits that a resumed sweep has now into its file."""
    asked = redact(sweep.model_dump(mode="json"))
    file = folder / "sweep.yaml"
    known = yaml.safe_load(file.read_text())
    if known.get("budget") != asked["budget"]:
        write_text(
            file, yaml.safe_dump({**known, "budget": asked["budget"]}, sort_keys=False, allow_unicode=True)
        )


def new_folder(folder: Path, sweep: Sweep) -> SweepState:
    """Make the folder of a sweep.

    Raises:
        UserError: it cannot be written.
    """
    try:
        (folder / "trials").mkdir(parents=True, exist_ok=True)
        state = SweepState(name=sweep.name, mode=sweep.mode)
        state.save(folder)
        asked = redact(sweep.model_dump(mode="json"))
        write_text(folder / "sweep.yaml", yaml.safe_dump(asked, sort_keys=False, allow_unicode=True))
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; choose another --output.") from None
    return state


def clear(folder: Path) -> None:
    """Forget a sweep and all of its trials, and nothing that somebody else put among them.

    The trials go first, so that none outlives the plan it belongs to, and `sweep.json` last, by which the folder is
    known for a sweep's.
    """
    for record in folder.glob("trials/*/trial.json"):
        for part in set(record.parent.iterdir()) - {record}:  # a folder is known for a trial's by its record
            shutil.rmtree(part) if part.is_dir() and not part.is_symlink() else part.unlink(missing_ok=True)
        shutil.rmtree(record.parent, ignore_errors=True)
    for note in folder.glob(f"world/{'[0-9a-f]' * 16}.json"):
        note.unlink(missing_ok=True)
    drop_empty(folder / "trials", folder / "world")
    for name in (*MADE, SPENDING, "sweep.yaml", "sweep.json"):
        (folder / name).unlink(missing_ok=True)


@contextlib.contextmanager
def only_driver(folder: Path) -> Iterator[None]:
    """Nobody else drives the sweep meanwhile, and anybody can see that this process lives.

    Raises:
        UserError: somebody does.
    """
    cure = f"follow it with `cl-forget sweep status {folder}`"
    with only_writer(folder, name=".driver.lock", cure=cure, nested=False):
        clock.follow(folder)
        with Beating(folder):
            yield
