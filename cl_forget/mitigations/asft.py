"""ASFT: DFT, held near the base by a divergence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from cl_forget.mitigations.dft import target_probability
from cl_forget.mitigations.flyp import HEAD_NOT_TRAINED
from cl_forget.mitigations.kl_to_base import KLToBase

if TYPE_CHECKING:
    from torch import Tensor

    from cl_forget.training.context import Step
    from cl_forget.training.state import State


class ASFT(KLToBase):
    """DFT's weights, and `λ·mean KL(p_θ*‖p_θ)` added: `[dft, kl_to_base: λ]` under the name of its paper.

    DFT raises what is likely already and drifts without a hold; the divergence holds it. The authors' code has the
    forward direction, KL from the base to the tuned model, in nats over the whole vocabulary; here the base's
    largest logits are kept (`text.top_logits`) and the rest counts as one outcome. Their means are over all tokens of
    a batch, here each sample has its own. The divergence has no factor p_θ.

    Attributes:
        strength: λ; at 0 what remains is DFT.
        direction: "forward" is KL(p_θ*‖p_θ), "reverse" KL(p_θ‖p_θ*).
        anchor: the base θ*: the pre-trained model, or the model at the start of the current task.
    """

    name = "asft"
    grid = (0.01, 0.03, 0.1, 0.3, 1.0)
    absent = None
    conflicts = {**HEAD_NOT_TRAINED, "dft": "its losses are weighted by p_θ already"}  # noqa: RUF012
    title = "ASFT"
    formula = "unit loss · p_θ + λ·mean KL(p_θ*‖p_θ)"
    cost = "1.00 of a plain step with the cached teacher; DFT's weights add .02 with a vocabulary of 32,000"
    advice = "Where DFT learns well and drifts."
    source = "Zhu et al. 2025, arXiv:2509.23753"

    strength: float = Field(default=0.1, ge=0, allow_inf_nan=False, description="λ")
    direction: Literal["forward", "reverse"] = Field(default="forward", description="forward = KL(p_θ*‖p_θ)")
    anchor: Literal["pretrained", "previous"] = Field(default="pretrained", description="the base θ*")

    def unit_weights(self, step: Step, state: State) -> Tensor | None:
        """(units,) weights in [0, 1]."""
        return target_probability(step)
