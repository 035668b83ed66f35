"""Frozen trunk: train the head by gradient steps and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cl_forget.ground.errors import UserError
from cl_forget.mitigations.claim import Claim
from cl_forget.mitigations.protocol import Mitigation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cl_forget.models.base import FoundationModel
    from cl_forget.streams.base import Experience
    from cl_forget.training.context import Task
    from cl_forget.training.state import State


class FrozenTrunk(Mitigation):
    """The head is trained as in full fine-tuning, with the run's own optimiser; the trunk stays to the bit.

    `linear_probe` solves for the same head in closed form; this is what the training loop makes of it.
    """

    name = "frozen_trunk"
    place = "parameters"
    claims = frozenset({Claim.FROZEN_TRUNK})
    title = "Frozen trunk"
    formula = "min over the head only, by gradient steps"
    cost = "a small part of a plain step"
    advice = "As the control that cannot forget: what the head alone can learn by gradient steps."
    source = "Kumar et al. 2022, arXiv:2202.10054, §2"

    def check(self, model: FoundationModel, tasks: Sequence[Experience]) -> None:
        """Refuse a model whose tasks have no heads."""
        for task in tasks:
            if not model.head_parameters(task):
                raise UserError(f"'{model.spec}' has no head beside its trunk; use freeze instead.")

    def shape_parameters(self, task: Task, state: State) -> None:
        """Everything but the stage's heads is frozen."""
        heads = {name for experience in task.stage for name in task.model.head_parameters(experience)}
        if not heads:
            raise UserError(f"'{task.model.spec}' has no head beside its trunk; use freeze instead.")
        for name, parameter in task.model.named_parameters():
            parameter.requires_grad_(parameter.requires_grad and name in heads)
