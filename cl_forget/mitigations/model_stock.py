"""Model Stock: average fine-tunes, and go back towards θ0 as far as they disagree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cl_forget.ground.lazy import torch
from cl_forget.mitigations.shared.merging import Merge

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from cl_forget.mitigations.protocol import Weights
    from cl_forget.training.context import Edit
    from cl_forget.weights.changes import Changes


class ModelStock(Merge):
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
        return weights if len(edit.history) < 2 else super().edit_weights(edit, weights)

    def merge(self, changes: Changes) -> Callable[[str], Tensor]:
        """t times the mean change.

        The mean cosine of all pairs is that of unit vectors u_k: ‖Σ u_k‖² = K + K·(K-1)·cosφ.
        """

        def merged(name: str) -> Tensor:
            taus = changes.of(name)
            lengths = [tau.norm() for tau in taus]
            moved = [(tau, size) for tau, size in zip(taus, lengths, strict=True) if float(size) > 0]
            total, directions = torch.zeros_like(taus[0]), torch.zeros_like(taus[0])
            for tau, size in moved:
                total += tau
                directions += tau / size
            count, cosine = len(moved), 1.0
            if count > 1:
                cosine = (float(directions.double().square().sum()) - count) / (count * (count - 1))
            cosine = min(1.0, max(0.0, cosine))
            # t/K: the mean is over the models that changed the tensor
            return total * (cosine / ((count - 1) * cosine + 1)) if moved else total

        return merged
