"""TALR: weight each token by how easy the model finds it now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from cl_forget.ground.lazy import torch
from cl_forget.mitigations.protocol import Mitigation

if TYPE_CHECKING:
    from torch import Tensor

    from cl_forget.training.context import Step
    from cl_forget.training.state import State


class TALR(Mitigation):
    """Multiplies each unit's loss by `max(exp(-ℓ/τ), floor)`, ℓ = its loss under the live model, no gradient.

    τ is `temperature` times the median of ℓ over the batch, so the median unit gets e⁻¹ = .37 in every step, and the
    order of what is learned follows the model: what was hard at first counts once it has become easier. FLOW has the
    same formula with the losses of the frozen model. A unit is a token of a response or an image of a classifier;
    the median is over all units of a batch, prompts excluded. With micro-batches it is that of the micro-batch.

    The floor keeps a token from being lost for good. The authors' code was not at hand: the median over units, and
    .01 as the floor, are choices made here.

    Attributes:
        temperature: factor on the median that gives τ; small values use the easiest units only.
        floor: the least weight.
    """

    name = "talr"
    place = "data"
    knob = "temperature"
    grid = (0.25, 0.5, 1.0, 2.0, 4.0)
    conflicts = dict.fromkeys(("flyp", "flyp_ce"), "it replaces the cross-entropy that talr weights")
    compares = True
    title = "TALR"
    formula = "unit loss · max(exp(-ℓ/τ), floor), τ = temperature · median ℓ of the batch"
    cost = "1.00 of a plain step; 1.02 with a vocabulary of 32,000"
    advice = "For language models, when the weights should follow what has been learned meanwhile."
    source = "Lin et al. 2025, arXiv:2509.20758"

    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False, description="τ / median loss")
    floor: float = Field(default=0.01, ge=0, le=1, description="the least weight")

    def unit_weights(self, step: Step, state: State) -> Tensor | None:
        """(units,) weights from `floor` to 1."""
        with torch.no_grad():
            losses = step.forward.unit_losses()
            ordered = step.rows(losses)[0].sort().values  # `median` would take the lower of two in the middle
            middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
            # a median of 0 (all units learned by heart) leaves exp(-0) = 1 and nothing else
            tau = (self.temperature * middle).clamp_min(torch.finfo(losses.dtype).tiny)
            return (-losses / tau).exp().clamp_min(self.floor)
