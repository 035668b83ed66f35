"""A run whose fine-tuning another run takes over instead of repeating it."""

from __future__ import annotations

from pathlib import Path

from cl_forget.config.run import Run
from cl_forget.ground.errors import UserError
from cl_forget.streams import load_stream
from cl_forget.training.checkpoints import FollowedFolder, Stage, State


class Donor:
    """A run, finished or not, that starts with the fine-tuning of another one.

    Args:
        path: its folder.
        run: the run that takes over.

    Attributes:
        stages: how many stages it can give: all of them where both ask for the same fine-tuning, else those
            of the specs that both streams begin with, as far as they are trained.
        fingerprints: of the base model and the data it was trained on; None if it did not note them.

    Raises:
        UserError: it has nothing to give.
    """

    def __init__(self, path: Path, run: Run) -> None:
        self.folder = FollowedFolder(path)
        state = self.folder.state or State(key="")
        self._entries = [] if state.dropped else state.stages
        self.fingerprints = state.fingerprints
        shared = run.shared_specs(state.training_keys)
        if shared == len(run.specs()):
            self.stages = len(self._entries)
        else:
            self.stages = min(len(self._entries), len(load_stream(run.specs()[:shared])) if shared else 0)
        if not self.stages:
            raise UserError(f"{path} does not hold a run that starts with this fine-tuning; run without it.")

    def entry(self, index: int) -> Stage:
        """What its state says of stage `index`."""
        return self._entries[index]


def gives(path: Path, run: Run) -> bool:
    """Whether the run in a folder has training that `run` can take over."""
    try:
        Donor(path, run)
    except UserError:
        return False
    return True
