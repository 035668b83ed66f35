"""Weights as the linear maps that they are, and what the singular vectors of two of them have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cl_forget.ground.lazy import torch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor, nn


def as_matrices(weight: Tensor) -> Tensor:
    """(matrices, outputs, inputs) of a weight of two or more dimensions.

    A convolution's (outputs, inputs, height, width) is one matrix; three dimensions are those of several experts.
    """
    return weight if weight.ndim == 3 else weight.reshape(1, weight.shape[0], -1)


def kept_transposed(model: nn.Module) -> Iterable[str]:
    """Names of the weights that a model keeps as (inputs, outputs): those of transformers' Conv1D (GPT-2)."""
    return [f"{name}.weight" for name, module in model.named_modules() if type(module).__name__ == "Conv1D"]


class Intruders(NamedTuple):
    """Singular vectors of a tuned matrix that are far from all those of its base: Σ_i left_i·sizes_i·right_i.

    Attributes:
        left: (outputs, k).
        sizes: (k,) singular values.
        right: (k, inputs).
    """

    left: Tensor
    sizes: Tensor
    right: Tensor


def intruders(base: Tensor, tuned: Tensor, top: int, threshold: float) -> Intruders:
    """Of the `top` singular vectors of a tuned matrix those whose cosine with every one of the base's is small.

    Args:
        base, tuned: (outputs, inputs), in single precision at least.
        top: how many of the largest singular values are looked at.
        threshold: of the largest absolute cosine between left singular vectors; below it, it is an intruder.
    """
    known = torch.linalg.svd(base, full_matrices=False)[0]
    left, sizes, right = torch.linalg.svd(tuned, full_matrices=False)
    nearest = (left[:, :top].mT @ known).abs().amax(-1)
    found = (nearest < threshold).nonzero()[:, 0]
    return Intruders(left[:, found], sizes[found], right[found])


def intruding(base: Tensor, tuned: Tensor, top: int, threshold: float, transposed: bool = False) -> Tensor:
    """What the intruders are of a weight, in its shape; zero where there are none, or where nothing was tuned.

    Args:
        base, tuned: a weight of two or more dimensions, before and after; half precision is raised to single.
        top, threshold: as for `intruders`.
        transposed: whether it is kept as (inputs, outputs).
    """
    kind = torch.promote_types(tuned.dtype, torch.float32)
    before, after = base.to(kind), tuned.to(kind)
    if torch.equal(before, after) or not before.any():
        return torch.zeros_like(after)
    if transposed:
        before, after = before.mT, after.mT
    parts = [
        (one.left * one.sizes) @ one.right
        for one in (
            intruders(*pair, top, threshold)
            for pair in zip(as_matrices(before), as_matrices(after), strict=True)
        )
    ]
    whole = torch.stack(parts).reshape(after.shape)
    return whole.mT.contiguous() if transposed else whole


def beyond(merged: Tensor, vector: Tensor, share: float) -> Tensor:
    """What of a change does not lie where the merged changes already lie, by the singular vectors of these.

    With `merged = U·S·Vᵀ` the diagonal of `Uᵀ·vector·V` is dropped, and its block of the leading singular vectors,
    whose values add up to `share` of all at most. A singular value of zero has no vectors of its own, so nothing is
    dropped for it. Of vectors (one dimension) nothing is dropped.

    Args:
        merged, vector: changes of one tensor, of the same shape.
        share: of the sum of the singular values, in [0, 1].
    """
    if merged.ndim < 2 or not vector.any() or not merged.any():
        return vector
    known, new = as_matrices(merged), as_matrices(vector)
    left, sizes, right = torch.linalg.svd(known, full_matrices=False)
    leading = sizes.cumsum(-1) <= share * sizes.sum(-1, keepdim=True)
    dropped = leading[..., :, None] & leading[..., None, :]
    dropped |= torch.eye(sizes.shape[-1], dtype=torch.bool, device=dropped.device)
    there = sizes > sizes[..., :1] * max(known.shape[1:]) * torch.finfo(sizes.dtype).eps
    dropped &= there[..., :, None] & there[..., None, :]
    inside = left.mT @ new @ right.mT
    return (new - left @ (inside * dropped) @ right).reshape(vector.shape)
