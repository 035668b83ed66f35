"""TIES: merge what the tasks changed where they agree on the direction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from cl_forget.mitigations.shared.merging import Merge
from cl_forget.weights.changes import threshold, total

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from cl_forget.weights.changes import Changes


class TIES(Merge):
    """`θ0 + λ·τ`: trim each τ_t = θ_t - θ0, elect a sign per entry, τ = mean of the trimmed changes that have it.

    Trimming keeps the share `keep` of a vector's entries that is largest in absolute value, over all tensors
    together, and sets the others to 0. The elected sign is that of the sum of the trimmed changes; where the sum is
    0, the sign that most of the entries have. The mean is over the tasks whose trimmed change has the elected sign;
    where there is none, θ0 stays.

    As published, every task is tuned from θ0 on its own: add `restart` for that. Without it θ_t are the weights along
    one sequence. Every key takes part, heads included; BatchNorm running statistics are merged like weights, not
    re-estimated (add `batch_norm` for that); integer buffers keep the tuned value. One fine-tune serves every λ.

    Acts before `wise_ft`, `lines` and `hma`, for which the result is the tuned end.

    Attributes:
        scale: λ.
        keep: the share of each vector's entries that is kept.
    """

    name = "ties"
    knob = "scale"
    grid = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0)
    title = "TIES"
    formula = "θ = θ0 + λ·τ, τ = mean of the trimmed τ_t with the elected sign"
    cost = "none in training; one more set of weights per task"
    advice = "After independent fine-tunes whose changes contradict each other."
    source = "Yadav et al. 2023, arXiv:2306.01708, algorithm 1"

    scale: float = Field(default=1.0, ge=0, le=10, description="λ")
    keep: float = Field(default=0.2, gt=0, le=1, description="share of the entries that is kept")

    def merge(self, changes: Changes) -> Callable[[str], Tensor]:
        """The mean of the trimmed changes that have the elected sign."""
        smallest = [threshold(changes, model, self.keep) for model in range(changes.count)]

        def trimmed(name: str) -> list[Tensor]:
            return [tau * (tau.abs() >= least) for tau, least in zip(changes.of(name), smallest, strict=True)]

        most = sum(float(total(trimmed(name)).sign().sum()) for name in changes.names)

        def merged(name: str) -> Tensor:
            taus = trimmed(name)
            sign = total(taus).sign()
            sign[sign == 0] = (most > 0) - (most < 0)
            agreeing = [tau * sign > 0 for tau in taus]
            mean = total([tau * agrees for tau, agrees in zip(taus, agreeing, strict=True)])
            return mean / total([agrees.to(mean) for agrees in agreeing]).clamp_min(1)

        return merged
