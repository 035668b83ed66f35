"""BatchNorm statistics for weights that were edited after training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from cl_forget.ground.errors import UserError
from cl_forget.mitigations.protocol import Mitigation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cl_forget.mitigations.protocol import Weights
    from cl_forget.models.base import FoundationModel
    from cl_forget.training.context import Edit


class BatchNormStatistics(Mitigation):
    """Re-estimates BatchNorm's running means and variances on the task's training data, after other edits.

    Averages of weights also average running statistics, which are then those of no model. Here they are the
    plain mean over the batches of one pass in training mode, nothing else is changed, and a model without
    BatchNorm stays as it is. The statistics are those of the current task only. Training that freezes them
    (`train.batch_norm: frozen`, the default) has nothing to re-estimate: both ends of an average have θ0's.

    Attributes:
        batch_size: samples per batch; the last batch of a data set is left out if it holds a single sample.
        samples: at most this many samples of each data set, drawn at random.
    """

    name = "batch_norm"
    place = "weights"
    order = 1
    post_hoc = True
    renews_statistics = True
    title = "BatchNorm re-estimation"
    formula = "running mean, variance = mean over batches at the edited weights"
    cost = "one forward pass over some training data"
    advice = "After averaging a model with BatchNorm, whose statistics do not average."
    source = "Izmailov et al. 2018, arXiv:1803.05407, §3.2; Wortsman et al. 2022, arXiv:2203.05482"

    batch_size: int = Field(default=64, ge=2, description="samples per batch")
    samples: int = Field(default=5000, ge=2, description="samples of each data set at most")

    def remarks(self, model: FoundationModel) -> Sequence[str]:
        """Whether there is anything to re-estimate."""
        from cl_forget.evaluation.batch_norm import statistics

        return () if statistics(model) else ("batch_norm has no effect: the model has no BatchNorm.",)

    def edit_weights(self, edit: Edit, weights: Weights) -> Weights:
        """The weights with fresh running statistics."""
        from cl_forget.evaluation.batch_norm import renewed, statistics

        if not statistics(edit.model):
            return weights
        if edit.task is None:
            raise UserError("batch_norm needs the task's training data; leave it out of offline edits.")
        fresh = renewed(edit.model, weights, edit.task.sources, self.samples, self.batch_size)
        return {**weights, **fresh}
