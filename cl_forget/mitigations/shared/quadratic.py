"""Quadratic penalties around the weights of earlier tasks, merged into one: what EWC, MAS and SI share.

    λ·Σ_t Σ_k F_t,k·(θ_k - θ*_t,k)² = λ·Σ_k (F̄_k·θ_k² - 2·b_k·θ_k) + constant,   F̄ = ΣF_t,   b = ΣF_t·θ*_t

so two tensors per parameter hold any number of tasks, and the gradient is `2λ(F̄θ - b)`. A parameter without
an entry (the head of a task not seen before) is free.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cl_forget.ground.lazy import torch
from cl_forget.training.state import State

if TYPE_CHECKING:
    from cl_forget.mitigations.protocol import Weights
    from cl_forget.models.base import Prepared
    from cl_forget.training.context import Task, Update
    from cl_forget.training.state import Tensors


class Quadratics(State):
    """All tasks' quadratics in one.

    Attributes:
        importance: F̄ by parameter.
        pull: b by parameter.
    """

    importance: Tensors
    pull: Tensors


def merge(state: Quadratics, importance: Weights, weights: Weights, centre: str) -> None:
    """Add a task's quadratic `Σ F(θ-θ*)²` to those in `state`.

    Args:
        state: of the mitigation; changed in place.
        importance: F by parameter.
        weights: θ*, the weights after the task.
        centre: "each": every task keeps a centre of its own; "latest": all importances move to `weights`.
    """
    for name, value in importance.items():
        known = state.importance.get(name)
        state.importance[name] = value.clone() if known is None else known + value
        if centre == "each":
            pull = value * weights[name].detach()
            state.pull[name] = pull if known is None else state.pull[name] + pull
    if centre == "latest":
        for name, value in state.importance.items():
            state.pull[name] = value * weights[name].detach()


def add_gradient(update: Update, state: Quadratics, strength: float) -> None:
    """`grad += 2λ(F̄θ - b)` on the parameters that have an entry."""
    from cl_forget.training.context import part_like

    parameters = update.parameters
    known, pulls = dict(state.importance), dict(state.pull)
    held = [
        (value, gradient, part_like(known[name], value), part_like(pulls[name], value))
        for name, value, gradient in zip(
            parameters.names, parameters.values, parameters.gradients, strict=True
        )
        if name in known
    ]
    if not held:
        return
    values, gradients, importance, pull = (list(column) for column in zip(*held, strict=True))
    torch._foreach_addcmul_(gradients, importance, values, 2 * strength)
    torch._foreach_add_(gradients, pull, alpha=-2 * strength)


def trained_names(task: Task, sources: list[Prepared]) -> list[str]:
    """The model's parameters that plain fine-tuning on `sources` updates, in the model's order."""
    wanted = {name for source in sources for name in task.model.tunable(source.experience)}
    return [name for name, _ in task.model.named_parameters() if name in wanted]


def prior_data(task: Task, prior: str | dict[str, Any]) -> list[Prepared]:
    """What stands for the pre-training data: the first task's own ("task"), or a named suite or stream."""
    return task.sources if prior == "task" else [task.reference(prior)]
