"""How far the weights are from an anchor, in pieces: what L1-SP and L2-SP share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cl_forget.ground.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

    from cl_forget.training.context import Trainable, Update

BLOCK = 1 << 18
"""Entries that are worked on together: a megabyte of single precision, which a core's cache holds."""


def differences(
    update: Update, anchor: str, heads: bool = True
) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
    """Every trainable entry once, as aligned lists for `torch._foreach_*`: its gradient, and θ-θ*.

    On a processor the differences of a large tensor come in blocks, in memory that the next block uses again: new
    memory for all of them at once takes longer than the arithmetic. What was yielded last is the caller's until it
    asks for more.

    Args:
        update: the step; gradients are views that may be written to.
        anchor: θ*, "pretrained" or "previous".
        heads: whether the heads of tasks are among them.
    """
    parameters = update.parameters if heads else _without_heads(update)
    triples = zip(
        parameters.gradients, parameters.values, parameters.align(update.task.anchor(anchor)), strict=True
    )
    together: list[tuple[Tensor, Tensor, Tensor]] = []
    blocks: dict[torch.dtype, Tensor] = {}
    for triple in triples:
        if triple[1].numel() <= BLOCK or not all(map(_plain, triple)):
            together.append(triple)
            continue
        if (kind := triple[1].dtype) not in blocks:
            blocks[kind] = triple[1].new_empty(BLOCK)
        parts = (tensor.view(-1).split(BLOCK) for tensor in triple)
        for gradient, value, centre in zip(*parts, strict=True):
            yield [gradient], [torch.sub(value, centre, out=blocks[kind][: len(value)])]
    if together:
        gradients, values, centres = (list(column) for column in zip(*together, strict=True))
        yield gradients, list(torch._foreach_sub(values, centres))


def _without_heads(update: Update) -> Trainable:
    """What is trained, but for the heads of this stage and of earlier ones."""
    from cl_forget.training.context import Trainable

    task = update.task
    experiences = [*task.stage, *(source.experience for source in task.past)]
    heads = {name for experience in experiences for name in task.model.head_parameters(experience)}
    pairs = zip(update.parameters.names, update.parameters.tensors, strict=True)
    trunk = [(name, tensor) for name, tensor in pairs if name not in heads]
    return Trainable([name for name, _ in trunk], [tensor for _, tensor in trunk])


def _plain(tensor: Tensor) -> bool:
    """Whole, in one piece, and in the processor's memory."""
    return tensor.is_cpu and tensor.is_contiguous() and not hasattr(tensor, "placements")
