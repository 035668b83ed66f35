"""DARE: drop most of what was learned at random, and rescale the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from cl_forget.ground.lazy import torch
from cl_forget.ground.seeds import generator
from cl_forget.mitigations.shared.merging import Merge
from cl_forget.weights.changes import total

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from cl_forget.weights.changes import Changes


class DARE(Merge):
    """`θ0 + λ·Σ_t m_t∘τ_t/(1-p)`: of what stage t changed, τ_t, each entry is dropped with probability p.

    In expectation it is task arithmetic, which it is with p = 0. The masks are drawn for (seed, stage, tensor) and
    are the same at every λ and after every later stage. As published, every task is tuned from θ0 on its own: add
    `restart` for that; without it, and with p = 0, it is WiSE-FT with α = λ. Every parameter takes part, heads
    included. Of buffers nothing is dropped, since a running variance could become negative: their changes are summed
    (add `batch_norm` to re-estimate BatchNorm's statistics); integer buffers keep the tuned value.

    The authors show that 90 % and more can be dropped where the changes are small, as those of large language models
    are (below .002); small models that were tuned far lose more.

    Acts before `wise_ft`, `lines` and `hma`, for which the sum is the tuned end.

    Attributes:
        scale: λ.
        drop: p.
    """

    name = "dare"
    knob = "scale"
    grid = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    since = "start"
    title = "DARE"
    formula = "θ = θ0 + λ·Σ_t m_t∘τ_t/(1-p), m_t = 1 with probability 1-p"
    cost = "none in training"
    advice = "To see how much of what was learned is redundant; before merging, to lessen interference."
    source = "Yu et al. 2023, arXiv:2311.03099, eq. 2-4"

    scale: float = Field(default=1.0, ge=0, le=10, description="λ")
    drop: float = Field(default=0.9, ge=0, lt=1, description="p")

    def merge(self, changes: Changes) -> Callable[[str], Tensor]:
        """The sum of what was not dropped."""

        def rest(name: str, stage: int) -> Tensor:
            change = changes.load(name, stage)
            if name not in changes.parameters:
                return change
            # drawn on the CPU in single precision, so that every device and precision drops the same entries
            draw = torch.rand(change.shape, generator=generator(changes.seed, "dare", stage, name))
            return change * (draw.to(change.device) >= self.drop) / (1 - self.drop)

        return lambda name: total([rest(name, stage) for stage in range(changes.count)])
