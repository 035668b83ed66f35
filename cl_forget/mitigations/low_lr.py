"""A lower learning rate: the baseline every method has to beat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from cl_forget.mitigations.protocol import Mitigation

if TYPE_CHECKING:
    from cl_forget.models.base import FoundationModel


class LowLearningRate(Mitigation):
    """Plain fine-tuning at `factor·lr`: less forgetting for less learning, at no cost.

    Attributes:
        factor: on `train.lr`.
    """

    name = "low_lr"
    place = "parameters"
    knob = "factor"
    grid = (0.01, 0.03, 0.1, 0.3, 1.0)
    absent = 1.0
    needs_trunk = False
    title = "Low learning rate"
    formula = "lr' = factor·lr"
    cost = "1.00 of a plain step"
    advice = "As the baseline nobody should skip: ten times less learning rate is often half of the cure."
    source = "the usual baseline; Lin et al. 2023, arXiv:2309.06256"

    factor: float = Field(default=0.1, gt=0, le=1, description="on the learning rate")

    def learning_rate_factor(self, model: FoundationModel, parameter: str) -> float:
        """The same for every parameter."""
        return self.factor
