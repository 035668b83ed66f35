"""What several models changed of one start, tensor by tensor: what merges of models are made from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cl_forget.ground.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

_DIGIT = 16  # bits of a number that one pass looks at


@dataclass(frozen=True)
class Changes:
    """The changes τ_k = θ_k - θ0 of several models; only what is asked for is in memory.

    Attributes:
        names: the floating-point tensors, each once, also where the model knows it by two names.
        count: how many models there are.
        load: name and position of a model -> its change, at least in single precision.
        parameters: the names that are parameters; the others are buffers.
        seed: for merges that draw.
    """

    names: Sequence[str]
    count: int
    load: Callable[[str, int], Tensor]
    parameters: frozenset[str]
    seed: int = 0

    def of(self, name: str) -> list[Tensor]:
        """The changes of one tensor, in the models' order."""
        return [self.load(name, model) for model in range(self.count)]


def change(tensor: Tensor, start: Tensor) -> Tensor:
    """θ_k - θ0 of one tensor; half precision is raised to single precision."""
    kind = torch.promote_types(tensor.dtype, torch.float32)
    return tensor.to(kind) - start.to(kind)


def applied(base: Tensor, vector: Tensor, scale: float) -> Tensor:
    """θ0 + λ·τ in θ0's data type, rounded once."""
    return torch.add(base, vector, alpha=scale).to(base)


def total(changes: Sequence[Tensor]) -> Tensor:
    """Σ τ_k of one tensor, in this order."""
    return sum(changes[1:], changes[0])


def length(squares: Iterable[float]) -> float:
    """The L2 norm of a model from its tensors' squared norms; their order makes no difference, to the bit."""
    return math.sqrt(math.fsum(squares))


def threshold(changes: Changes, model: int, keep: float) -> float:
    """The absolute value of the smallest entry that is kept of one model's change, exactly.

    Kept is the share `keep` that is largest, over all tensors together. The value is found digit by digit, each by a
    pass that counts: the bits of numbers that are not negative have the numbers' order. So no more than a tensor is
    ever in memory.

    Args:
        changes: of several models.
        model: position of the one.
        keep: the share, in (0, 1].
    """
    kind, entries = torch.float32, 0
    for name in changes.names:
        tensor = changes.load(name, model)
        kind, entries = torch.promote_types(kind, tensor.dtype), entries + tensor.numel()
    whole = torch.int64 if kind == torch.float64 else torch.int32
    rank = entries - max(1, int(keep * entries))  # how many entries are below the one looked for
    found = 0
    for shift in range(torch.finfo(kind).bits - _DIGIT, -1, -_DIGIT):
        counts = torch.zeros(1 << _DIGIT, dtype=torch.int64)
        for name in changes.names:
            digits = changes.load(name, model).to(kind).abs().flatten().view(whole) >> shift
            here = digits[digits >> _DIGIT == found] & ((1 << _DIGIT) - 1)
            counts += torch.bincount(here, minlength=1 << _DIGIT).cpu()
        below = counts.cumsum(0)
        digit = int((below <= rank).sum())
        rank -= int(below[digit - 1]) if digit else 0
        found = found << _DIGIT | digit
    return float(torch.tensor(found, dtype=whole).view(kind))
