"""SAM: step with the gradient from the worst point nearby."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pydantic import Field

from cl_forget.ground.lazy import torch
from cl_forget.mitigations.claim import Claim
from cl_forget.mitigations.protocol import Mitigation
from cl_forget.mitigations.shared.sharpness import TINY, gradient_at, norm

if TYPE_CHECKING:
    from torch import Tensor

    from cl_forget.training.context import Update
    from cl_forget.training.state import State


class SAM(Mitigation):
    """Steps with the gradient at `θ + ε`, `ε = ρ·g/‖g‖₂`, instead of the one at θ.

    ‖g‖ is the norm over all trainable parameters together. Both passes see the same objective: the same
    micro-batches, augmentation, dropout masks and penalties. The second pass leaves BatchNorm's running
    statistics alone. A step costs two; compare at equal steps *and* at equal compute.

    Attributes:
        rho: ρ, the distance in weight space. Values published under norms per tensor or per shard do not
            carry over.
    """

    name = "sam"
    place = "step"
    knob = "rho"
    grid = (0.01, 0.05, 0.1, 0.5, 2.0)
    absent = 0.0
    claims = frozenset({Claim.GRADIENT_POINT})
    title = "SAM"
    formula = "step along ∇L(θ + ρ·g/‖g‖₂)"
    cost = "2.0 of a plain step"
    advice = "When flatness is wanted; compare at equal compute, not only at equal steps."
    source = "Foret et al. 2021, arXiv:2010.01412, eq. 2; Li et al. 2024, arXiv:2406.04836"

    rho: float = Field(default=0.05, ge=0, le=100, description="ρ, the distance in weight space")

    def passes_per_step(self, steps: float) -> float:
        """One for the direction, one for the step."""
        return 2.0

    def around_gradient(self, update: Update, gradient: Callable[[], Tensor], state: State) -> Tensor:
        """The gradient at θ for the direction, then the one to step with; returns the loss at θ."""
        loss = gradient()
        g = update.parameters.gradients
        perturbation = torch._foreach_mul(g, self.rho / (norm(g) + TINY))
        gradient_at(update, perturbation, gradient)
        return loss
