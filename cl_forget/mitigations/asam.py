"""ASAM: SAM in a neighbourhood that scales with the weights."""

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


class ASAM(Mitigation):
    """Steps with the gradient at `θ + ε`, `ε = ρ·T²g/‖T·g‖₂`, `T = |θ| + η` for weights and 1 for biases.

    Re-scaling a layer and its successor, which leaves the function as it is, leaves this sharpness as it is
    too. Everything else is as in SAM; useful ρ are about ten times larger. As in the authors' code, T is
    |θ| + η for parameters that are called a weight and 1 for all others.

    Attributes:
        rho: ρ, the relative distance.
        eta: η, keeps weights near 0 from being left out.
    """

    name = "asam"
    place = "step"
    knob = "rho"
    grid = (0.1, 0.5, 1.0, 2.0, 5.0)
    absent = 0.0
    claims = frozenset({Claim.GRADIENT_POINT})
    title = "ASAM"
    formula = "step along ∇L(θ + ρ·T²g/‖T·g‖₂), T = |θ| + η"
    cost = "2.0 of a plain step"
    advice = "As sam, for models whose layers differ much in scale."
    source = "Kwon et al. 2021, arXiv:2102.11600, algorithm 1"

    rho: float = Field(default=0.5, ge=0, le=1000, description="ρ, the relative distance")
    eta: float = Field(default=0.01, ge=0, le=10, description="η, added to |θ|")

    def passes_per_step(self, steps: float) -> float:
        """One for the direction, one for the step."""
        return 2.0

    def around_gradient(self, update: Update, gradient: Callable[[], Tensor], state: State) -> Tensor:
        """The gradient at θ for the direction, then the one to step with; returns the loss at θ."""
        loss = gradient()
        parameters = update.parameters
        scale = [
            value.abs() + self.eta if is_weight(name) else torch.ones_like(value)
            for name, value in zip(parameters.names, parameters.values, strict=True)
        ]
        scaled = torch._foreach_mul(parameters.gradients, scale)  # T·g
        perturbation = torch._foreach_mul(torch._foreach_mul(scaled, scale), self.rho / (norm(scaled) + TINY))
        gradient_at(update, perturbation, gradient)
        return loss


def is_weight(name: str) -> bool:
    """Whether a parameter is called a weight, as `fc.weight`, `in_proj_weight`, an adapter's `down_weights.0`."""
    return any(part.endswith(("weight", "weights")) for part in name.split("."))
