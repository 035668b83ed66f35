"""MoFO: move only the weights whose momentum is largest."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from pydantic import Field

from cl_forget.ground.lazy import torch
from cl_forget.mitigations.protocol import Mitigation

if TYPE_CHECKING:
    from torch import Tensor

    from cl_forget.training.context import Update
    from cl_forget.training.state import State

SAMPLED_FROM = 1 << 15  # smaller tensors are searched whole
SAMPLE = 1 << 13


class MoFO(Mitigation):
    """In each step, per tensor, only the top share of entries by |m| move; the others stay to the bit.

    m is Adam's first moment after this step's gradient entered it. The filter is put around the real AdamW
    step, so both moments are updated everywhere, and an entry that stays is not decayed either. The top
    share of n entries is `⌈share·n⌉` of them, and all that tie with the last.

    Attributes:
        share: fraction of each tensor's entries that move.
    """

    name = "mofo"
    place = "step"
    knob = "share"
    grid = (0.03, 0.05, 0.1, 0.2, 0.5)
    absent = 1.0
    whole_only = "it ranks the entries of whole tensors"
    title = "MoFO"
    formula = "θ += Δ_AdamW · [|m| among the tensor's top share]"
    cost = "up to 1.3 of a plain step"
    advice = "For language models, to move few weights a step without any reference to the old model."
    source = "Chen et al. 2024, arXiv:2407.20999, algorithm 1"

    share: float = Field(default=0.15, gt=0, le=1, description="fraction of each tensor's entries that move")

    def around_update(self, update: Update, apply: Callable[[], None], state: State) -> None:
        """Let AdamW step, then put back what must not move."""
        values = update.parameters.values
        before = [value.clone() for value in values]
        apply()
        for parameter, value, old in zip(update.parameters.tensors, values, before, strict=True):
            size = update.optimizer.state[parameter]["exp_avg"].abs()
            threshold = kth_largest(size.flatten(), math.ceil(self.share * size.numel()))
            torch.where(size >= threshold, value, old, out=value)


def kth_largest(values: Tensor, k: int) -> Tensor:
    """The k-th largest entry, exactly, without sorting.

    A sample gives a bound that is almost surely below it; the search is then among the few entries above
    the bound. If fewer than k are, the bound was wrong and all entries are searched.

    Args:
        values: (n,) finite.
        k: 1 is the largest.
    """
    n = values.numel()
    if n > SAMPLED_FROM:
        sample = values[:: n // SAMPLE]
        expected = len(sample) * k / n
        rank = math.ceil(expected + 4 * math.sqrt(expected) + 1)  # four standard deviations to be safe
        if rank < len(sample):
            bound = torch.kthvalue(sample, len(sample) - rank + 1).values
            above = values[values >= bound]
            if len(above) >= k:
                values = above
    return torch.kthvalue(values, len(values) - k + 1).values
