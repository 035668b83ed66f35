"""Muon in float32 or bfloat16. PyTorch's own orthogonalises in bfloat16 alone, which processors without such
arithmetic emulate very slowly."""

from typing import Any

import torch
from torch import Tensor

# Coefficients of the quintic Newton-Schulz iteration (Jordan et al. 2024, "Muon").
_QUINTIC = (3.4445, -4.7750, 2.0315)


def orthogonalise(matrix: Tensor, steps: int = 5, dtype: torch.dtype = torch.float32) -> Tensor:
    """Approximate U V^T of the singular value decomposition U S V^T of a matrix, or of each of a batch; singular
    values land in about 0.7 to 1.2."""
    a, b, c = _QUINTIC
    wide = matrix.shape[-2] <= matrix.shape[-1]
    x = matrix if wide else matrix.mT
    x = (x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)).to(dtype)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x if wide else x.mT).to(matrix.dtype)


class Muon(torch.optim.Optimizer):
    """Momentum whose update is orthogonalised, for weight matrices and kernels of hidden layers.

    Args:
        parameters: weights of two dimensions or more; a kernel is taken as a matrix with a row for each output.
        lr: learning rate, a number or a tensor on the parameters' device; updates are scaled to the size that
            AdamW's have, so that both share one rate.
        momentum: Nesterov momentum.
        weight_decay: decoupled weight decay.
        dtype: precision of the orthogonalisation.
    """

    def __init__(
        self,
        parameters: list[Tensor],
        lr: float | Tensor,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.dtype = dtype
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move every weight by one update."""
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = {}  # matrices of one shape are orthogonalised together
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike.setdefault(parameter.flatten(1).shape, []).append(parameter)
            for shape, parameters in alike.items():
                updates = orthogonalise(torch.stack(self._directions(parameters, group)), dtype=self.dtype)
                # An orthogonal matrix has entries of root mean square 1 / sqrt(max side); AdamW's updates
                # have about 0.2.
                rate = group["lr"] * 0.2 * max(shape) ** 0.5
                for parameter, update in zip(parameters, updates, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.sub_(update.view_as(parameter) * rate)

    def _directions(self, parameters: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
        """The gradients with Nesterov momentum, as matrices."""
        directions = []
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                state["average"] = torch.zeros_like(parameter)
            assert parameter.grad is not None
            average = state["average"].lerp_(parameter.grad, 1 - group["momentum"])
            directions.append(parameter.grad.lerp(average, group["momentum"]).flatten(1))
        return directions
