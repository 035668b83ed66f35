"""BatchNorm's running statistics: which they are, a model with those of another one, and their re-estimation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from cl_forget.models.base import FoundationModel, Prepared


def statistics(model: nn.Module) -> list[str]:
    """Names of the running means and variances of every BatchNorm layer that keeps any."""
    return [
        f"{name}.{kind}" if name else kind
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None
        for kind in ("running_mean", "running_var")
    ]


def differing(model: nn.Module, weights: Mapping[str, Tensor]) -> list[str]:
    """Those statistics of the model that are others in `weights`."""
    return [name for name in statistics(model) if not torch.equal(model.get_buffer(name), weights[name])]


def renewed(
    model: FoundationModel,
    weights: Mapping[str, Tensor],
    sources: Sequence[Prepared],
    samples: int,
    batch_size: int,
) -> dict[str, Tensor]:
    """The statistics that a model of these weights has: the plain mean over batches of one pass in training mode.

    Batches are drawn at random, the same ones every time: data may be in the order of its classes, and the variance
    within a class is not that of the data. Where no batch has two samples, the statistics stay as they are.

    Args:
        model: it; not changed.
        weights: every tensor of its state.
        sources: data; images as they are, without augmentation.
        samples: at most so many of each.
        batch_size: samples of a batch; a last one of a single sample is left out.
    """
    layers = [
        module
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats
    ]
    names = statistics(model)
    fresh = {name: tensor.clone() for name, tensor in weights.items()}
    for name in names:
        fresh[name].fill_(float(name.endswith("running_var")))
        fresh[f"{name.rpartition('running_')[0]}num_batches_tracked"].zero_()
    seen = False
    before = [(layer.training, layer.momentum) for layer in layers]
    try:
        for layer in layers:
            layer.training, layer.momentum = True, None  # None: the plain mean over batches
        with torch.no_grad():
            for source in sources:
                order = torch.randperm(len(source), generator=torch.Generator().manual_seed(0))
                for indices in order[:samples].split(batch_size):
                    if len(indices) > 1:
                        seen = True
                        torch.func.functional_call(model, fresh, (source.plain().batch(indices),))
    finally:
        for layer, (training, momentum) in zip(layers, before, strict=True):
            layer.training, layer.momentum = training, momentum
    return {name: (fresh if seen else weights)[name] for name in names}


@contextlib.contextmanager
def put_back(model: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """The model with the statistics in `weights`; afterwards its own are there again, to the bit."""
    own = {name: model.get_buffer(name).clone() for name in statistics(model)}
    try:
        _write(model, weights)
        yield
    finally:
        _write(model, own)


def _write(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name in statistics(model):
            model.get_buffer(name).copy_(tensors[name])
