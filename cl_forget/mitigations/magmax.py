"""MagMax: of all tasks' changes of a weight, keep the largest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from cl_forget.ground.lazy import torch
from cl_forget.mitigations.shared.merging import Merge

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from cl_forget.weights.changes import Changes


class MagMax(Merge):
    """`θ0 + λ·τ`, each entry of τ that of the stage where it is largest in absolute value, τ_t = θ_t - θ0.

    As published, the tasks are tuned one after the other, and θ_t are the weights after task t; with `restart` they
    are independent fine-tunes, as the paper compares. Of equal entries the earlier one is kept, with the same value.
    Every key takes part, heads included, so λ scales the way of a head too; the paper's heads are not trained.
    BatchNorm running statistics are merged like weights, not re-estimated (add `batch_norm` for that); integer
    buffers keep the tuned value. One fine-tune serves every λ.

    Acts before `wise_ft`, `lines` and `hma`, for which the result is the tuned end.

    Attributes:
        scale: λ.
    """

    name = "magmax"
    knob = "scale"
    grid = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    title = "MagMax"
    formula = "θ = θ0 + λ·τ, τ[j] = τ_t[j] of the t with the largest |τ_t[j]|"
    cost = "none in training; one more set of weights per task"
    advice = "After a sequence of tasks, to give back to each weight its largest change."
    source = "Marczak et al. 2024, arXiv:2407.06322, eq. 1-2"

    scale: float = Field(default=0.5, ge=0, le=10, description="λ")

    def merge(self, changes: Changes) -> Callable[[str], Tensor]:
        """The change with the largest absolute value, entry by entry."""

        def merged(name: str) -> Tensor:
            first, *others = changes.of(name)
            for other in others:
                first = torch.where(other.abs() > first.abs(), other, first)
            return first

        return merged
