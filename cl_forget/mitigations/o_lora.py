"""O-LoRA: each task's low-rank update in directions the earlier ones did not use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from cl_forget.ground.lazy import torch
from cl_forget.mitigations.claim import Claim
from cl_forget.mitigations.protocol import Mitigation
from cl_forget.training.state import State

if TYPE_CHECKING:
    from cl_forget.models.base import FoundationModel
    from cl_forget.training.context import Task, Update
    from cl_forget.training.state import Tensors


class Directions(State):
    """The directions that earlier tasks use.

    Attributes:
        rows: (rank · earlier tasks, in) their A, by weight.
    """

    rows: Tensors


class OLoRA(Mitigation):
    """LoRA plus `λ·Σ_layers Σ_earlier tasks ‖A_old·Aᵀ‖₁`: new rows of A are pushed off the old ones.

    The first task is plain LoRA. After each task B·A is merged and A is kept. The penalty's gradient
    `λ·sign(A·A_oldᵀ)·A_old` is added in closed form.

    Attributes:
        strength: λ.
        rank: r of each task's adapters.
        alpha: a; the update is scaled by a/r.
        placement: which maps.
    """

    name = "o_lora"
    place = "parameters"
    knob = "strength"
    grid = (0.05, 0.5, 1.0, 2.0, 5.0)
    claims = frozenset({Claim.ADAPTER})
    keeps = Directions
    title = "O-LoRA"
    formula = "LoRA; loss + λ·Σ‖A_old·Aᵀ‖₁"
    cost = "as lora, plus one small product per layer and past task"
    advice = "For sequences of many tasks under LoRA."
    source = "Wang et al. 2023, arXiv:2310.14152, eq. 7-8"

    strength: float = Field(default=0.5, ge=0, description="λ")
    rank: int = Field(default=8, ge=1, le=1024, description="r")
    alpha: float = Field(default=16.0, gt=0, le=4096, description="a, the update is scaled by a/r")
    placement: Literal["all", "attention", "mlp"] = Field(default="all", description="which linear maps")

    @property
    def needs_past(self) -> bool:
        """The first task is plain LoRA."""
        return True

    def remarks(self, model: FoundationModel) -> list[str]:
        """What the adapters do not reach."""
        from cl_forget.mitigations.shared import adapters as _lora

        return _lora.remark(self.name, model)

    def shape_parameters(self, task: Task, state: Directions) -> None:
        """Insert new adapters, started as in LoRA."""
        from cl_forget.mitigations.shared import adapters as _lora

        _lora.insert(task, self.rank, self.alpha, self.placement, _lora.random_start(task))

    def add_gradient(self, update: Update, state: Directions) -> None:
        """`A.grad += λ·sign(A·A_oldᵀ)·A_old`."""
        from cl_forget.mitigations.shared import adapters as _lora
        from cl_forget.training.context import beside

        gradients = dict(zip(map(id, update.parameters.tensors), update.parameters.gradients, strict=True))
        for name, adapter in _lora.adapters(update.task.model).items():
            old = state.rows.get(name)  # (rank * earlier tasks, in)
            if old is not None:
                old = beside(old, adapter.down)
                overlap = (adapter.down @ old.T).sign()
                gradients[id(adapter.down)].addmm_(overlap, old, alpha=self.strength)

    def restore_parameters(self, task: Task, state: Directions) -> None:
        """Keep every A for the tasks to come, then merge."""
        from cl_forget.mitigations.shared import adapters as _lora

        for name, adapter in _lora.adapters(task.model).items():
            rows = adapter.down.detach().clone()
            state.rows[name] = torch.cat([state.rows[name], rows]) if name in state.rows else rows
        _lora.merge(task.model)
