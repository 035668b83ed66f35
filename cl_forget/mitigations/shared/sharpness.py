"""What SAM, ASAM and LookSAM share: the gradient at perturbed weights, taken without a trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cl_forget.ground.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

    from cl_forget.training.context import Update

TINY = 1e-12  # keeps a zero gradient from giving a NaN perturbation


def norm(tensors: list[Tensor] | tuple[Tensor, ...]) -> Tensor:
    """The L2 norm of all tensors as one vector: the *global* norm, not one per tensor."""
    return torch.stack(torch._foreach_norm(list(tensors))).norm()


def dot(left: list[Tensor] | tuple[Tensor, ...], right: list[Tensor] | tuple[Tensor, ...]) -> Tensor:
    """The scalar product of two lists of tensors as vectors."""
    return torch.stack([product.sum() for product in torch._foreach_mul(left, right)]).sum()


def gradient_at(
    update: Update, perturbation: list[Tensor] | tuple[Tensor, ...], gradient: Callable[[], Tensor]
) -> None:
    """Fill `.grad` with the whole objective's gradient at θ + ε; θ and the buffers are as before afterwards.

    The weights come back from copies, to the bit: subtracting ε again would round. The buffers come back
    too, because the pass at θ + ε must not enter BatchNorm's running statistics.

    Args:
        update: the step.
        perturbation: ε, aligned with `update.parameters`.
        gradient: fills `.grad` afresh at the weights as they are.
    """
    values = update.parameters.values
    buffers = list(update.task.model.buffers())
    kept = [tensor.clone() for tensor in [*values, *buffers]]
    torch._foreach_add_(values, perturbation)
    try:
        gradient()
    finally:
        with torch.no_grad():
            for tensor, before in zip([*values, *buffers], kept, strict=True):
                tensor.copy_(before)
