"""What fewer bits make of a model's weights: each tensor rounded, and back in its own type (weights only)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cl_forget.weights.blocks import block_index
from cl_forget.weights.matrices import as_matrices

GROUP = 32
"""Weights that share a scale below 8 bits."""
BITS = range(2, 9)


def scheme(bits: int) -> str:
    """How `rounded` rounds, in words."""
    shared = "each output row" if bits == 8 else f"each {GROUP} weights of an output row"
    return (
        f"symmetric rounding to the nearest of {2**bits - 1} values, one scale for {shared} (its largest weight); "
        "weights of two or more dimensions inside the blocks, while embeddings, norms, biases and heads stay"
    )


def rounded(weight: Tensor, bits: int, transposed: bool = False) -> Tensor:
    """`s·round(w/s)`, `s = max|w| / (2^(bits-1) - 1)`: one s for an output row, or below 8 bits a group of it.

    Args:
        weight: (outputs, inputs), a convolution's (outputs, inputs, ...), or of several experts (experts, outputs,
            inputs); any floating type, computed in float32.
        bits: 2 to 8.
        transposed: whether it is kept as (inputs, outputs).

    Returns:
        A new tensor of the same shape and type.
    """
    if bits not in BITS:
        raise ValueError(f"{bits} bits: weights are rounded to {BITS[0]} to {BITS[-1]}")
    own = weight.detach().transpose(-1, -2) if transposed else weight.detach()
    rows = as_matrices(own).flatten(0, 1)
    width = rows.shape[1]
    group = width if bits == 8 else GROUP
    # A last group that is not full is filled with zeros, which change no maximum.
    groups = nn.functional.pad(rows.float(), (0, -width % group)).unflatten(1, (-1, group))
    levels = 2 ** (bits - 1) - 1
    scale = groups.abs().amax(-1, keepdim=True) / levels
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    values = (groups / scale).round().clamp(-levels, levels) * scale
    back = values.flatten(1)[:, :width].reshape(own.shape).to(weight.dtype)
    return back.transpose(-1, -2).contiguous() if transposed else back


def is_matrix(name: str, tensor: Tensor) -> bool:
    """Whether a tensor is one that is rounded: a weight that multiplies, inside a block of either tower."""
    last = name.rpartition(".")[2]
    inside = block_index(name) is not None and not name.startswith("heads.")
    return (
        inside
        and tensor.ndim >= 2
        and tensor.is_floating_point()
        and "bias" not in last
        and "embed" not in last
    )
