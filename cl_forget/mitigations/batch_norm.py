"""BatchNorm statistics for weights that were edited after training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from cl_forget.ground.errors import UserError
from cl_forget.ground.lazy import torch
from cl_forget.mitigations.protocol import Mitigation

if TYPE_CHECKING:
    from cl_forget.mitigations.protocol import Weights
    from cl_forget.training.context import Edit


class BatchNormStatistics(Mitigation):
    """Re-estimates BatchNorm's running means and variances on the task's training data, after other edits.

    Averages of weights also average running statistics, which are then those of no model. Here they are the
    plain mean over the batches of one pass in training mode, nothing else is changed, and a model without
    BatchNorm stays as it is. The statistics are those of the current task only. Training that freezes them
    (`train.batch_norm: frozen`, the default) has nothing to re-estimate: both ends of an average have θ0's.

    Attributes:
        batch_size: samples per batch; the last batch of a data set is left out if it holds a single sample.
        samples: at most this many samples of each data set.
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

    def edit_weights(self, edit: Edit, weights: Weights) -> Weights:
        """The weights with fresh running statistics."""
        model, task = edit.model, edit.task
        modules = {
            n: m for n, m in model.named_modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)
        }
        modules = {n: m for n, m in modules.items() if m.track_running_stats}
        if not modules:
            return weights
        if task is None:
            raise UserError("batch_norm needs the task's training data; leave it out of offline edits.")
        fresh = dict(weights)
        for name in modules:
            fresh[f"{name}.running_mean"] = torch.zeros_like(weights[f"{name}.running_mean"])
            fresh[f"{name}.running_var"] = torch.ones_like(weights[f"{name}.running_var"])
            fresh[f"{name}.num_batches_tracked"] = torch.zeros_like(weights[f"{name}.num_batches_tracked"])
        before = {name: (module.training, module.momentum) for name, module in modules.items()}
        try:
            for module in modules.values():
                module.training, module.momentum = True, None  # None: the plain mean over batches
            with torch.no_grad():
                for source in task.sources:
                    for indices in torch.arange(min(self.samples, len(source))).split(self.batch_size):
                        if len(indices) > 1:
                            torch.func.functional_call(model, fresh, (source.plain().batch(indices),))
        finally:
            for name, module in modules.items():
                module.training, module.momentum = before[name]
        counts = {f"{name}.num_batches_tracked": weights[f"{name}.num_batches_tracked"] for name in modules}
        return {**fresh, **counts}
