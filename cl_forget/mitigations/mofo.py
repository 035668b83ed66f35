"""MoFO: move only the weights whose momentum is largest."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from cl_forget.ground.lazy import torch
from cl_forget.mitigations.protocol import Mitigation

if TYPE_CHECKING:
    from torch import Tensor

    from cl_forget.training.context import Update
    from cl_forget.training.state import State

SAMPLED_FROM = 1 << 17  # smaller tensors are searched whole
SAMPLE = 1 << 15


class MoFO(Mitigation):
    """In each step, per tensor, only the top share of entries by |m| move; the others stay to the bit.

    m is Adam's first moment after this step's gradient entered it. The filter is put around the real AdamW
    step, so both moments are updated everywhere, and an entry that stays is not decayed either. The top
    share of n entries is `⌈share·n⌉` of them, and all that tie with the last.

    The authors' code moves every entry of biases and norms and decays also the entries that stay: `vectors: free`
    and `decay: all`.

    Attributes:
        share: fraction of each tensor's entries that move.
        vectors: whether parameters of one dimension (biases, norms) are filtered like the others, or free.
        decay: whether `train.weight_decay` shrinks the entries that move, or all.
    """

    name = "mofo"
    place = "step"
    knob = "share"
    grid = (0.03, 0.05, 0.1, 0.2, 0.5)
    absent = 1.0
    later = frozenset({"vectors", "decay"})
    title = "MoFO"
    formula = "θ += Δ_AdamW · [|m| among the tensor's top share]"
    cost = "up to 1.2 of a plain step"
    advice = "For language models, to move few weights a step without any reference to the old model."
    source = "Chen et al. 2024, arXiv:2407.20999, algorithm 1"

    share: float = Field(default=0.15, gt=0, le=1, description="fraction of each tensor's entries that move")

    vectors: Literal["filtered", "free"] = Field(default="filtered", description="biases and norms")
    decay: Literal["moved", "all"] = Field(default="moved", description="which entries are decayed")

    def around_update(self, update: Update, apply: Callable[[], None], state: State) -> None:
        """Let AdamW step, then put back what must not move."""
        from cl_forget.training.context import local, part_like

        parameters, full = update.parameters, update.task.workers.full
        before = parameters.copies()
        apply()
        momenta = [update.optimizer.state[parameter]["exp_avg"] for parameter in parameters.tensors]
        size, moves = _Block(momenta), _Block(momenta)
        if self.decay == "all":
            kept = _decay_factors(update)
            torch._foreach_mul_(before, [kept[id(parameter)] for parameter in parameters.tensors])
        for momentum, value, old in zip(
            momenta, map(local, parameters.values), map(local, before), strict=True
        ):
            if self.vectors == "free" and value.ndim < 2:
                continue
            whole = full(momentum)
            sizes = torch.abs(whole, out=size.like(whole))
            threshold = kth_largest(sizes.view(-1), math.ceil(self.share * sizes.numel()))
            own = local(
                part_like(sizes, momentum)
            )  # a sharded worker ranks all entries and moves its part of them
            # At 0 and at 1 an interpolation is one of its ends to the bit, and faster than a choice between them.
            torch.lerp(old, value, torch.ge(own, threshold, out=moves.like(own)), out=value)


def _decay_factors(update: Update) -> dict[int, float]:
    """What AdamW's decay leaves of each parameter in this step, by its id."""
    return {
        id(parameter): 1 - float(group["lr"]) * float(group["weight_decay"])
        for group in update.optimizer.param_groups
        for parameter in group["params"]
    }


class _Block:
    """Memory for one tensor at a time out of several.

    Args:
        tensors: the largest of them decides how much.
    """

    def __init__(self, tensors: list[Tensor]) -> None:
        self._entries = max((tensor.numel() for tensor in tensors), default=0)
        self._memory: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def like(self, tensor: Tensor) -> Tensor:
        """A tensor of this one's shape, its values left over from the last."""
        kind = tensor.dtype, tensor.device
        if kind not in self._memory:
            self._memory[kind] = tensor.new_empty(self._entries)
        return self._memory[kind][: tensor.numel()].view(tensor.shape)


def kth_largest(values: Tensor, k: int) -> Tensor:
    """The k-th largest entry, exactly, without sorting all.

    On a CPU a sample gives two bounds that it is almost surely between; the search is then among the few entries
    there. If it lies elsewhere, which the number of entries above the upper bound says, those above are searched, or
    all.
    NumPy does it, which picks entries by a mask several times faster than torch on one thread.

    Args:
        values: (n,) finite.
        k: 1 is the largest.
    """
    if values.device.type != "cpu" or values.dtype == torch.bfloat16:  # NumPy knows no bfloat16
        return torch.kthvalue(values, len(values) - k + 1).values
    entries = values.numpy()
    if len(entries) > SAMPLED_FROM:
        step = len(entries) // SAMPLE
        # Without a common divisor, or the same few columns would be seen in every row of a matrix.
        while math.gcd(step, len(entries)) > 1:
            step -= 1
        sample = np.sort(entries[::step])
        expected = len(sample) * k / len(entries)
        margin = 4 * math.sqrt(expected) + 1  # four standard deviations to be safe
        lower, upper = math.ceil(expected + margin), math.floor(expected - margin)
        if lower < len(sample):
            inside = entries >= sample[-lower]
            above = entries >= sample[-upper] if upper >= 1 else np.zeros_like(inside)
            number = int(np.count_nonzero(above))
            if number >= k:
                entries = entries[above]
            elif len(between := entries[np.logical_xor(inside, above, out=inside)]) >= k - number:
                entries, k = between, k - number
    return values.new_tensor(np.partition(entries, len(entries) - k)[len(entries) - k])
