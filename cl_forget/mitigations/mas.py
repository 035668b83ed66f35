"""MAS: stay near the weights of earlier tasks where the outputs are sensitive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from cl_forget.ground.lazy import torch
from cl_forget.mitigations.flyp import TEXT_TOWER_UNPROTECTED
from cl_forget.mitigations.protocol import Mitigation
from cl_forget.mitigations.shared import quadratic as _quadratic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from cl_forget.mitigations.protocol import Weights
    from cl_forget.models.base import Forward, Prepared
    from cl_forget.training.context import Task, Update


class MAS(Mitigation):
    """Adds `λ·Σ Ω(θ-θ*)²`, Ω = the mean over samples of `|∂‖f(x)‖² / ∂θ|`, f = the logits.

    Ω needs no labels. It is the mean of absolute *per-sample* gradients and is summed over tasks; all tasks
    together are one quadratic, added in closed form. Nothing is protected in the first task unless `prior`
    says on which data the pre-trained outputs are to be kept. A parameter without importance, such as the
    head of a new task, is free.

    Attributes:
        strength: λ; useful values span many decades.
        samples: how many samples Ω is estimated from, drawn at random; null takes all.
        centre: "latest" moves all importances to the weights after the last task, as published; "each" keeps
            every task's own weights.
        prior: data for Ω at θ0 before the first task: null for none, "task" for the first task's own training
            data, or the name of a suite or stream that generality is not measured on.
    """

    name = "mas"
    place = "gradient"
    knob = "strength"
    grid = (1e-2, 1e-1, 1.0, 10.0, 100.0)
    absent = 0.0
    needs_full_weights = True
    keeps = _quadratic.Quadratics
    conflicts = TEXT_TOWER_UNPROTECTED
    title = "MAS"
    formula = "loss + λ·Σ Ω(θ-θ*)², Ω = Σ_t mean|∂‖f(x)‖²/∂θ|"
    cost = "1.05 of a plain step, and one pass per task"
    advice = "Like ewc, without labels."
    source = "Aljundi et al. 2018, arXiv:1711.09601, §4.1"

    strength: float = Field(default=1.0, ge=0, description="λ")
    samples: int | None = Field(default=1000, ge=1, description="samples Ω is estimated from; null for all")
    centre: Literal["each", "latest"] = Field(
        default="latest", description="θ* of each task or of the latest"
    )
    prior: str | dict[str, Any] | None = Field(
        default=None, description="data for Ω at θ0: null, task, or a suite"
    )

    @property
    def needs_past(self) -> bool:
        """Unless a prior stands for the pre-training data."""
        return self.prior is None

    def references(self) -> Sequence[str | dict[str, Any]]:
        """The data that stand for the pre-training data."""
        return [] if self.prior in (None, "task") else [self.prior]

    def start_task(self, task: Task, state: _quadratic.Quadratics) -> None:
        """Before the first task: the sensitivities at θ0, if a prior is asked for."""
        if self.prior is not None and task.index == 0:
            data = _quadratic.prior_data(task, self.prior)
            pretrained = task.anchor("pretrained")
            _quadratic.merge(state, self._sensitivity(task, data, pretrained), pretrained, self.centre)

    def add_gradient(self, update: Update, state: _quadratic.Quadratics) -> None:
        """`grad += 2λ(Ωθ - Ωθ*)`."""
        _quadratic.add_gradient(update, state, self.strength)

    def end_task(self, task: Task, state: _quadratic.Quadratics) -> None:
        """Merge this task's quadratic into the others."""
        weights = task.model.state_dict()
        _quadratic.merge(state, self._sensitivity(task, task.sources, weights), weights, self.centre)

    def _sensitivity(self, task: Task, sources: list[Prepared], weights: Weights) -> Weights:
        from cl_forget.training.per_sample import PerSample, mean_per_sample

        names = _quadratic.trained_names(task, sources)
        generator = task.generator("mas samples")
        samples = PerSample(task.model, sources, names, self.samples, generator, weights, task.cost)
        return mean_per_sample(samples, _squared_norm, torch.abs)


def _squared_norm(forward: Forward) -> Tensor:
    """(batch,) squared norm of the logits, the mean over a sample's units."""
    return forward.per_sample(forward.logits.square().sum(-1))
