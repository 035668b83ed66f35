"""LiNeS: keep the tuned change of deep layers, shrink that of shallow ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from cl_forget.ground.errors import UserError
from cl_forget.mitigations.claim import Claim
from cl_forget.mitigations.protocol import Mitigation
from cl_forget.weights.blocks import block_index
from cl_forget.weights.interpolation import interpolate_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cl_forget.mitigations.protocol import Weights
    from cl_forget.models.base import FoundationModel
    from cl_forget.streams.base import Experience
    from cl_forget.training.context import Edit


class LiNeS(Mitigation):
    """`θ0 + λ_l·(θ-θ0)` with `λ_l = a + b·l/(L-1)` in block l of L, b = 1-a: linear in depth, 1 at the top.

    What lies outside the blocks (embeddings, final projection, heads) uses a, as do BatchNorm running
    statistics, which are not re-estimated (add `batch_norm` for that); a single block uses 1. a = 1 is the
    tuned model. Integer buffers keep the tuned value. One fine-tune serves every a.

    Blocks are those of the tower that fine-tuning trains. Of a CLIP model whose text tower was trained, too (FLYP,
    ZSCL), that tower uses a; `towers: both` gives its blocks the scale of their own depth.

    Attributes:
        a: scale of the shallowest block.
        towers: "image", or "both" to scale the blocks of a text tower by their depth in it.
        anchor: θ0: the pre-trained weights, or the weights at the start of the current task.
    """

    name = "lines"
    place = "weights"
    knob = "a"
    grid = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    absent = 1.0
    claims = frozenset({Claim.DEPTH_SCALE})
    post_hoc = True
    later = frozenset({"towers"})
    title = "LiNeS"
    formula = "θ = θ0 + λ_l·(θ-θ0), λ_l = a + (1-a)·l/(L-1)"
    cost = "none in training"
    advice = "After any fine-tune: shallow layers return most of the way, deep ones stay tuned."
    source = "Wang et al. 2024, arXiv:2410.17146"

    a: float = Field(default=0.5, ge=0, le=1, description="scale of the shallowest block")
    towers: Literal["image", "both"] = Field(default="image", description="whose blocks are scaled")
    anchor: Literal["pretrained", "previous"] = Field(default="pretrained", description="θ0")

    def check(self, model: FoundationModel, tasks: Sequence[Experience]) -> None:
        """Refuse a model without blocks."""
        if not model.blocks:
            raise UserError(f"lines scales by block, and '{model.spec}' has none; use wise_ft.")
        if self.towers == "both":
            model.text_parameters()  # refuses a model without a text tower

    def share(self, block: int | None, blocks: int) -> float:
        """λ of a block; None is what lies outside the blocks."""
        if block is None:
            return self.a
        return self.a + (1 - self.a) * (block / (blocks - 1) if blocks > 1 else 1.0)

    def edit_weights(self, edit: Edit, weights: Weights) -> Weights:
        """The tuned weights with the change of each block scaled.

        Raises:
            UserError: the model has no sequence of blocks.
        """
        anchor, model = edit.anchor(self.anchor), edit.model
        self.check(model, ())
        text = _text_blocks(model) if self.towers == "both" else {}
        number = 1 + max(text.values(), default=0)

        def share(name: str) -> float:
            if name in text:
                return self.share(text[name], number)
            return self.share(model.block_of(name), model.blocks)

        return interpolate_all(anchor, weights, share)


def _text_blocks(model: FoundationModel) -> dict[str, int]:
    """The block of each parameter that lies in one of the text tower's."""
    blocks = {name: block_index(name) for name in model.text_parameters()}
    return {name: block for name, block in blocks.items() if block is not None}
