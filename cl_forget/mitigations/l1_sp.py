"""L1-SP: stay near the starting point in weight space, and leave most weights where they were."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from cl_forget.ground.lazy import torch
from cl_forget.mitigations.protocol import Mitigation
from cl_forget.mitigations.shared.anchored import differences

if TYPE_CHECKING:
    from cl_forget.training.context import Update
    from cl_forget.training.state import State


class L1SP(Mitigation):
    """Adds `λ·Σ|θ-θ*|`, a sum over every trainable parameter, not a mean.

    The subgradient `λ·sign(θ-θ*)`, 0 where θ = θ*, is added in closed form. AdamW rescales it with the rest
    of the gradient, so weights hover around θ* instead of standing on it. AdamW's own weight decay pulls
    towards 0 and stays a separate setting.

    Attributes:
        strength: λ.
        anchor: θ*: the pre-trained weights, or the weights at the start of the current task; a head that was probed
            first (`lp_ft`, `flow`) is held where the probe put it.
    """

    name = "l1_sp"
    place = "gradient"
    knob = "strength"
    grid = (0.04, 0.1, 0.4, 0.6, 1.0)
    absent = 0.0
    needs_full_weights = True
    title = "L1-SP"
    formula = "loss + λ·Σ|θ-θ*|"
    cost = "1.05 of a plain step"
    advice = "When few weights should change at all."
    source = "Lin et al. 2024, arXiv:2309.06256v4 (penalty and grid); Li et al. 2018, arXiv:1802.01483"

    strength: float = Field(default=0.1, ge=0, description="λ")
    anchor: Literal["pretrained", "previous"] = Field(default="pretrained", description="θ*")

    def add_gradient(self, update: Update, state: State) -> None:
        """`grad += λ·sign(θ-θ*)`."""
        for gradients, difference in differences(update, self.anchor):
            torch._foreach_sign_(difference)
            torch._foreach_add_(gradients, difference, alpha=self.strength)
