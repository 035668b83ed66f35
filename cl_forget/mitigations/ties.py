"""TIES: merge what the tasks changed where they agree on the direction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from cl_forget.ground.lazy import torch
from cl_forget.mitigations.claim import Claim
from cl_forget.mitigations.protocol import Mitigation
from cl_forget.mitigations.shared.vectors import from_pretrained, vectors

if TYPE_CHECKING:
    from cl_forget.mitigations.protocol import Weights
    from cl_forget.training.context import Edit


class TIES(Mitigation):
    """`θ0 + λ·τ`: trim each τ_t = θ_t - θ0, elect a sign per entry, τ = mean of the trimmed changes that have it.

    Trimming keeps the share `keep` of a vector's entries that is largest in absolute value, over all tensors
    together, and sets the others to 0. The elected sign is that of the sum of the trimmed changes; where the sum is
    0, the sign that most of the entries have. The mean is over the tasks whose trimmed change has the elected sign;
    where there is none, θ0 stays.

    As published, every task is tuned from θ0 on its own: add `restart` for that. Without it θ_t are the weights along
    one sequence. Every key takes part, heads included; BatchNorm running statistics are merged like weights, not
    re-estimated (add `batch_norm` for that); integer buffers keep the tuned value. One fine-tune serves every λ. The
    vectors are read twice, one at a time, so that memory does not grow with the tasks.

    Acts before `wise_ft`, `lines` and `hma`, for which the result is the tuned end.

    Attributes:
        scale: λ.
        keep: the share of each vector's entries that is kept.
    """

    name = "ties"
    place = "weights"
    order = -1
    knob = "scale"
    grid = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0)
    claims = frozenset({Claim.STAGE_WEIGHTS})
    post_hoc = True
    title = "TIES"
    formula = "θ = θ0 + λ·τ, τ = mean of the trimmed τ_t with the elected sign"
    cost = "none in training; one more set of weights per task"
    advice = "After independent fine-tunes whose changes contradict each other."
    source = "Yadav et al. 2023, arXiv:2306.01708, algorithm 1"

    scale: float = Field(default=1.0, ge=0, le=10, description="λ")
    keep: float = Field(default=0.2, gt=0, le=1, description="share of the entries that is kept")

    def edit_weights(self, edit: Edit, weights: Weights) -> Weights:
        """θ0 and the scaled merged change."""
        what = f"ties {len(edit.history)} {self.keep}"
        return from_pretrained(edit, weights, edit.once(what, {}, lambda: self._merge(edit)), self.scale)

    def _merge(self, edit: Edit) -> Weights:
        total: Weights = {}
        thresholds: list[float] = []
        for changes in vectors(edit, "pretrained"):
            thresholds.append(_threshold(changes, self.keep))
            for name, trimmed in _trim(changes, thresholds[-1]).items():
                total[name] = total[name] + trimmed if name in total else trimmed
        signs = {name: tensor.sign() for name, tensor in total.items()}
        most = sum(float(sign.sum()) for sign in signs.values())
        for sign in signs.values():
            sign[sign == 0] = (most > 0) - (most < 0)
        merged = {name: torch.zeros_like(tensor) for name, tensor in total.items()}
        counts = {name: torch.zeros_like(tensor) for name, tensor in total.items()}
        for changes, threshold in zip(vectors(edit, "pretrained"), thresholds, strict=True):
            for name, trimmed in _trim(changes, threshold).items():
                agrees = trimmed * signs[name] > 0
                merged[name] += trimmed * agrees
                counts[name] += agrees
        return {name: tensor / counts[name].clamp_min(1) for name, tensor in merged.items()}


def _threshold(changes: Weights, keep: float) -> float:
    """The absolute value of the smallest entry that is kept."""
    entries = torch.cat([change.abs().flatten() for change in changes.values()])
    kept = max(1, int(keep * len(entries)))
    return float(entries.kthvalue(len(entries) - kept + 1).values)


def _trim(changes: Weights, threshold: float) -> Weights:
    """Without the entries below the threshold."""
    return {name: change * (change.abs() >= threshold) for name, change in changes.items()}
