"""BatchNorm's running statistics: which they are, and a model with those of another one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn


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
