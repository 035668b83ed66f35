"""WiSE-FT: average the tuned weights with the pre-trained ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from cl_forget._lazy import torch
from cl_forget.mitigations.base import Mitigation

if TYPE_CHECKING:
    from cl_forget.mitigations.base import Weights
    from cl_forget.training.context import Edit


class WiseFT(Mitigation):
    """`θ(α) = (1-α)·θ0 + α·θ`: α multiplies the *tuned* model, so α = 0 is pre-trained and α = 1 is tuned.

    Every key takes part, heads included. BatchNorm running statistics are averaged like weights, not
    re-estimated. One fine-tune serves every α: by default the average is what is evaluated and saved, and
    training of the next task goes on from the tuned weights.

    Attributes:
        alpha: α, the share of the tuned model.
        anchor: θ0: the pre-trained weights, or the weights at the start of the current task.
        feed_back: whether the next task starts from the average instead of the tuned weights.
    """

    name = "wise_ft"
    place = "weights"
    knob = "alpha"
    grid = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    absent = 1.0
    post_hoc = True
    title = "WiSE-FT"
    formula = "θ(α) = (1-α)·θ0 + α·θ"
    source = "Wortsman et al. 2022, arXiv:2109.01903, eq. 1"

    alpha: float = Field(0.5, ge=0, le=1, description="α, the share of the tuned model")
    anchor: Literal["pretrained", "previous"] = Field("pretrained", description="θ0")
    feed_back: bool = Field(False, description="start the next task from the average")

    def edit_weights(self, edit: Edit, weights: Weights) -> Weights:
        """The interpolated weights; integer buffers keep the tuned value."""
        anchor = edit.pretrained if self.anchor == "pretrained" else edit.start
        names = [name for name, tensor in weights.items() if tensor.is_floating_point()]
        mixed = torch._foreach_lerp(
            [anchor[name] for name in names], [weights[name] for name in names], self.alpha
        )
        return {**weights, **dict(zip(names, mixed, strict=True))}
