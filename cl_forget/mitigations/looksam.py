"""LookSAM: SAM whose second pass is taken every k-th step only."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from pydantic import Field

from cl_forget.ground.lazy import torch
from cl_forget.mitigations.claim import Claim
from cl_forget.mitigations.protocol import Mitigation
from cl_forget.mitigations.shared.sharpness import TINY, dot, gradient_at, norm
from cl_forget.training.state import State

if TYPE_CHECKING:
    from torch import Tensor

    from cl_forget.training.context import Task, Update
    from cl_forget.training.state import Tensors


class Across(State):
    """What the last SAM step added.

    Attributes:
        across: g_v by parameter.
    """

    across: Tensors


class LookSAM(Mitigation):
    """Every k-th step is SAM's; the steps between re-use what SAM added to the gradient then.

    On a SAM step, the gradient `g_s` at `θ + ρ·g/‖g‖` is split into a part along g and the rest,
    `g_v = g_s - (g·g_s/‖g‖²)·g`. The other steps take `g + α·(‖g‖/‖g_v‖)·g_v`. All norms are over all
    trainable parameters together. A step costs 1 + 1/k plain ones on average.

    Attributes:
        rho: ρ, the distance in weight space.
        every: k; 1 is SAM.
        alpha: α, the weight of the re-used part.
    """

    name = "looksam"
    place = "step"
    knob = "rho"
    grid = (0.01, 0.05, 0.1, 0.5, 2.0)
    absent = 0.0
    claims = frozenset({Claim.GRADIENT_POINT})
    keeps = Across
    title = "LookSAM"
    formula = "every k-th step SAM; else g + α·(‖g‖/‖g_v‖)·g_v"
    cost = "1 + 1/k of a plain step"
    advice = "As sam, when twice the cost is too much."
    source = "Liu et al. 2022, arXiv:2203.02714, algorithm 1"

    rho: float = Field(default=0.05, ge=0, le=100, description="ρ, the distance in weight space")
    every: int = Field(default=5, ge=1, le=1000, description="k, steps from one SAM step to the next")
    alpha: float = Field(default=0.7, ge=0, le=10, description="α, weight of the re-used part")

    def passes_per_step(self, steps: float) -> float:
        """SAM's two in the first step of a task and in every k-th after it."""
        return 1 + (1 / self.every if math.isinf(steps) else math.ceil(steps / self.every) / steps)

    def around_gradient(self, update: Update, gradient: Callable[[], Tensor], state: Across) -> Tensor:
        """SAM's gradient every k-th step, else the plain one plus the scaled kept part."""
        loss = gradient()
        parameters = update.parameters
        g = parameters.gradients
        length = norm(g)
        if update.number % self.every == 0:
            gradient_at(update, torch._foreach_mul(g, self.rho / (length + TINY)), gradient)
            g_s = parameters.gradients
            along = dot(g, g_s) / (length.square() + TINY**2)
            across = list(torch._foreach_sub(g_s, torch._foreach_mul(g, along)))
            state.across.update(zip(parameters.names, across, strict=True))
        else:
            across = parameters.align(dict(state.across))
            factor = self.alpha * length / (norm(across) + TINY)
            torch._foreach_add_(parameters.gradients, torch._foreach_mul(across, factor))
        return loss

    def finish_training(self, task: Task, state: Across) -> None:
        """The next task begins with a SAM step of its own."""
        state.clear()
