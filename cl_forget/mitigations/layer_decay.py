"""Layer-wise learning-rate decay: early layers learn more slowly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from cl_forget.ground.errors import UserError
from cl_forget.mitigations.protocol import Mitigation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cl_forget.models.base import FoundationModel
    from cl_forget.streams.base import Experience


class LayerDecay(Mitigation):
    """The learning rate of layer l of L is `lr·decay^(L-l)`.

    Layer 0 is what comes before the blocks, layers 1 to L-1 are the blocks, layer L is what comes after
    them, head included; so a model of 12 blocks has L = 13 and its last block gets `lr·decay`.

    Attributes:
        decay: the factor from one layer to the one before it.
    """

    name = "layer_decay"
    place = "parameters"
    knob = "decay"
    grid = (0.5, 0.65, 0.75, 0.85, 0.95)
    absent = 1.0
    title = "Layer-wise learning-rate decay"
    formula = "lr_l = lr·decay^(L-l)"
    cost = "1.00 of a plain step"
    advice = "As a cheap first cure: deep layers learn, shallow ones hardly move."
    source = "Howard & Ruder 2018, arXiv:1801.06146, §3.2; Bao et al. 2021, arXiv:2106.08254"

    decay: float = Field(default=0.75, gt=0, le=1, description="factor from one layer to the one before it")

    def check(self, model: FoundationModel, tasks: Sequence[Experience]) -> None:
        """Refuse a model without blocks."""
        if not model.blocks:
            raise UserError(f"'{model.spec}' has no transformer blocks to decay by; use low_lr instead.")

    def learning_rate_factor(self, model: FoundationModel, parameter: str) -> float:
        """decay^(L-l)."""
        self.check(model, ())
        return float(self.decay ** (model.blocks + 1 - model.layer_of(parameter)))
