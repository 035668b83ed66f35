"""LoRA: train low-rank changes of the linear maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from cl_forget.mitigations.claim import Claim
from cl_forget.mitigations.protocol import Mitigation

if TYPE_CHECKING:
    from cl_forget.models.base import FoundationModel
    from cl_forget.training.context import Task
    from cl_forget.training.state import State


class LoRA(Mitigation):
    """Every linear map of the blocks becomes `W0 + (a/r)·B·A`; A, B and the head are trained, W0 is not.

    That includes attention's input projection, also where it is a bare `in_proj_weight`, and the maps of a mixture's
    experts, each with an adapter of its own; its router stays. A starts uniform in
    ±1/√in, B at zero, so training starts from W0. After each task B·A is merged, and the next task gets
    adapters of its own. Biases, norms, embeddings and what comes after the blocks stay as they are.

    Attributes:
        rank: r.
        alpha: a; the update is scaled by a/r.
        placement: which maps; those of the MLPs alone often forget less.
    """

    name = "lora"
    place = "parameters"
    knob = "rank"
    grid = (4, 8, 16, 32, 64)
    claims = frozenset({Claim.ADAPTER})
    title = "LoRA"
    formula = "W0 + (a/r)·B·A"
    cost = "below a plain step; adapters only in the optimiser"
    advice = (
        "When memory is short, or many tasks must share one base; forgets less than full fine-tuning "
        "at low rank, and learns less."
    )
    source = "Hu et al. 2021, arXiv:2106.09685, eq. 3"

    rank: int = Field(default=8, ge=1, le=1024, description="r")
    alpha: float = Field(default=16.0, gt=0, le=4096, description="a, the update is scaled by a/r")
    placement: Literal["all", "attention", "mlp"] = Field(default="all", description="which linear maps")

    def remarks(self, model: FoundationModel) -> list[str]:
        """What the adapters do not reach."""
        from cl_forget.mitigations.shared import adapters as _lora

        return _lora.remark(self.name, model, experts=True)

    def shape_parameters(self, task: Task, state: State) -> None:
        """Insert the adapters."""
        from cl_forget.mitigations.shared import adapters as _lora

        _lora.insert(task, self.rank, self.alpha, self.placement, _lora.random_start(task), experts=True)

    def restore_parameters(self, task: Task, state: State) -> None:
        """Merge them."""
        from cl_forget.mitigations.shared import adapters as _lora

        _lora.merge(task.model)
