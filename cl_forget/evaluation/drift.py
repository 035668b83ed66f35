"""How far a model has moved from the pre-trained one: in weights by block, in features by depth."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from cl_forget.ground.records import Drift
from cl_forget.weights.distance import squared_distance


def weight_distance(
    weights: Mapping[str, Tensor],
    reference: Mapping[str, Tensor],
    block_of: Callable[[str], int | None],
) -> dict[str, float]:
    """L2 distance ‖θ - θ0‖ over the parameters both have, whole and by block.

    Args:
        weights, reference: parameters by name; a name that only one has (the head of a new task), one whose
            shapes differ and one that is not floating point are left out.
        block_of: `FoundationModel.block_of`.

    Returns:
        "all", then "block 0", "block 1", ... for the blocks present, then "other" for what is in no block,
        where there is any. Empty when nothing is shared.
    """
    squares: dict[int | None, float] = {}
    for name, value in weights.items():
        base = reference.get(name)
        if base is None or base.shape != value.shape or not value.is_floating_point():
            continue
        moved = squared_distance(value, base)
        block = block_of(name)
        squares[block] = squares.get(block, 0.0) + moved
    if not squares:
        return {}
    blocks = sorted(block for block in squares if block is not None)
    distances = {"all": sum(squares.values()) ** 0.5}
    distances |= {f"block {block}": squares[block] ** 0.5 for block in blocks}
    return distances | ({"other": squares[None] ** 0.5} if None in squares else {})


def feature_distance(features: Tensor, reference: Tensor) -> float | None:
    """Mean over samples of ‖x - x0‖² over the mean of ‖x0‖²: 0 = unmoved, 1 = moved by its own length.

    Args:
        features, reference: (samples, width), or (samples, tokens, width) to be averaged over tokens.

    Returns:
        None when the reference is all zeros or a value is not finite.
    """
    x, base = _pooled(features), _pooled(reference)
    if x.shape != base.shape:
        raise ValueError(f"features {x.shape} and reference {base.shape} differ in shape")
    scale = base.square().sum()
    return _finite((x - base).square().sum() / scale)


def linear_cka(x: Tensor, y: Tensor) -> float | None:
    """Linear CKA of two representations of the same samples (Kornblith et al. 1905.00414, eq. 5).

    `‖YᵀX‖² / (‖XᵀX‖ ‖YᵀY‖)` on centred columns, Frobenius norms: 1 = equal up to rotation and scale. With
    more features than samples it is computed from the Gram matrices, `<XXᵀ, YYᵀ> / (‖XXᵀ‖ ‖YYᵀ‖)`, which is
    the same number.

    Args:
        x, y: (samples, width) each, widths may differ; or (samples, tokens, width), to be averaged over
            tokens.

    Returns:
        None when a representation is constant over the samples, or a value is not finite.
    """
    if len(x) != len(y):
        raise ValueError(f"{len(x)} and {len(y)} samples: CKA compares the same samples")
    x, y = _centred(_pooled(x)), _centred(_pooled(y))
    if len(x) > max(x.shape[1], y.shape[1]):
        shared, own_x, own_y = (y.T @ x).square().sum(), (x.T @ x).norm(), (y.T @ y).norm()
    else:
        gram_x, gram_y = x @ x.T, y @ y.T
        shared, own_x, own_y = (gram_x * gram_y).sum(), gram_x.norm(), gram_y.norm()
    return _finite(shared / (own_x * own_y))


def feature_drift(features: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> Drift:
    """Feature distance and linear CKA at every depth both have, in the order of `features`.

    Args:
        features, reference: depth -> (samples, width) or (samples, tokens, width), of the same samples.

    Returns:
        A `Drift` without weight distances; a depth where a number cannot be computed is absent from it.
    """
    depths = [depth for depth in features if depth in reference]
    distances = {depth: feature_distance(features[depth], reference[depth]) for depth in depths}
    similarities = {depth: linear_cka(features[depth], reference[depth]) for depth in depths}
    return Drift(
        feature_drift={depth: value for depth, value in distances.items() if value is not None},
        cka={depth: value for depth, value in similarities.items() if value is not None},
    )


def _pooled(features: Tensor) -> Tensor:
    """(samples, width) in float64, tokens averaged."""
    features = features.detach()
    return features.mean(1, dtype=torch.float64) if features.ndim == 3 else features.double()


def _centred(x: Tensor) -> Tensor:
    """Columns minus their means; exactly zero where all rows agree to the precision of float32 features."""
    centred = x - x.mean(0)
    # Otherwise a collapsed representation would be compared by its rounding errors.
    negligible = centred.abs().max() <= 1e-7 * x.abs().max()
    return torch.zeros_like(centred) if negligible else centred


def _finite(value: Tensor) -> float | None:
    return value.item() if torch.isfinite(value) else None
