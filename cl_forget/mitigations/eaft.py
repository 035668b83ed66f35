"""EAFT: learn less where the model is sure of itself."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import Field

from cl_forget.mitigations.protocol import Mitigation

if TYPE_CHECKING:
    from torch import Tensor

    from cl_forget.training.context import Step
    from cl_forget.training.state import State


class EAFT(Mitigation):
    """Multiplies each unit's loss by `(H/ln K)^a`, H = entropy of the K likeliest answers, no gradient.

    A unit is a token of a language model or an image of a classifier. The K largest logits are normalised
    among themselves; K is at most the number of classes. The entropy is the tuned model's own and moves with
    it, so no second model runs. Where the model is sure and the target differs, there is little to learn
    without breaking what it knows.

    Attributes:
        exponent: a; 1 is the paper's gate, 0 plain cross-entropy.
        top: K.
    """

    name = "eaft"
    place = "data"
    knob = "exponent"
    grid = (0.25, 0.5, 1.0, 2.0)
    absent = 0.0
    conflicts = dict.fromkeys(("flyp", "flyp_ce"), "it replaces the cross-entropy that eaft weights")
    title = "EAFT"
    formula = "unit loss · (H_topK/ln K)^a"
    cost = "1.00 of a plain step"
    advice = "For language models, when confident tokens should not be fought over."
    source = "Diao et al. 2026, arXiv:2601.02151, §4"

    exponent: float = Field(default=1.0, ge=0, le=10, description="a")
    top: int = Field(default=20, ge=2, description="K")

    def unit_weights(self, step: Step, state: State) -> Tensor | None:
        """(units,) gates in [0, 1]; none where there is only one class."""
        logits = step.forward.logits.detach()
        k = min(self.top, logits.shape[-1])
        if k < 2:
            return None
        log_p = logits.topk(k, dim=-1).values.log_softmax(-1)
        entropy = -(log_p.exp() * log_p).sum(-1)
        return (entropy / math.log(k)).clamp(0, 1) ** self.exponent
