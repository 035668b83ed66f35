"""EMA: end each task with a running average of its weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pydantic import Field

from cl_forget.ground.lazy import torch
from cl_forget.mitigations.protocol import Mitigation
from cl_forget.mitigations.shared import average as _average

if TYPE_CHECKING:
    from cl_forget.training.context import Task, Update


class EMA(Mitigation):
    """`θ̄ ← d·θ̄ + (1-d)·θ` after every step, from the weights that the task starts with; the task ends with θ̄.

    After n steps the start has the share dⁿ, so a decay near 1 on a short task is also an average with the start, as
    WiSE-FT takes it after the fact; from about 1/(1-d) steps on it is the mean of the last ones. What is evaluated,
    exported and started from in the next task is θ̄; the optimiser and what other methods measure while the task runs
    see θ. What is trained is averaged: of LoRA the two factors, not their product. BatchNorm running statistics are
    those of the last step (the run says so; add `batch_norm` for those of θ̄).

    Attributes:
        decay: d; 0 is the last step's weights.
    """

    name = "ema"
    place = "step"
    knob = "decay"
    grid = (0.5, 0.9, 0.99, 0.999)
    absent = 0.0
    keeps = _average.Average
    conflicts = dict.fromkeys(
        ("early_stopping", "zscl"), "both choose the weights that a task ends with from those along its way"
    )
    title = "EMA"
    formula = "θ̄ ← d·θ̄ + (1-d)·θ after each step; the task ends with θ̄"
    cost = "one more set of trained weights, and one pass over them per step"
    advice = "When the last steps are noisy, or as averaging that needs no second model."
    source = "Polyak & Juditsky 1992, doi:10.1137/0330046; Izmailov et al. 2018, arXiv:1803.05407"

    decay: float = Field(default=0.99, ge=0, lt=1, description="d")

    @property
    def averages(self) -> bool:
        """Unless it is absent."""
        return self.decay > 0

    def start_task(self, task: Task, state: _average.Average) -> None:
        """The average of the task before is that task's result."""
        state.clear()

    def around_update(self, update: Update, apply: Callable[[], None], state: _average.Average) -> None:
        """Before the first step: the weights that the average starts from."""
        _average.begin(update, state)
        apply()

    def after_step(self, update: Update, state: _average.Average) -> None:
        """The new weights enter the average."""
        _average.follow(update, state, 1 - self.decay)

    def finish_training(self, task: Task, state: _average.Average) -> None:
        """The average is the task's result."""
        with torch.no_grad():
            for name in list(state.average):
                task.model.get_parameter(name).copy_(state.average.pop(name))
