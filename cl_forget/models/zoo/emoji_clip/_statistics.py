"""BatchNorm in pre-training.

A step normalises each unit of pictures by its own mean and variance, and leaves the running ones alone: units run
side by side, and the exported weights are an average that no step has ever used. The averaged weights are given
running statistics of their own before they are measured or written, as in stochastic weight averaging (Izmailov et
al. 1803.05407).
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def _layers(module: nn.Module) -> list[nn.BatchNorm2d]:
    return [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]


def leave_alone(module: nn.Module) -> None:
    """Let training steps use the statistics of their own pictures and update none."""
    for layer in _layers(module):
        layer.track_running_stats = False


@torch.no_grad()
def estimate(tower: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set the running statistics to the mean over `batches`, inputs of the tower; nothing without BatchNorm."""
    layers = _layers(tower)
    if not layers:
        return
    kept = [(layer.momentum, layer.track_running_stats) for layer in layers]
    was_training = tower.training
    tower.train()
    for layer in layers:
        layer.track_running_stats, layer.momentum = True, None  # None: every batch counts alike
        layer.reset_running_stats()
    for batch in batches:
        tower(batch)
    for layer, (momentum, tracked) in zip(layers, kept, strict=True):
        layer.momentum, layer.track_running_stats = momentum, tracked
    tower.train(was_training)
