"""SI: stay near the weights of earlier tasks where moving lowered the loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from cl_forget.ground.lazy import torch
from cl_forget.mitigations.protocol import Mitigation
from cl_forget.mitigations.shared import quadratic as _quadratic

if TYPE_CHECKING:
    from torch import Tensor

    from cl_forget.mitigations.protocol import State
    from cl_forget.training.context import Task, Update


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
    whole_only = "it follows each weight along the path of training"
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

    def start_task(self, task: Task, state: State) -> None:
        """Bring restored tensors to the model's device."""
        _quadratic.to_device(task, state)

    def add_gradient(self, update: Update, state: State) -> None:
        """Keep gradient and weights of the step's first pass, then `grad += 2λ(Ωθ - Ωθ*)`."""
        # SAM takes the gradient twice; the first time is at the weights that training moves from.
        if int(state.get("step", torch.tensor(-1))) != update.number:
            parameters = update.parameters
            for name, value in zip(parameters.names, parameters.values, strict=True):
                if "path/" + name not in state:
                    state["path/" + name] = torch.zeros_like(value)
                    state["origin/" + name] = value.clone()
                    state["before/" + name] = torch.empty_like(value)
                    state["gradient/" + name] = torch.empty_like(value)
            torch._foreach_copy_(_kind(state, "before/", update), parameters.values)
            torch._foreach_copy_(_kind(state, "gradient/", update), parameters.gradients)
            state["step"] = torch.tensor(update.number)
        _quadratic.add_gradient(update, state, self.strength)

    def after_step(self, update: Update, state: State) -> None:
        """`ω -= g·Δθ`."""
        moved_back = _kind(state, "before/", update)  # the next step writes it anew
        torch._foreach_sub_(moved_back, update.parameters.values)
        torch._foreach_addcmul_(_kind(state, "path/", update), _kind(state, "gradient/", update), moved_back)

    def end_task(self, task: Task, state: State) -> None:
        """Merge this task's quadratic into the others and drop what only this task needed."""
        weights = task.model.state_dict()
        importance = {}
        for key in [key for key in state if key.startswith("path/")]:
            name = key.removeprefix("path/")
            moved = weights[name] - state["origin/" + name]
            importance[name] = state[key].clamp_min(0) / (moved.square() + self.damping)
        for key in [key for key in state if not key.startswith((_quadratic.IMPORTANCE, _quadratic.PULL))]:
            del state[key]
        _quadratic.merge(state, importance, weights, self.centre)


def _kind(state: State, kind: str, update: Update) -> list[Tensor]:
    """The entries of one kind, in the order of the parameters."""
    return [state[kind + name] for name in update.parameters.names]
