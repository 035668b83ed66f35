"""Where in a model a tensor lies, and what kind it is, by its name alone.

The names are those that open_clip, timm and transformers give; a test holds them against the models' own
`block_of`. Blocks are those of the image tower in a CLIP model and those of the decoder in a language model,
as everywhere else; a CLIP model's text tower is one part.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from cl_forget.weights.blocks import block_index, block_paths, comes_before

_IMAGE = ("visual.", "vision_model.")
TEXT, BEFORE, AFTER, HEADS = "text tower", "before the blocks", "after the blocks", "task heads"

_KINDS = (
    ("norm", re.compile(r"(^|[._])(ln|norm)|norm($|[._\d])|layernorm")),
    ("attention", re.compile(r"attn|attention")),
    ("MLP", re.compile(r"(^|[._])(mlp|ffn|fc\d?|feed_forward|c_fc|c_proj|gate_proj|up_proj|down_proj)([._]|$)")),
    ("embedding", re.compile(r"embed|(^|\.)(wte|wpe|conv1|cls_token)(\.|$)")),
    ("projection and head", re.compile(r"(^|\.)(lm_head|heads|head|proj|text_projection|visual_projection)(\.|$)")),
)  # fmt: skip


def kind_of(name: str) -> str:
    """ "attention", "MLP", "norm", "embedding", "projection and head" or "other"."""
    return next((kind for kind, pattern in _KINDS if pattern.search(name)), "other")


class Layout:
    """The parts of a model, from the names of its tensors.

    Args:
        names: as they stand in the model's file; a task's head starts with `heads.`.

    Attributes:
        blocks: how many transformer blocks there are; 0 where no such sequence is recognised.
        parts: every part by name, from input to output: before the blocks, block 0 …, after the blocks,
            then the text tower of a CLIP model and the heads of its tasks.
    """

    def __init__(self, names: Iterable[str]) -> None:
        names = list(names)
        self._clip = any(name.startswith(_IMAGE) for name in names)
        tower = [name for name in names if name.startswith(_IMAGE) or not self._clip]
        self._numbered = bool(block_paths(name for name in tower if not name.startswith("heads.")))
        found = {self.block_of(name) for name in names} - {None}
        self.blocks = len(found)
        order = [BEFORE, *(f"block {i}" for i in range(self.blocks)), AFTER, TEXT, HEADS]
        present = {self.part_of(name) for name in names}
        self.parts = tuple(part for part in order if part in present)

    def block_of(self, name: str) -> int | None:
        """Index of the block a tensor belongs to; None for the rest."""
        if not self._numbered or (self._clip and not name.startswith(_IMAGE)):
            return None
        return block_index(name)

    def part_of(self, name: str) -> str:
        """The part a tensor belongs to."""
        if name.startswith("heads."):
            return HEADS
        if self._clip and not name.startswith(_IMAGE):
            return TEXT
        block = self.block_of(name)
        if block is not None:
            return f"block {block}"
        return BEFORE if comes_before(name) else AFTER
