"""Model Stock: average fine-tunes, and go back towards θ0 as far as they disagree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cl_forget.ground.lazy import torch
from cl_forget.mitigations.claim import Claim
from cl_forget.mitigations.protocol import Mitigation
from cl_forget.mitigations.shared.vectors import from_pretrained, vectors

if TYPE_CHECKING:
    from cl_forget.mitigations.protocol import Weights
    from cl_forget.training.context import Edit


class ModelStock(Mitigation):
    """`θ = t·mean_k θ_k + (1-t)·θ0` in each tensor, `t = K·cosφ/((K-1)·cosφ + 1)`, φ = angle between the θ_k - θ0.

    cosφ is the mean over all pairs of fine-tunes. Fine-tunes that go the same way (cosφ = 1) are averaged, t = 1;
    those at right angles share nothing but noise, and θ0 stays, t = 0. The share of noise is read off the angle, so
    there is nothing to pick. The fine-tunes are the stages so far. As published they are several runs on one task
    from one θ0 (add `restart`); of different tasks the angle also measures how little these have in common. K counts
    the stages that changed the tensor, so a head that one stage trained is kept as trained.

    The formula has no bound below: here a mean angle of more than 90° counts as 90°. Every key takes part; BatchNorm
    running statistics are merged like weights, not re-estimated (add `batch_norm` for that); integer buffers keep the
    tuned value. Acts before `wise_ft`, `lines` and `hma`, for which the result is the tuned end.
    """

    name = "model_stock"
    place = "weights"
    order = -1
    claims = frozenset({Claim.STAGE_WEIGHTS})
    post_hoc = True
    title = "Model Stock"
    formula = "θ = t·mean θ_k + (1-t)·θ0, t = K·cosφ/((K-1)·cosφ + 1), per tensor"
    cost = "none in training; one more set of weights per task"
    advice = "When a few fine-tunes from one start are at hand and no validation data to pick a share on."
    source = "Jang et al. 2024, arXiv:2403.19522, eq. 2 and appendix (K models)"

    @property
    def needs_past(self) -> bool:
        """One stage has no angle and stays as tuned."""
        return True

    def edit_weights(self, edit: Edit, weights: Weights) -> Weights:
        """The average, pulled back to θ0 tensor by tensor."""
        if len(edit.history) < 2:
            return weights
        return from_pretrained(
            edit, weights, edit.once(f"stock {len(edit.history)}", {}, lambda: _merge(edit)), 1.0
        )


def _merge(edit: Edit) -> Weights:
    """t times the mean change, by name.

    The mean cosine of all pairs is that of unit vectors u_k: ‖Σ u_k‖² = K + K·(K-1)·cosφ.
    """
    totals: Weights = {}
    directions: Weights = {}
    counts: dict[str, int] = {}
    for changes in vectors(edit, "pretrained"):
        for name, change in changes.items():
            length = change.norm()
            totals.setdefault(name, torch.zeros_like(change)).add_(change)
            if float(length) > 0:
                directions.setdefault(name, torch.zeros_like(change)).add_(change / length)
                counts[name] = counts.get(name, 0) + 1
    for name, count in counts.items():
        cosine = 1.0
        if count > 1:
            cosine = (float(directions[name].double().square().sum()) - count) / (count * (count - 1))
        cosine = min(1.0, max(0.0, cosine))
        totals[name] *= cosine / (
            (count - 1) * cosine + 1
        )  # t/K: the mean is over the stages that changed it
    return totals
