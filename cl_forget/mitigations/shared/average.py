"""A running average of the weights that a task trains: what EMA ends with and what SDFT's teacher is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cl_forget.ground.lazy import torch
from cl_forget.training.state import State

if TYPE_CHECKING:
    from cl_forget.training.context import Update
    from cl_forget.training.state import Tensors


class Average(State):
    """The running average of a task's weights.

    Attributes:
        average: what is trained, by name.
    """

    average: Tensors


def begin(update: Update, state: Average) -> None:
    """Before the first step: the average starts from the weights as they are."""
    if not state.average:
        values = zip(update.parameters.names, update.parameters.values, strict=True)
        state.average.update((name, value.clone()) for name, value in values)


def follow(update: Update, state: Average, share: float) -> None:
    """After a step: `θ̄ ← θ̄ + share·(θ-θ̄)`."""
    parameters = update.parameters
    # a checkpoint holds the average whole; where the weights are sharded, this worker keeps its part of it
    average = parameters.align(dict(state.average))
    torch._foreach_lerp_(average, parameters.values, share)
    state.average.update(zip(parameters.names, average, strict=True))
