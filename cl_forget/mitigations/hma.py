"""HMA: average with the pre-trained weights, with another share for each third of the depth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from cl_forget.ground.errors import UserError
from cl_forget.ground.lazy import torch
from cl_forget.mitigations.claim import Claim
from cl_forget.mitigations.protocol import Mitigation
from cl_forget.weights.interpolation import interpolate_all

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from cl_forget.mitigations.protocol import Weights
    from cl_forget.models.base import FoundationModel
    from cl_forget.streams.base import Experience
    from cl_forget.training.context import Edit, Task


class HeterogeneousAveraging(Mitigation):
    """`θ_k = (1-α_k)·θ0 + α_k·θ` for K groups of consecutive blocks, mean of α_k = α; α_k multiplies θ.

    The α_k are fitted: among all with mean α they minimise the task loss (mean cross-entropy) on at most
    `samples` of the task's *validation* data; nothing else is read. The search starts at α_k = α, tries to
    move `step` of α from each group to each other, takes the best move, and halves the step (down to 1/8 of
    it) when no move lowers the loss; it is deterministic and never worse on that data than WiSE-FT at α.
    What lies outside the blocks (embeddings, final projection, heads, BatchNorm running statistics, which are
    not re-estimated) uses α. Integer buffers keep the tuned value. One fine-tune serves every α.

    The paper fits the alignment reward on generated data under the same constraint; here the loss takes the
    reward's place.

    Attributes:
        alpha: α, the mean share of the tuned model.
        groups: K; with fewer blocks each block is a group.
        samples: how many validation samples the loss is taken on.
        step: the first step of the search, in units of α.
    """

    name = "hma"
    place = "weights"
    knob = "alpha"
    grid = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    absent = 1.0
    claims = frozenset({Claim.AVERAGE, Claim.DEPTH_SCALE})
    post_hoc = True
    needs_validation = True
    title = "HMA"
    formula = "θ_k = (1-α_k)·θ0 + α_k·θ, mean α_k = α, α_k fitted on validation data"
    cost = "a few validation passes"
    advice = "When one α for all depths is too coarse and validation data are there."
    source = "Lin et al. 2024, arXiv:2309.06256v4, §5"

    alpha: float = Field(default=0.5, ge=0, le=1, description="α, the mean share of the tuned model")
    groups: int = Field(default=3, ge=1, le=64, description="K")
    samples: int = Field(default=256, ge=1, description="validation samples the α_k are fitted on")
    step: float = Field(default=0.2, gt=0, le=1, description="first step of the search")

    def check(self, model: FoundationModel, tasks: Sequence[Experience]) -> None:
        """Refuse a model without blocks."""
        if not model.blocks:
            raise UserError(f"hma averages by block, and '{model.spec}' has none; use wise_ft.")

    def edit_weights(self, edit: Edit, weights: Weights) -> Weights:
        """The averaged weights.

        Raises:
            UserError: no task to fit on, or a model without a sequence of blocks.
        """
        if edit.task is None:
            raise UserError("hma fits on the task's validation data; use wise_ft offline.")
        self.check(edit.model, ())
        return self.mix(edit, weights, self.fit(edit, weights))

    def mix(self, edit: Edit, weights: Weights, shares: Sequence[float]) -> Weights:
        """The average with one share for each group of consecutive blocks."""
        model = edit.model
        return interpolate_all(
            edit.anchor("pretrained"),
            weights,
            lambda name: self.share(model.block_of(name), model.blocks, shares),
        )

    def share(self, block: int | None, blocks: int, shares: Sequence[float]) -> float:
        """α_k of a block's group; α for what lies outside the blocks (None)."""
        return self.alpha if block is None else shares[block * len(shares) // blocks]

    def fit(self, edit: Edit, weights: Weights) -> tuple[float, ...]:
        """The α_k, shallow to deep."""
        task = edit.task
        assert task is not None
        return self.search(
            edit.model.blocks, lambda shares: _loss(task, self.mix(edit, weights, shares), self.samples)
        )

    def search(self, blocks: int, loss: Callable[[tuple[float, ...]], float]) -> tuple[float, ...]:
        """The α_k with the lowest loss that the search finds.

        Args:
            blocks: how many blocks the model has.
            loss: the loss of the average with these α_k.
        """
        best: tuple[float, ...] = (self.alpha,) * min(self.groups, blocks)
        lowest = loss(best)
        step = self.step
        while step >= self.step / 8:
            tried = [(loss(shares), shares) for shares in _moves(best, step)]
            least, shares = min(tried, default=(lowest, best))
            if least < lowest:
                lowest, best = least, shares
            else:
                step /= 2
        return best


def _moves(shares: tuple[float, ...], step: float) -> list[tuple[float, ...]]:
    """Every way to move up to `step` from one group to another; all shares stay in 0…1."""
    moves = []
    for give in range(len(shares)):
        for take in range(len(shares)):
            moved = min(step, shares[give], 1 - shares[take])
            if give != take and moved > 1e-9:
                changed = list(shares)
                changed[give], changed[take] = changed[give] - moved, changed[take] + moved
                moves.append(tuple(changed))
    return moves


def _loss(task: Task, weights: Weights, samples: int) -> float:
    """Mean validation loss of the stage's tasks, each on its own share of `samples`."""
    each = max(1, samples // len(task.validation))
    losses: list[Tensor] = []
    with torch.no_grad():
        for data in task.validation:
            chosen = torch.randperm(len(data), generator=task.generator("hma"))[:each]
            for part in chosen.split(64):
                losses.append(_losses(task.model, weights, data.batch(part)))
    return float(torch.cat(losses).mean())


def _losses(model: FoundationModel, weights: Weights, batch: object) -> Tensor:
    forward = torch.func.functional_call(model, weights, (batch,))
    return forward.per_sample(forward.unit_losses())
