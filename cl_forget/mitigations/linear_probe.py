"""Linear probe: leave the trunk alone, fit the head."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cl_forget.mitigations.claim import Claim
from cl_forget.mitigations.protocol import Mitigation

if TYPE_CHECKING:
    from cl_forget.training.context import Task
    from cl_forget.training.state import State


class LinearProbe(Mitigation):
    """Fits each task's head on the frozen trunk's features and trains nothing else: no forgetting at all.

    The head is the solution of regularised multinomial logistic regression on cached, normalised features
    (C chosen from 1, 10, ... 1e5 on a tenth of the training data), so no image passes the trunk twice.
    """

    name = "linear_probe"
    place = "parameters"
    claims = frozenset({Claim.FROZEN_TRUNK, Claim.HEAD})
    trains_nothing = True
    title = "Linear probe"
    formula = "min over the head only"
    cost = "one pass of the frozen trunk, then a convex problem"
    advice = "First of all: if it is good enough, nothing needs to be forgotten."
    source = "Radford et al. 2021, arXiv:2103.00020, §3.2"

    def shape_parameters(self, task: Task, state: State) -> None:
        """Nothing is trained by gradient steps."""
        task.model.requires_grad_(False)

    def finish_training(self, task: Task, state: State) -> None:
        """Fit the head of every experience of the stage."""
        from cl_forget.training.head import fit_heads

        fit_heads(task)
