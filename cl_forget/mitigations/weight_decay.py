"""Weight decay: AdamW's own, as an arm with a strength of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pydantic import Field

from cl_forget.mitigations.protocol import Mitigation

if TYPE_CHECKING:
    from cl_forget.training.context import Update
    from cl_forget.training.state import State


class WeightDecay(Mitigation):
    """Every step also shrinks what is trained, `θ ← θ - lr·λ·θ`: AdamW's decay, λ beyond `train.weight_decay`.

    Beside adapters it is an anchor: A and B go to 0, so the weights go back to W0. `[lora, weight_decay]` is the
    plain arm that structured adapters have to beat. In full fine-tuning it pulls the weights themselves to 0, away
    from the pre-trained ones: that is no cure, and `l2_sp` is the penalty that pulls back. Heads shrink in both.

    Attributes:
        strength: λ.
    """

    name = "weight_decay"
    place = "step"
    knob = "strength"
    grid = (0.01, 0.1, 1.0, 10.0)
    absent = 0.0
    needs_trunk = False
    title = "Weight decay"
    formula = "θ ← θ - lr·λ·θ in every AdamW step; of adapters, W → W0"
    cost = "none: the optimiser has it"
    advice = "Beside lora, as the plainest way to keep the update small; sweep it with the learning rate."
    source = "Loshchilov & Hutter 2019, arXiv:1711.05101"

    strength: float = Field(default=0.1, ge=0, le=10, description="λ")

    def around_update(self, update: Update, apply: Callable[[], None], state: State) -> None:
        """The optimiser's step with the decay added to its own."""
        groups = update.optimizer.param_groups
        own = [group["weight_decay"] for group in groups]
        for group in groups:
            group["weight_decay"] += self.strength
        apply()
        for group, decay in zip(groups, own, strict=True):
            group["weight_decay"] = decay
