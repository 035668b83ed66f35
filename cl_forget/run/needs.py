"""What a run needs of the machine: memory and disk, reckoned from the model and the data before it begins."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cl_forget.streams.base import Experience

if TYPE_CHECKING:
    from cl_forget.models.base import FoundationModel

COPIES = 4  # of all weights: the pre-trained model, its weights, the tuned model, where the task began
MOMENTS = 2  # that AdamW keeps of every trained parameter


class Needs(NamedTuple):
    """What a run needs, in MiB.

    Attributes:
        memory: at least: weights, gradients, the optimiser's moments and the data; activations come on top.
        disk: at most at a time: a checkpoint after each task, and one of the task under way.
        free: what the disk has left.
    """

    memory: float
    disk: float
    free: float

    def line(self) -> str:
        """For people."""
        short = "" if self.disk <= self.free else ": too little, choose another --output"
        return (
            f"needs at least {_size(self.memory)} of memory for weights and data, and up to {_size(self.disk)} "
            f"of disk per run ({_size(self.free)} are free{short})"
        )


def needs(
    model: FoundationModel, tasks: Sequence[Experience], others: Sequence[Experience], folder: Path
) -> Needs:
    """Memory and disk of a run.

    Args:
        model: with a head for every task.
        tasks: of the stream.
        others: suites and probes.
        folder: where the run will lie, or a folder above it.
    """
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    names = {name for task in tasks for name in model.tunable(task)}
    trained = sum(p.nbytes for name, p in model.named_parameters() if name in names)
    data = sum(model.memory_of(own) for e in (*tasks, *others) for own in e.splits().values())
    memory = COPIES * weights + (1 + MOMENTS) * trained + data
    disk = (len(tasks) + 1) * weights + MOMENTS * trained
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    return Needs(memory / 2**20, disk / 2**20, shutil.disk_usage(place).free / 2**20)


def _size(mebibytes: float) -> str:
    return f"{mebibytes:,.0f} MiB" if mebibytes < 10 * 2**10 else f"{mebibytes / 2**10:,.1f} GiB"
