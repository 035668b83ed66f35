"""CLoRA: LoRA whose factors are pushed off random directions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from cl_forget.ground.lazy import torch
from cl_forget.mitigations.claim import Claim
from cl_forget.mitigations.protocol import Mitigation
from cl_forget.training.state import State

if TYPE_CHECKING:
    from torch import Tensor

    from cl_forget.models.base import FoundationModel
    from cl_forget.training.context import Task, Update
    from cl_forget.training.state import Tensors


class Subspaces(State):
    """The directions that a task's adapters are pushed off, by the weight they belong to.

    Attributes:
        inputs: P_in, (in, k), orthonormal columns.
        outputs: P_out, (out, k), orthonormal columns.
    """

    inputs: Tensors
    outputs: Tensors


class CLoRA(Mitigation):
    """LoRA plus `λ·Σ_layers (½‖A·P_in‖² + ½‖Bᵀ·P_out‖²)`: the update is small in k random directions on either side.

    P_in and P_out have k orthonormal columns, drawn anew for each weight and task and then fixed. Inputs along P_in
    find less of the update, and less of it comes out along P_out; so rank and ‖B·A‖ stay smaller than LoRA's at equal
    steps, and the two are best compared at equal ‖B·A‖. The gradients `λ·A·P_in·P_inᵀ` and `λ·P_out·P_outᵀ·B` are
    added in closed form. Strength 0 is LoRA.

    Attributes:
        strength: λ.
        columns: k; at most half of a map's width is taken, so that directions are left.
        rank: r.
        alpha: a; the update is scaled by a/r.
        placement: which maps.
    """

    name = "clora"
    place = "parameters"
    knob = "strength"
    grid = (0.01, 0.1, 1.0, 10.0)
    order = 1  # after `freeze`: what is frozen gets no adapter
    claims = frozenset({Claim.ADAPTER})
    keeps = Subspaces
    title = "CLoRA"
    formula = "LoRA; loss + λ·Σ(½‖A·P_in‖² + ½‖Bᵀ·P_out‖²)"
    cost = "as lora, plus four small products per layer"
    advice = "As lora, when the update itself is to be kept small in most directions."
    source = "Lu et al. 2024, arXiv:2410.16801"

    strength: float = Field(default=1.0, ge=0, allow_inf_nan=False, description="λ")
    columns: int = Field(default=512, ge=1, description="k, directions on either side")
    rank: int = Field(default=8, ge=1, le=1024, description="r")
    alpha: float = Field(default=16.0, gt=0, le=4096, description="a, the update is scaled by a/r")
    placement: Literal["all", "attention", "mlp"] = Field(default="all", description="which linear maps")

    def remarks(self, model: FoundationModel) -> list[str]:
        """What the adapters do not reach."""
        from cl_forget.mitigations.shared import adapters as _lora

        return _lora.remark(self.name, model, experts=True)

    def shape_parameters(self, task: Task, state: Subspaces) -> None:
        """Insert adapters, started as in LoRA, and draw their directions; a resumed task has these in its state."""
        from cl_forget.mitigations.shared import adapters as _lora

        _lora.insert(task, self.rank, self.alpha, self.placement, _lora.random_start(task), experts=True)
        if not task.resumed:
            for name, adapter in _lora.adapters(task.model).items():
                state.inputs[name] = self._directions(task, f"clora in {name}", adapter.down, -1)
                state.outputs[name] = self._directions(task, f"clora out {name}", adapter.up, -2)

    def _directions(self, task: Task, purpose: str, factor: Tensor, dim: int) -> Tensor:
        """(width, k) orthonormal columns for a factor's side `dim`."""
        width = factor.shape[dim]
        shape = (width, min(self.columns, max(1, width // 2)))
        drawn = torch.randn(shape, generator=task.generator(purpose), dtype=torch.float64)
        return torch.linalg.qr(drawn).Q.to(factor)

    def add_gradient(self, update: Update, state: Subspaces) -> None:
        """`A.grad += λ·A·P_in·P_inᵀ`, `B.grad += λ·P_out·P_outᵀ·B`."""
        from cl_forget.mitigations.shared import adapters as _lora
        from cl_forget.training.context import beside

        gradients = dict(zip(map(id, update.parameters.tensors), update.parameters.gradients, strict=True))
        for name, adapter in _lora.adapters(update.task.model).items():
            inputs = beside(state.inputs[name], adapter.down)
            outputs = beside(state.outputs[name], adapter.up)
            gradients[id(adapter.down)].add_(adapter.down @ inputs @ inputs.T, alpha=self.strength)
            gradients[id(adapter.up)].add_(outputs @ (outputs.T @ adapter.up), alpha=self.strength)

    def restore_parameters(self, task: Task, state: Subspaces) -> None:
        """Merge the adapters; the next task has directions of its own."""
        from cl_forget.mitigations.shared import adapters as _lora

        _lora.merge(task.model)
        state.clear()
