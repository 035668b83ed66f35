"""Weights as the linear maps that they are, and what the singular vectors of two of them have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cl_forget.ground.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


def as_matrices(weight: Tensor) -> Tensor:
    """(matrices, outputs, inputs) of a weight of two or more dimensions.

    A convolution's (outputs, inputs, height, width) is one matrix; three dimensions are those of several experts.
    """
    return weight if weight.ndim == 3 else weight.reshape(1, weight.shape[0], -1)


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
