"""SI: stay near the weights of earlier tasks where moving lowered the loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from cl_forget.ground.lazy import torch
from cl_forget.mitigations.protocol import Mitigation
from cl_forget.mitigations.shared import quadratic as _quadratic

if TYPE_CHECKING:
    from torch import Tensor

    from cl_forget.training.context import Task, Update
    from cl_forget.training.state import Tensors


class Path(_quadratic.Quadratics):
    """What SI keeps: earlier tasks' quadratics, and the path of the task under way.

    Attributes:
        path: ω so far, by parameter.
        origin: the weights at the start of the task, by parameter.
        before, gradient: weights and gradient of the step under way, by parameter.
        step: its number.
    """

    path: Tensors
    origin: Tensors
    before: Tensors
    gradient: Tensors
    step: Tensor


class SynapticIntelligence(Mitigation):
    """Adds `λ·Σ Ω(θ-θ*)²`, Ω = Σ_t ω_t/(Δ_t²+ξ), ω_t = -Σ_steps g·Δθ, Δ_t = how far the task moved θ.

    ω is the path integral of the gradient g along training: how much each parameter's motion lowered the
    loss. g is the gradient at θ, before clipping and without this penalty. It costs four copies of the
    parameters while training and no pass over the data. Negative ω counts as 0: a negative importance would
    reward moving away. Nothing is protected in the first task; a parameter not trained before is free.

    Attributes:
        strength: λ (the paper's c).
        damping: ξ, keeps Ω finite where a parameter hardly moved; fine-tuning moves them little, so it sets
            the scale that λ belongs to.
        centre: "latest" moves all importances to the weights after the last task, as published; "each" keeps
            every task's own weights.
    """

    name = "si"
    place = "gradient"
    knob = "strength"
    grid = (0.1, 1.0, 10.0, 100.0, 1e3)
    absent = 0.0
    needs_full_weights = True
    keeps = Path
    title = "SI"
    formula = "loss + λ·Σ Ω(θ-θ*)², Ω = Σ_t ω_t/(Δ_t²+ξ)"
    cost = "1.06 of a plain step"
    advice = "Like ewc, with importance gathered while training."
    source = "Zenke et al. 2017, arXiv:1703.04200, eqs. 4-5"

    strength: float = Field(default=10.0, ge=0, description="λ")
    damping: float = Field(default=1e-3, gt=0, description="ξ")
    centre: Literal["each", "latest"] = Field(
        default="latest", description="θ* of each task or of the latest"
    )

    @property
    def needs_past(self) -> bool:
        """There is no earlier task to protect."""
        return True

    def add_gradient(self, update: Update, state: Path) -> None:
        """Keep gradient and weights of the step's first pass, then `grad += 2λ(Ωθ - Ωθ*)`."""
        from cl_forget.training.context import copy_parts

        # SAM takes the gradient twice; the first time is at the weights that training moves from.
        if "step" not in state or int(state.step) != update.number:
            parameters = update.parameters
            for name, value in zip(parameters.names, parameters.values, strict=True):
                if name not in state.path:
                    state.path[name] = torch.zeros_like(value)
                    state.origin[name] = value.clone()
                    state.before[name] = torch.empty_like(value)
                    state.gradient[name] = torch.empty_like(value)
            copy_parts(parameters.own(state.before), parameters.values)
            copy_parts(parameters.own(state.gradient), parameters.gradients)
            state.step = torch.tensor(update.number)
        _quadratic.add_gradient(update, state, self.strength)

    def after_step(self, update: Update, state: Path) -> None:
        """`ω -= g·Δθ`."""
        parameters = update.parameters
        moved_back = parameters.own(state.before)  # the next step writes it anew
        torch._foreach_sub_(moved_back, parameters.values)
        torch._foreach_addcmul_(parameters.own(state.path), parameters.own(state.gradient), moved_back)

    def end_task(self, task: Task, state: Path) -> None:
        """Merge this task's quadratic into the others and drop what only this task needed."""
        weights = task.model.state_dict()
        importance = {}
        for name, path in state.path.items():
            moved = weights[name] - state.origin[name]
            importance[name] = path.clamp_min(0) / (moved.square() + self.damping)
        for group in (state.path, state.origin, state.before, state.gradient):
            group.clear()
        state.pop("step", None)
        _quadratic.merge(state, importance, weights, self.centre)
