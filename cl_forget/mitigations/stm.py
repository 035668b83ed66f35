"""STM: leave out the tokens that surprise the model before fine-tuning."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from cl_forget.ground.lazy import torch
from cl_forget.mitigations.protocol import Mitigation

if TYPE_CHECKING:
    from torch import Tensor

    from cl_forget.training.context import Step, Task
    from cl_forget.training.state import State


class STM(Mitigation):
    """The mean loss over the units whose perplexity `1/p` under θ* is at most a threshold; the others are masked.

    A unit is a token of a response or an image of a classifier, `1/p = exp(ℓ(θ*))` one over the probability that θ*
    gives the target. It is FLOW per token with a hard threshold instead of a soft weight, and it reads the same
    cached losses. A sample of which nothing is left adds nothing to the loss and counts in the batch's mean. With
    random augmentation nothing can be cached, and θ* runs on each batch. Replayed samples are left alone.

    The authors write the mask into the data, once, and take one mean over all tokens that a batch keeps; here each
    sample has its own mean, as in every other loss, so that long responses do not weigh more than short ones.

    Attributes:
        threshold: the largest perplexity that is learned from; 1 is certainty.
        anchor: θ*: the pre-trained model, or the model at the start of the current task.
    """

    name = "stm"
    place = "data"
    knob = "threshold"
    grid = (1.5, 2.5, 5.0, 10.0, 25.0)
    conflicts = dict.fromkeys(("flyp", "flyp_ce"), "it replaces the cross-entropy that stm masks")
    title = "STM"
    formula = "mean of ℓ_i(θ) over the units i with exp(ℓ_i(θ*)) ≤ threshold"
    cost = "one pass of the frozen model, then 1.00 of a plain step"
    advice = "For language models, when responses are worded as the model would not word them."
    source = "Wu et al. 2025, arXiv:2501.14315 (selective token masking)"

    threshold: float = Field(default=2.5, gt=1, allow_inf_nan=False, description="largest perplexity")
    anchor: Literal["pretrained", "previous"] = Field(default="pretrained", description="θ*")

    def request_outputs(self, task: Task, state: State) -> None:
        """Ask for θ*'s losses."""
        task.frozen.request(self.anchor, ["unit_losses"])

    def unit_weights(self, step: Step, state: State) -> Tensor | None:
        """(units,) 0 where masked; else units / units kept of the sample, so that its mean is over what is kept."""
        batch, forward = step.batch, step.forward
        if all(source is not batch.samples for source in step.task.sources):
            return None
        losses = step.task.frozen.read(batch, self.anchor, ["unit_losses"])["unit_losses"]
        kept = (losses <= math.log(self.threshold)).to(forward.logits)
        share = forward.per_sample(kept)  # (batch,)
        if batch.sample_of_unit is not None:
            share = share[batch.sample_of_unit]
        return torch.where(kept > 0, kept / share, kept)
