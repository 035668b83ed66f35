"""How far apart two tensors lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def squared_distance(value: Tensor, reference: Tensor | None = None) -> float:
    """‖θ - θ0‖² of one tensor in double precision; ‖θ‖² without a reference."""
    moved = value.detach().double()
    if reference is not None:
        moved = moved - reference.detach().to(value.device).double()
    return float(moved.square().sum())
