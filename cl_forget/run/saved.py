"""What a folder holds of a run, and whether it may be gone on with."""

from __future__ import annotations

from pathlib import Path

from cl_forget.config.run import Run, differences
from cl_forget.ground.environment import conditions
from cl_forget.ground.errors import UserError
from cl_forget.ground.records import Fingerprints
from cl_forget.ground.redact import redact
from cl_forget.run.donor import Donor
from cl_forget.training.checkpoints import RunFolder, State


def saved_state(run: Run, folder: RunFolder, resume: bool, overwrite: bool = False) -> tuple[State, bool]:
    """What the folder holds of this run, or a fresh start, and whether that replaces a run. Changes nothing.

    Raises:
        UserError: it holds a run that is not to be gone on with or overwritten, or not this one.
    """
    fresh = State(key=run.key(), run=redact(run.model_dump(mode="json")), training_keys=run.training_keys())
    if not folder.used or (overwrite and not resume):
        return fresh, folder.used
    if not resume:
        raise UserError(
            f"{folder.path} holds a run already: go on with --resume, replace it with --overwrite, or choose "
            "another --output."
        )
    try:
        saved = folder.state
    except UserError:
        if not overwrite:
            raise
        saved = None
    if overwrite and (saved is None or saved.key != run.key()):
        return fresh, True
    if saved is None:
        raise UserError(
            f"{folder.path} holds a run without the state.json to go on from: choose another --output, or replace "
            "it with --overwrite."
        )
    if saved.key != run.key():
        changed = "; ".join(differences(saved.run, fresh.run)) or "by an earlier version"
        raise UserError(
            f"{folder.path} holds a run with other settings ({changed}): choose another --output, or replace it "
            "with --overwrite."
        )
    finished = saved.finished and folder.holds_result(saved)
    return saved.model_copy(update={"finished": finished}), False


def check_world(
    state: State, now: Fingerprints, folder: Path, alike: Fingerprints | None, donor: Donor | None
) -> None:
    """Go on only with the base model and the data that the run began with; notes them in the state.

    Args:
        state: of the run.
        now: of the base model and the data as they are.
        folder: the run's, for the message.
        alike: of the runs that it will be compared with.
        donor: the run whose training is taken over.

    Raises:
        UserError: they are others now, or the donor or the other runs had others.
    """
    if alike is not None:
        alike.check(now, "the experiment's other runs")
    if state.fingerprints is not None:
        state.fingerprints.check(now, f"the run in {folder}")
    if donor is not None and donor.fingerprints is not None:
        donor.fingerprints.check(now, f"the run in {donor.folder.path}, whose training is taken over")
    state.fingerprints = now
    state.conditions = state.conditions or conditions()
