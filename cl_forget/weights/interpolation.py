"""The one formula behind WiSE-FT, LiNeS and HMA: `θ0 + s·(θ-θ0)`, with a share s for each tensor.

Simulation and `cl-forget repair` both use it, on weights in memory and on weights read tensor by tensor.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

from cl_forget.ground.lazy import torch

if TYPE_CHECKING:
    from typing import TypeAlias

    from torch import Tensor

    Weights: TypeAlias = dict[str, Tensor]
    Share: TypeAlias = "float | Tensor | TensorEdit"
    """How much of the way from θ0 to θ a tensor goes: 0 is θ0, 1 is θ; a tensor holds one share per entry; an edit is
    what its formula makes of both ends."""


class TensorEdit(ABC):
    """An edit of one tensor that is no point on the way from θ0 to θ."""

    @abstractmethod
    def __call__(self, anchor: Tensor, tuned: Tensor) -> Tensor:
        """The edited tensor, from θ0 and θ, in their data type."""

    def added(self, anchor: Tensor, tuned: Tensor) -> tuple[Tensor, Tensor] | None:
        """(rows, k) and (k, columns) whose product the edit adds to a tuned matrix; None where it is no such product.

        A LoRA adapter can take up what is one.
        """
        return None


def interpolate(anchor: Tensor, tuned: Tensor, share: Share) -> Tensor:
    """`θ0 + s·(θ-θ0)` of one tensor; at 0 and at 1 the end itself, to the bit.

    Args:
        anchor, tuned: θ0 and θ, of one shape and data type; half precision is rounded once, at the end.
        share: s, or an edit; a tensor that is not floating point keeps its tuned value whatever s is.
    """
    if not tuned.is_floating_point() or (isinstance(share, (int, float)) and share == 1):
        return tuned
    if isinstance(share, TensorEdit):
        return share(anchor, tuned)
    if isinstance(share, (int, float)) and share == 0:
        return anchor
    return torch.lerp(anchor, tuned, share)


def interpolate_all(anchor: Weights, tuned: Weights, share: Callable[[str], Share]) -> Weights:
    """`interpolate` on every tensor by name."""
    return {name: interpolate(anchor[name], tensor, share(name)) for name, tensor in tuned.items()}
