"""Task arithmetic: add up what each task changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from cl_forget.mitigations.claim import Claim
from cl_forget.mitigations.protocol import Mitigation

if TYPE_CHECKING:
    from cl_forget.mitigations.protocol import Weights
    from cl_forget.training.context import Edit


class TaskArithmetic(Mitigation):
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
    place = "weights"
    order = -1
    knob = "scale"
    grid = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    claims = frozenset({Claim.STAGE_WEIGHTS})
    post_hoc = True
    title = "Task arithmetic"
    formula = "θ = θ0 + λ·Σ_t τ_t"
    cost = "none in training"
    advice = "To scale what was learned by one factor, picked on validation data."
    source = "Ilharco et al. 2023, arXiv:2212.04089, §2"

    scale: float = Field(default=0.4, ge=0, le=10, description="λ")

    def edit_weights(self, edit: Edit, weights: Weights) -> Weights:
        """θ0 and the scaled sum of the task vectors."""
        vectors = edit.once(f"task vectors {len(edit.history)}", {}, lambda: _sum_of_changes(edit))
        pretrained = edit.anchor("pretrained")
        return {
            name: pretrained[name] + self.scale * vectors[name] if name in vectors else tensor
            for name, tensor in weights.items()
        }


def _sum_of_changes(edit: Edit) -> Weights:
    """Σ τ_t by name, floating-point tensors only."""
    total: Weights = {}
    for load_start, load_end in zip(edit.starts, edit.history, strict=True):
        start, end = load_start(), load_end()
        for name, tensor in end.items():
            if tensor.is_floating_point():
                here = edit.pretrained[name].device  # checkpoints are read on the CPU
                change = tensor.to(here) - start[name].to(here)
                total[name] = total[name] + change if name in total else change
    return total
