"""What SAM, ASAM, LookSAM and STAR share: gradients at perturbed weights, taken without a trace."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
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


@contextlib.contextmanager
def displaced(update: Update, perturbation: list[Tensor] | tuple[Tensor, ...]) -> Iterator[None]:
    """The model at θ + ε; θ and the buffers are as before afterwards.

    The weights come back from copies, to the bit: subtracting ε again would round. The buffers come back
    too, because passes at θ + ε must not enter BatchNorm's running statistics.

    Args:
        update: the step.
        perturbation: ε, aligned with `update.parameters`.
    """
    values = update.parameters.values
    buffers = list(update.task.model.buffers())
    kept = [tensor.clone() for tensor in [*values, *buffers]]
    torch._foreach_add_(values, perturbation)
    update.task.workers.moved(update.task.model)
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, before in zip([*values, *buffers], kept, strict=True):
                tensor.copy_(before)
        update.task.workers.moved(update.task.model)


def gradient_at(
    update: Update, perturbation: list[Tensor] | tuple[Tensor, ...], gradient: Callable[[], Tensor]
) -> None:
    """Fill `.grad` with the whole objective's gradient at θ + ε.

    Args:
        update: the step.
        perturbation: ε, aligned with `update.parameters`.
        gradient: fills `.grad` afresh at the weights as they are.
    """
    with displaced(update, perturbation):
        gradient()
