"""The folder of a sweep: what it was asked for, how far it is, and who works on it."""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from cl_forget.config.sweep import Sweep
from cl_forget.ground.errors import UserError
from cl_forget.ground.files import write_text
from cl_forget.ground.redact import MARK, redact
from cl_forget.sweeps.planning import Saved

SCHEMA = 1


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

    def save(self, folder: Path) -> None:
        """Write it, whole or not at all."""
        write_text(folder / "sweep.json", self.model_dump_json(indent=1))


def load_state(folder: Path) -> SweepState:
    """Read `sweep.json`.

    Raises:
        UserError: there is none, or it is not one of this version.
    """
    try:
        return SweepState.model_validate_json((folder / "sweep.json").read_text())
    except FileNotFoundError:
        raise UserError(f"{folder} holds no sweep; start one with `cl-forget sweep FILE`.") from None
    except ValueError as error:
        raise UserError(
            f"{folder / 'sweep.json'} is not of this version ({str(error).splitlines()[0]}); start the sweep anew "
            "in another --output."
        ) from None


def known_state(folder: Path, sweep: Sweep, resume: bool) -> SweepState | None:
    """How far the sweep in the folder is; None where there is none yet. Writes nothing.

    Raises:
        UserError: there is one and nothing is to be resumed, or it is another one; says what differs.
    """
    asked = redact(sweep.model_dump(mode="json"))
    file = folder / "sweep.yaml"
    if not file.exists():
        return None
    known = yaml.safe_load(file.read_text())
    changed = list(_changes(known, asked))
    if not resume:
        what = f"sweep '{known.get('name')}'" if changed else "this sweep"
        cure = "choose another --output" if changed else "go on with --resume, or choose another --output"
        raise UserError(f"{folder} already holds {what}; {cure}.")
    if changed:
        raise UserError(
            f"{folder} was started with other settings: {'; '.join(changed)}. Undo the change, or choose another "
            "--output."
        )
    return load_state(folder)


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


def _changes(old: Any, new: Any, where: str = "") -> Iterator[str]:
    """Each difference as "train.lr was 0.001 and is 0.01"."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {**old, **new}:
            if key == "checkpoint_seconds":
                continue
            yield from _changes(old.get(key), new.get(key), f"{where}.{key}" if where else str(key))
    elif old != new and not (isinstance(old, str) and MARK in old):  # what was secret cannot be compared
        yield f"{where} was {json.dumps(old)} and is {json.dumps(new)}"


@contextlib.contextmanager
def only_driver(folder: Path) -> Iterator[None]:
    """Nobody else drives the sweep meanwhile.

    Raises:
        UserError: somebody does.
    """
    with (folder / ".driver.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{folder} is being worked on by another process; follow it with `cl-forget sweep status {folder}`."
            ) from None
        yield
