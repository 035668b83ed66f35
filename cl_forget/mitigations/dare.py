"""DARE: drop most of what was learned at random, and rescale the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from cl_forget.ground.lazy import torch
from cl_forget.mitigations.claim import Claim
from cl_forget.mitigations.protocol import Mitigation
from cl_forget.mitigations.shared.vectors import from_pretrained, vectors

if TYPE_CHECKING:
    from torch import Tensor

    from cl_forget.mitigations.protocol import Weights
    from cl_forget.training.context import Edit


class DARE(Mitigation):
    """`θ0 + λ·Σ_t m_t∘τ_t/(1-p)`: of what stage t changed, τ_t, each entry is dropped with probability p.

    In expectation it is task arithmetic, which it is with p = 0. The masks are drawn for (seed, task, stage) and are
    the same at every λ. As published, every task is tuned from θ0 on its own: add `restart` for that; without it,
    and with p = 0, it is WiSE-FT with α = λ. Every parameter takes part, heads included. Of buffers nothing is
    dropped, since a running variance could become negative: their changes are summed (add `batch_norm` to
    re-estimate BatchNorm's statistics); integer buffers keep the tuned value.

    The authors show that 90 % and more can be dropped where the changes are small, as those of large language models
    are (below .002); small models that were tuned far lose more.

    Acts before `wise_ft`, `lines` and `hma`, for which the sum is the tuned end.

    Attributes:
        scale: λ.
        drop: p.
    """

    name = "dare"
    place = "weights"
    order = -1
    knob = "scale"
    grid = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    claims = frozenset({Claim.STAGE_WEIGHTS})
    post_hoc = True
    title = "DARE"
    formula = "θ = θ0 + λ·Σ_t m_t∘τ_t/(1-p), m_t = 1 with probability 1-p"
    cost = "none in training"
    advice = "To see how much of what was learned is redundant; before merging, to lessen interference."
    source = "Yu et al. 2023, arXiv:2311.03099, eq. 2-4"

    scale: float = Field(default=1.0, ge=0, le=10, description="λ")
    drop: float = Field(default=0.9, ge=0, lt=1, description="p")

    def edit_weights(self, edit: Edit, weights: Weights) -> Weights:
        """θ0 and the scaled sum of what was not dropped."""
        what = f"dare {len(edit.history)} {self.drop}"
        return from_pretrained(edit, weights, edit.once(what, {}, lambda: self._sum(edit)), self.scale)

    def _sum(self, edit: Edit) -> Weights:
        total: Weights = {}
        parameters = {name for name, _ in edit.model.named_parameters(remove_duplicate=False)}
        for stage, changes in enumerate(vectors(edit, "start")):
            # offline there is no seed to belong to, and the same edit gives the same weights
            draw = edit.task.generator("dare", stage) if edit.task else torch.Generator().manual_seed(stage)
            for name, change in changes.items():
                rest = self._drop(change, draw) if name in parameters else change
                total[name] = total[name] + rest if name in total else rest
        return total

    def _drop(self, change: Tensor, draw: torch.Generator) -> Tensor:
        """The change with each entry dropped by chance, and the others rescaled."""
        # drawn on the CPU in single precision, so that every device and precision drops the same entries
        kept = torch.rand(change.shape, generator=draw).to(change.device) >= self.drop
        return change * kept / (1 - self.drop)
