"""Task vectors: what the stages of a run changed, one stage after the other, for methods that merge them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from cl_forget.ground.lazy import torch

if TYPE_CHECKING:
    from cl_forget.mitigations.protocol import Weights
    from cl_forget.training.context import Edit


def vectors(edit: Edit, since: Literal["start", "pretrained"]) -> Iterator[Weights]:
    """The change of each stage so far by name, floating-point tensors only; one stage is in memory at a time.

    Half precision is raised to single precision.

    Args:
        edit: its history is read.
        since: from the weights that the stage started from, or from θ0. Where every task is tuned from θ0
            (`restart`) they are the same. A tensor that still is what the pre-trained model has did not change,
            whatever a probe made of it in a later stage.
    """
    base = edit.anchor("pretrained")
    for load_start, load_end in zip(edit.starts, edit.history, strict=True):
        start, end = load_start(), load_end()
        changes: Weights = {}
        for name, tensor in end.items():
            if not tensor.is_floating_point():
                continue
            raw = edit.pretrained[name]
            tensor = tensor.to(raw.device)  # checkpoints are read on the CPU
            origin = start[name].to(raw.device) if since == "start" else base[name]
            if since == "pretrained" and torch.equal(tensor, raw):
                origin = raw
            changes[name] = tensor.to(_wide(tensor)) - origin.to(_wide(tensor))
        yield changes


def from_pretrained(edit: Edit, weights: Weights, vector: Weights, scale: float) -> Weights:
    """θ0 + scale · vector; what the vector does not hold (integers) keeps its value in `weights`."""
    base = edit.anchor("pretrained")
    return {
        name: torch.add(base[name], vector[name], alpha=scale).to(tensor) if name in vector else tensor
        for name, tensor in weights.items()
    }


def _wide(tensor: torch.Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)
