"""EWC: stay near the weights of earlier tasks where their likelihood is sensitive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from cl_forget.mitigations.flyp import TEXT_TOWER_UNPROTECTED
from cl_forget.mitigations.protocol import Mitigation
from cl_forget.mitigations.shared import quadratic as _quadratic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cl_forget.mitigations.protocol import Weights
    from cl_forget.models.base import Prepared
    from cl_forget.training.context import Task, Update


class EWC(Mitigation):
    """Adds `λ·Σ_t Σ F_t(θ-θ*_t)²`, F_t = the diagonal Fisher information of task t at its own solution θ*_t.

    F is the mean over samples of the squared *per-sample* gradients of the log-likelihood, so λ means the
    same at every batch size. All tasks together are one quadratic, kept as ΣF_t and ΣF_t·θ*_t: memory and
    time do not grow with the number of tasks. The gradient `2λ(ΣF_t·θ - ΣF_t·θ*_t)` is added in closed form.

    What is protected in the first task of a sequence: nothing, unless `prior` says what stands for the
    pre-training data, whose Fisher information is not available. A parameter without Fisher entries, such as
    the head of a new task, is free. AdamW's own weight decay pulls towards 0 and stays a separate setting.

    Attributes:
        strength: λ; useful values span many decades. The original paper writes λ/2.
        fisher: "empirical" takes the data's labels; "true" draws labels from the model's own predictions.
        samples: how many samples F is estimated from, drawn at random; null takes all.
        centre: "each" keeps θ*_t for every task, as published; "latest" moves all importances to the weights
            after the last task.
        prior: the Fisher information at θ0 that the sequence starts with: null for none, "task" for the first
            task's own training data (a stand-in: it protects what this task uses, not what θ0 knows), or the
            name of a suite or stream whose data stand for the pre-training data; it should not be a suite
            that generality is measured on.
    """

    name = "ewc"
    place = "gradient"
    knob = "strength"
    grid = (1.0, 10.0, 100.0, 1e3, 1e4, 1e5)
    absent = 0.0
    needs_full_weights = True
    keeps = _quadratic.Quadratics
    conflicts = TEXT_TOWER_UNPROTECTED
    title = "EWC"
    formula = "loss + λ·Σ_t Σ F_t(θ-θ*_t)²"
    cost = "1.05 of a plain step, and one Fisher pass per task"
    advice = (
        "In sequences, when some weights matter more than others; its first task is unprotected "
        "without reference data."
    )
    source = "Kirkpatrick et al. 2017, arXiv:1612.00796, eq. 3; merging: Huszár 2018, arXiv:1712.03847"

    strength: float = Field(default=100.0, ge=0, description="λ")
    fisher: Literal["empirical", "true"] = Field(
        default="empirical", description="labels of the data or the model's"
    )
    samples: int | None = Field(default=1000, ge=1, description="samples F is estimated from; null for all")
    centre: Literal["each", "latest"] = Field(default="each", description="θ* of each task or of the latest")
    prior: str | dict[str, Any] | None = Field(
        default=None, description="data for F at θ0: null, task, or a suite"
    )

    @property
    def needs_past(self) -> bool:
        """Unless a prior stands for the pre-training data."""
        return self.prior is None

    def references(self) -> Sequence[str | dict[str, Any]]:
        """The data that stand for the pre-training data."""
        return [] if self.prior in (None, "task") else [self.prior]

    def start_task(self, task: Task, state: _quadratic.Quadratics) -> None:
        """Before the first task: the Fisher information at θ0, if a prior is asked for."""
        if self.prior is not None and task.index == 0:
            data = _quadratic.prior_data(task, self.prior)
            pretrained = task.anchor("pretrained")
            _quadratic.merge(state, self._fisher(task, data, pretrained), pretrained, self.centre)

    def add_gradient(self, update: Update, state: _quadratic.Quadratics) -> None:
        """`grad += 2λ(F̄θ - b)`."""
        _quadratic.add_gradient(update, state, self.strength)

    def end_task(self, task: Task, state: _quadratic.Quadratics) -> None:
        """Merge this task's quadratic into the others."""
        weights = task.model.state_dict()
        _quadratic.merge(state, self._fisher(task, task.sources, weights), weights, self.centre)

    def _fisher(self, task: Task, sources: list[Prepared], weights: Weights) -> Weights:
        from cl_forget.training.per_sample import PerSample, fisher

        names = _quadratic.trained_names(task, sources)
        generator = task.generator("ewc fisher")
        samples = PerSample(task.model, sources, names, self.samples, generator, weights, task.cost)
        return fisher(samples, self.fisher)
