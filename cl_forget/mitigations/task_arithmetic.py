"""Task arithmetic: add up what each task changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from cl_forget.mitigations.shared.merging import Merge
from cl_forget.weights.changes import total

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from cl_forget.weights.changes import Changes


class TaskArithmetic(Merge):
    """`θ0 + λ·Σ_t τ_t`, τ_t = what stage t changed: its tuned weights minus those it started from.

    As published, every task is tuned from θ0 on its own: add `restart` for that. Without it the tasks are
    tuned one after the other, the τ_t add up to θ-θ0, and the method is WiSE-FT with α = λ. λ is picked on
    validation data; one fine-tune serves every λ, and λ > 1 extrapolates. Every key takes part, heads
    included; BatchNorm running statistics are summed like weights, not re-estimated (add `batch_norm` for
    that); integer buffers keep the tuned value.

    Acts before `wise_ft`, `lines` and `hma`, for which the sum is the tuned end.

    Attributes:
        scale: λ.
    """

    name = "task_arithmetic"
    knob = "scale"
    grid = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    since = "start"
    title = "Task arithmetic"
    formula = "θ = θ0 + λ·Σ_t τ_t"
    cost = "none in training"
    advice = "To scale what was learned by one factor, picked on validation data."
    source = "Ilharco et al. 2023, arXiv:2212.04089, §2"

    scale: float = Field(default=0.4, ge=0, le=10, description="λ")

    def merge(self, changes: Changes) -> Callable[[str], Tensor]:
        """Σ τ_t."""
        return lambda name: total(changes.of(name))
