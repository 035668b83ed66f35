"""Muon in float32 or bfloat16. PyTorch's own orthogonalises in bfloat16 alone, which processors without such
arithmetic emulate very slowly."""

import torch
from torch import Tensor

# Coefficients of the quintic Newton-Schulz iteration (Jordan et al. 2024, "Muon").
_QUINTIC = (3.4445, -4.7750, 2.0315)


def orthogonalise(matrix: Tensor, steps: int = 5, dtype: torch.dtype = torch.float32) -> Tensor:
    """Approximate U V^T of the singular value decomposition U S V^T; singular values land in about 0.7 to
    1.2."""
    a, b, c = _QUINTIC
    wide = matrix.shape[0] <= matrix.shape[1]
    x = matrix if wide else matrix.T
    x = (x / (x.norm() + 1e-7)).to(dtype)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x if wide else x.T).to(matrix.dtype)


class Muon(torch.optim.Optimizer):
    """Momentum whose update is orthogonalised, for weight matrices of hidden layers.

    Args:
        parameters: two-dimensional weights.
        lr: learning rate; updates are scaled to the size that AdamW's have, so that both share one rate.
        momentum: Nesterov momentum.
        weight_decay: decoupled weight decay.
        dtype: precision of the orthogonalisation.
    """

    def __init__(
        self,
        parameters: list[Tensor],
        lr: float,
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
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["average"] = torch.zeros_like(parameter)
                average = state["average"].lerp_(parameter.grad, 1 - group["momentum"])
                momentum = group["momentum"]
                update = orthogonalise(parameter.grad.lerp(average, momentum), dtype=self.dtype)
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                # An orthogonal matrix has entries of root mean square 1 / sqrt(max side); AdamW's updates
                # have about 0.2.
                parameter.add_(update, alpha=-group["lr"] * 0.2 * max(parameter.shape) ** 0.5)
