"""OSF: fix the leading singular directions of every weight, and train the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from cl_forget.mitigations.claim import Claim
from cl_forget.mitigations.protocol import Mitigation

if TYPE_CHECKING:
    from cl_forget.models.base import FoundationModel
    from cl_forget.training.context import Task
    from cl_forget.training.state import State


class OSF(Mitigation):
    """Every linear map of the blocks is split, `W = U_h·S_h·V_h + U·S·V`, and only U, S and V are trained.

    U_h, S_h and V_h are the share `keep` of its singular directions that is largest. The gradients of U and V are
    projected, `∂U - U_h·U_hᵀ·∂U` and `∂V - ∂V·V_hᵀ·V_h`, so that they have no part in these directions. Each task
    starts from a decomposition of its own, of the weights as the tasks before left them; heads are trained as ever.

    The gradients are projected and not the steps, as in the authors' code and in peft's, which does it here: AdamW
    scales entries one by one, so that some of each step does reach the fixed directions. The authors keep more of a
    layer the more it matters, and more with every task; here `keep` is one share for all. `train.weight_decay`
    shrinks U, S and V, and with them what the lesser directions of W were.

    Attributes:
        keep: the share of each weight's singular directions that is fixed, at least one and never all of them.
        placement: which maps.
    """

    name = "osf"
    place = "parameters"
    knob = "keep"
    grid = (0.1, 0.25, 0.5, 0.75, 0.9)
    claims = frozenset({Claim.ADAPTER})
    whole_only = "its decompositions, about as large as the weights, would lie whole on every worker"
    title = "OSF"
    formula = "W = U_h·S_h·V_h + U·S·V; ∂U ⊥ U_h, ∂V ⊥ V_h"
    cost = "a singular value decomposition of every weight per task, and its product per step"
    advice = "In sequences, when the directions that a model uses most are to stay and rank is not to be low."
    source = "Nayak et al. 2025, arXiv:2504.07097; through peft"

    keep: float = Field(default=0.5, gt=0, lt=1, description="share of directions that is fixed")
    placement: Literal["all", "attention", "mlp"] = Field(default="all", description="which linear maps")

    def remarks(self, model: FoundationModel) -> list[str]:
        """What the split does not reach."""
        from cl_forget.mitigations.shared import adapters as _lora

        return _lora.remark(self.name, model)

    def shape_parameters(self, task: Task, state: State) -> None:
        """Decompose the weights as they are."""
        from cl_forget.mitigations.shared import orthogonal as _orthogonal

        _orthogonal.insert(task, self.keep, self.placement)

    def restore_parameters(self, task: Task, state: State) -> None:
        """Put the weights together again."""
        from cl_forget.mitigations.shared import adapters as _lora

        _lora.merge(task.model)
