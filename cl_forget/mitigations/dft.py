"""DFT: learn a token in proportion to its probability."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from cl_forget.ground.lazy import torch
from cl_forget.mitigations.protocol import Mitigation

if TYPE_CHECKING:
    from torch import Tensor

    from cl_forget.training.context import Step
    from cl_forget.training.state import State


class DFT(Mitigation):
    """Multiplies each unit's loss by `p_θ^a`, the probability that the live model gives the target, no gradient.

    The gradient of a cross-entropy is that of the probability divided by the probability, so units that the model
    finds unlikely pull hardest; at a = 1 that division is undone, and what is minimised is -Σ p_θ. A unit is a token
    of a response or an image of a classifier. Label smoothing is part of the loss and not of the weight.

    The authors take one mean over all tokens of a batch; here each sample has its own mean, as in every other loss.

    Attributes:
        exponent: a; 1 is the paper's weight, 0 plain cross-entropy.
    """

    name = "dft"
    place = "data"
    knob = "exponent"
    grid = (0.25, 0.5, 1.0, 2.0)
    absent = 0.0
    conflicts = dict.fromkeys(("flyp", "flyp_ce"), "it replaces the cross-entropy that dft weights")
    title = "DFT"
    formula = "unit loss · p_θ^a, no gradient through p_θ"
    cost = "1.00 of a plain step; 1.02 with a vocabulary of 32,000"
    advice = "For language models, when the demonstrations are far from what the model would say."
    source = "Wu et al. 2025, arXiv:2508.05629"

    exponent: float = Field(default=1.0, ge=0, le=10, description="a")

    def unit_weights(self, step: Step, state: State) -> Tensor | None:
        """(units,) weights in [0, 1]."""
        return target_probability(step) ** self.exponent


def target_probability(step: Step) -> Tensor:
    """(units,) what the live model gives the targets, without gradient."""
    with torch.no_grad():
        return (-step.forward.unit_losses()).exp()
