"""Where in a model a tensor lies, by its name: before the blocks, in which of them, or after them.

A *block* is one step of the longest way through the model: a transformer block, or a stage of a tower that is made
of stages (ConvNeXt, FastViT, Swin, ResNet), with the reduction it begins with. The names are those of open_clip, timm
and transformers; a test holds them against each family of models that open_clip's configurations name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

BEFORE_BLOCKS = frozenset(
    {"conv1", "conv2", "conv3", "bn1", "bn2", "bn3", "stem", "patch_embed", "class_embedding", "cls_token"}
    | {"reg_token", "positional_embedding", "pos_embed", "ln_pre", "norm_pre", "rope", "token_embedding"}
    | {"embed_tokens", "wte", "wpe", "embed_in", "embed_positions", "word_embeddings"}
    | {"word_embeddings_layernorm", "project_in"}
    | {"conv_stem", "embeddings", "embedder", "pre_layrnorm"}
)
"""How open_clip, timm and transformers name what lies between the input and the first block."""

_AFTER_BLOCKS = frozenset({"attn_pool", "attnpool", "attn_pool_contrastive"})
"""Modules after the blocks that have position embeddings of their own."""

_BLOCK = re.compile(
    r"(?:^|\.)(?:(?:resblocks|(?:dense_)?stages|layers|layer|blocks|transformers|levels|h)\.(\d+)|layer([1-9]))\."
)


def block_index(name: str) -> int | None:
    """Index of the block (0 = shallowest) a tensor belongs to; None for the rest."""
    found = _place(name)
    return None if found is None else found[0]


def block_paths(names: Iterable[str]) -> list[str]:
    """The paths of the modules that are the blocks, shallow to deep, from the names of a model's tensors.

    None where several modules have the same number, so that numbers do not say how deep they lie.
    """
    places = {place for place in map(_place, names) if place is not None}
    paths = [path for _, path in sorted(places)]
    return paths if len(paths) == len({index for index, _ in places}) else []


def comes_before(name: str) -> bool:
    """Whether a tensor outside the blocks lies between the input and the first of them."""
    parts = name.split(".")
    return bool(BEFORE_BLOCKS.intersection(parts)) and not _AFTER_BLOCKS.intersection(parts)


def _place(name: str) -> tuple[int, str] | None:
    """Index and path of the block that a tensor is in: the outermost numbered sequence that its name passes."""
    match = _BLOCK.search(name)
    # A convolutional stem has stages of its own.
    if match is None or BEFORE_BLOCKS.intersection(name[: match.start()].split(".")):
        return None
    index = int(match[1]) if match[1] is not None else int(match[2]) - 1
    return index, name[: match.end() - 1]
