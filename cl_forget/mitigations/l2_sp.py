"""L2-SP: stay near the starting point in weight space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from cl_forget.ground.lazy import torch
from cl_forget.mitigations.protocol import Mitigation
from cl_forget.mitigations.shared.anchored import differences

if TYPE_CHECKING:
    from cl_forget.training.context import Update
    from cl_forget.training.state import State


class L2SP(Mitigation):
    """Adds `λ·Σ(θ-θ*)²`, a sum over every trainable parameter, not a mean.

    The gradient `2λ(θ-θ*)` is added in closed form; no autograd graph over the parameters is built. AdamW's
    own weight decay pulls towards 0 and stays a separate setting.

    Attributes:
        strength: λ; useful values span many decades.
        anchor: θ*: the pre-trained weights, or the weights at the start of the current task; a head that was probed
            first (`lp_ft`, `flow`) is held where the probe put it.
        head: whether the task's head is anchored, too, or free to move; the paper's starts at random and has no θ*.
    """

    name = "l2_sp"
    place = "gradient"
    knob = "strength"
    grid = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    absent = 0.0
    needs_full_weights = True
    later = frozenset({"head"})
    title = "L2-SP"
    formula = "loss + λ·Σ(θ-θ*)²"
    cost = "1.05 of a plain step"
    advice = "As the plainest anchor in weight space; sweep its strength over decades."
    source = "Li et al. 2018, arXiv:1802.01483, eq. 3; Lin et al., arXiv:2309.06256"

    strength: float = Field(default=1e-2, ge=0, description="λ")
    anchor: Literal["pretrained", "previous"] = Field(default="pretrained", description="θ*")

    head: Literal["anchored", "free"] = Field(default="anchored", description="the task's head")

    def add_gradient(self, update: Update, state: State) -> None:
        """`grad += 2λ(θ-θ*)`."""
        for gradients, difference in differences(update, self.anchor, heads=self.head == "anchored"):
            torch._foreach_add_(gradients, difference, alpha=2 * self.strength)
