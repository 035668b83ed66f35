"""Intruder reduction: shrink the strong directions of a tuned weight that the pre-trained one does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from cl_forget.mitigations.protocol import Mitigation
from cl_forget.weights.changes import applied
from cl_forget.weights.matrices import intruding, kept_transposed

if TYPE_CHECKING:
    from cl_forget.mitigations.protocol import Weights
    from cl_forget.training.context import Edit


class IntruderReduction(Mitigation):
    """`W = W_tuned - (1-λ)·Σ u·σ·vᵀ` over its intruders: among its top singular vectors those unlike any of W0's.

    Unlike means that the largest |cos| between u and the left singular vectors of W0 is below `threshold`. The
    authors find such vectors after LoRA, hardly after full fine-tuning, and that shrinking their singular values to
    .75 brings back what was forgotten and costs little of the task. λ = 1 is the tuned model; one fine-tune serves
    every λ.

    Every tensor of two or more dimensions is taken as a matrix, a convolution's as (outputs, the rest), embeddings
    included; of LoRA it is the merged weight. Vectors, buffers and the heads of tasks, which were not pre-trained,
    stay as they are.

    Composition: acts on the tuned end, after merges and before `wise_ft`, `lines` and `hma`.

    Attributes:
        scale: λ, factor on an intruder's singular value.
        top: how many singular vectors of each weight are looked at, the largest first.
        threshold: of the cosine.
    """

    name = "intruder_reduction"
    place = "weights"
    order = -1
    knob = "scale"
    grid = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 1.0)
    absent = 1.0
    post_hoc = True
    title = "Intruder reduction"
    formula = "W = W_tuned - (1-λ)·Σ u·σ·vᵀ over the intruders of W_tuned"
    cost = "none in training; two singular value decompositions of each matrix"
    advice = "After LoRA, to bring back what its new strong directions overwrote."
    source = "Shuttleworth et al. 2024, arXiv:2410.21228, §3 and §5"

    scale: float = Field(default=0.75, ge=0, le=1, description="λ, factor on the singular values")
    top: int = Field(default=10, ge=1, description="singular vectors looked at")
    threshold: float = Field(default=0.5, ge=0, le=1, description="largest cosine of an intruder")

    def edit_weights(self, edit: Edit, weights: Weights) -> Weights:
        """The tuned weights with their intruders shrunk."""
        what = f"intruders {self.top} {self.threshold}"
        found = edit.once(what, weights, lambda: self._intruding(edit, weights))
        return {
            name: applied(tensor, found[name], self.scale - 1) if name in found else tensor
            for name, tensor in weights.items()
        }

    def _intruding(self, edit: Edit, weights: Weights) -> Weights:
        base, transposed = edit.anchor("pretrained"), set(kept_transposed(edit.model))
        parameters = {name for name, _ in edit.model.named_parameters(remove_duplicate=False)}
        return {
            name: intruding(base[name], tensor, self.top, self.threshold, name in transposed)
            for name, tensor in weights.items()
            if name in parameters and tensor.ndim > 1 and not name.startswith("heads.")
        }
