"""OPCM: merge the tasks one by one, each without what lies where the earlier ones already lie."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING

from pydantic import Field

from cl_forget.mitigations.shared.merging import Merge
from cl_forget.weights.changes import length
from cl_forget.weights.distance import squared_distance
from cl_forget.weights.matrices import beyond

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from cl_forget.weights.changes import Changes


class OPCM(Merge):
    """`θ_t = θ0 + (λ_{t-1}·τ_merged + τ̃_t)/λ_t`: of what stage t changed, τ_t, the part τ̃_t that is new is added.

    With the singular value decomposition `τ_merged = U·S·Vᵀ` of each matrix, τ̃_t is τ_t without the diagonal of
    `Uᵀ·τ_t·V` and without its block of the leading singular vectors, whose values add up to `share` of all. What
    is no matrix is added as it is. λ_t makes the merged change of the whole model as long as the τ are on average;
    of one task the result is θ0 + τ_1, which is task arithmetic. The order of the tasks matters.

    The authors project the weights of linear maps; here every tensor of two or more dimensions is a matrix, a
    convolution's as (outputs, the rest), and a direction that the merged change does not have at all (a singular
    value of zero, as after LoRA) drops nothing. `scale` multiplies the merged change in the end; as published it
    is 1.

    As published, every task is tuned from θ0 on its own: add `restart` for that. Without it τ_t is what stage t
    added to the stage before. Every key takes part, heads included, so λ_t shortens the way of a head too; the
    paper's heads are not trained. BatchNorm running statistics are merged like weights, not re-estimated (add
    `batch_norm` for that); integer buffers keep the tuned value. One fine-tune serves every scale.

    Acts before `wise_ft`, `lines` and `hma`, for which the result is the tuned end.

    Attributes:
        scale: factor on the merged change.
        share: of the sum of the singular values that the leading block holds.
    """

    name = "opcm"
    knob = "scale"
    grid = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0)
    since = "start"
    title = "OPCM"
    formula = "θ_t = θ0 + (λ_{t-1}·τ_merged + τ̃_t)/λ_t, τ̃_t = what of τ_t is new to τ_merged"
    cost = "none in training; two singular value decompositions of each matrix per task after the first"
    advice = "To merge tasks as they come, one model at a time, without data."
    source = "Tang et al. 2025, arXiv:2501.09522, and the authors' code in fusion_bench"

    scale: float = Field(default=1.0, ge=0, le=10, description="factor on the merged change")
    share: float = Field(default=0.5, ge=0, le=1, description="share of the singular values in the block")

    def merge(self, changes: Changes) -> Callable[[str], Tensor]:
        """The merged change; its length needs those of all tensors, so each is made once before."""
        if changes.count == 1:
            return lambda name: changes.load(name, 0)

        def grown(taus: list[Tensor]) -> Tensor:
            merged = taus[0]
            for tau in taus[1:]:
                merged = merged + beyond(merged, tau, self.share)
            return merged

        squares: list[list[float]] = []
        for name in changes.names:
            taus = changes.of(name)
            squares.append([squared_distance(tau) for tau in (grown(taus), *taus)])
        whole, *lengths = (length(column) for column in zip(*squares, strict=True))
        factor = fmean(lengths) / whole if whole else 1.0
        return lambda name: grown(changes.of(name)) * factor
