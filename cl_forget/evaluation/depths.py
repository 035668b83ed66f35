"""What the depths of a model are called where people read them."""

from __future__ import annotations

from cl_forget.weights.layout import HEADS, TEXT

BESIDE = ("rest", TEXT, HEADS)
"""What lies beside the way from input to output: no depth, and no line leads there."""


def depth_name(measure: str, depth: str) -> str:
    """A depth as pages and W&B call it, blocks counted from 0 as in the model's own files.

    Args:
        measure: "weight_distance", "feature_drift" or "cka".
        depth: as in `result.json`, where features are "block 1" after the first block and weights "block 0" in it.
    """
    if measure == "weight_distance":
        return "rest" if depth == "other" else depth
    kind, _, index = depth.partition(" ")
    if kind == "block" and index.isdigit():
        return f"block {int(index) - 1}"
    return "input" if depth in ("ln_pre", "embeddings") else depth
