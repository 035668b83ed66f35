"""Early stopping: end a task when its validation data say so, and keep the best weights."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from cl_forget.ground.lazy import torch
from cl_forget.mitigations.flyp import HEAD_MADE_ANEW
from cl_forget.mitigations.protocol import Mitigation
from cl_forget.training.state import State

if TYPE_CHECKING:
    from torch import Tensor

    from cl_forget.training.context import Task, Update
    from cl_forget.training.state import Tensors


class Checks(State):
    """What the checks of a task have found.

    Attributes:
        score: the best so far.
        stale: checks since then.
        best: the weights then, by name.
    """

    score: Tensor
    stale: Tensor
    best: Tensors


class EarlyStopping(Mitigation):
    """Checks the task's *validation* data now and then; stops after `patience` checks without a new best.

    The task ends with the weights of the best check, adapters and BatchNorm statistics included. The
    learning-rate schedule stays that of the whole task. The passes count as forward passes of training.

    Attributes:
        patience: checks without a new best before training stops.
        every: optimiser steps between checks; null checks once an epoch. The last step is always checked.
        measure: what is compared: accuracy (higher is better; of a text, the share of its tokens that are
            the likeliest ones) or loss (lower is better).
    """

    name = "early_stopping"
    place = "parameters"
    knob = "patience"
    grid = (1, 2, 3, 5, 10)
    needs_trunk = False
    keeps = Checks
    conflicts = {  # noqa: RUF012
        "zscl": "zscl ends a task with the average of its weights and not with those of a check",
        **HEAD_MADE_ANEW,
    }
    needs_validation = True
    title = "Early stopping"
    formula = "θ at the best check on the task's validation data"
    cost = "one pass over the validation data per check"
    advice = "When a task overfits; as a baseline that every other method has to beat at equal cost."
    source = "Prechelt 1998, doi:10.1007/3-540-49430-8_3"

    patience: int = Field(default=2, ge=1, le=10_000, description="checks without a new best")
    every: int | None = Field(default=None, ge=1, description="steps between checks; null: once an epoch")
    measure: Literal["accuracy", "loss"] = Field(default="accuracy", description="what is compared")

    def should_stop(self, update: Update, state: Checks) -> bool:
        """Check if it is time to; keep the weights of a new best."""
        task, done = update.task, update.number + 1
        if done % self._interval(task) and done < task.steps:
            return False
        score = self._score(task)
        if "score" not in state or bool(score > state.score):
            state.score, state.stale = score, torch.tensor(0)
            for name, value in _kept(update).items():
                state.best[name] = value.detach().clone()
        else:
            state.stale = state.stale + 1
        return int(state.stale) >= self.patience

    def _interval(self, task: Task) -> int:
        return self.every or sum(math.ceil(len(source) / task.batch_size) for source in task.sources)

    def _score(self, task: Task) -> Tensor:
        """Mean over the stage's experiences of accuracy or minus the loss, in eval mode."""
        from cl_forget.models.base import evaluating

        scores = []
        with torch.no_grad(), evaluating(task.model):
            for samples in task.validation:
                parts = []
                for batch in samples.batches(256):
                    forward = task.model(batch)
                    right = (forward.logits.argmax(1) == forward.targets).double()
                    unit = right if self.measure == "accuracy" else -forward.unit_losses().double()
                    parts.append(forward.per_sample(unit))
                task.cost.forward_samples += len(samples)
                scores.append(torch.cat(parts).mean())
        return torch.stack(scores).mean()

    def finish_training(self, task: Task, state: Checks) -> None:
        """Go back to the best weights."""
        tensors = {**dict(task.model.named_parameters()), **dict(task.model.named_buffers())}
        with torch.no_grad():
            for name, value in state.best.items():
                tensors[name].copy_(value)
        state.clear()


def _kept(update: Update) -> dict[str, Tensor]:
    """What changes in training: the trainable parameters and the buffers."""
    parameters = dict(zip(update.parameters.names, update.parameters.tensors, strict=True))
    return {**parameters, **dict(update.task.model.named_buffers())}
