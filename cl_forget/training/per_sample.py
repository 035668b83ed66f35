"""Statistics of per-sample gradients: the Fisher information of EWC and WiSE-FT, the sensitivities of MAS.

The mean of a *function* of per-sample gradients is not that function of the mean gradient: squaring the
gradient of a batch mean shrinks with the batch size, so a penalty built on it would change its meaning with
the batch size. Here every sample has a gradient of its own, many at a time where `torch.func` can.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from cl_forget.ground.progress import bar
from cl_forget.ground.records import Cost
from cl_forget.models.base import Batch, Forward, FoundationModel, Prepared
from cl_forget.training.context import Weights

CHUNK_BYTES = 512 * 2**20  # of per-sample gradients held at once
CHUNK_SAMPLES = 32

Loss = Callable[[Forward], Tensor]


@dataclass(frozen=True)
class PerSample:
    """Whose per-sample gradients, and on what.

    Attributes:
        model: whose gradients; it runs in eval mode and is not changed.
        sources: the data; the mean is over all their samples together, random augmentation left out.
        names: the parameters.
        samples: at most this many, drawn at random by `generator`; None for all.
        generator: draws the samples, and labels where they are drawn.
        weights: the point at which, by name; None for the model's own weights.
        cost: added to, in place.
        vectorised: whether to run many samples at a time where that is possible; False runs them one by one.
    """

    model: FoundationModel
    sources: Sequence[Prepared]
    names: Sequence[str]
    samples: int | None = None
    generator: torch.Generator | None = None
    weights: Weights | None = None
    cost: Cost | None = None
    vectorised: bool = True

    @cached_property
    def state(self) -> Weights:
        """Every tensor of the model at the point."""
        return dict(self.model.state_dict() if self.weights is None else self.weights)

    @cached_property
    def point(self) -> Weights:
        """Those of the parameters."""
        return {name: self.state[name].detach() for name in self.names}


def mean_per_sample(
    of: PerSample,
    loss: Loss,
    statistic: Callable[[Tensor], Tensor],
    relabel: Callable[[Batch], Batch] | None = None,
) -> Weights:
    """Mean over samples of `statistic` of each sample's gradient of `loss`, by parameter.

    Args:
        of: the model, its parameters and the samples.
        loss: what is differentiated: a forward pass -> (batch,) values.
        statistic: elementwise, `torch.square` for the Fisher information.
        relabel: gives a batch other targets before it is differentiated.

    Returns:
        name -> a tensor of the parameter's shape.
    """
    model = of.model
    total = {name: torch.zeros_like(value) for name, value in of.point.items()}
    chosen = _choose(of.sources, of.samples, of.generator)
    count = sum(len(indices) for _, indices in chosen)
    if of.cost is not None:
        of.cost.forward_samples += count * (2 if relabel else 1)
        of.cost.backward_samples += count
    was = model.training
    model.eval()
    with torch.enable_grad(), bar("per-sample gradients", count, "samples") as advance:
        for source, indices in chosen:
            for part in indices.split(_chunk(of.point)):
                for gradients, stacked in _gradients(of, source, part, loss, relabel):
                    for name, value in gradients.items():
                        value = statistic(value)
                        total[name] += value.sum(0) if stacked else value
                advance(len(part), "")
    model.train(was)
    return {name: value / count for name, value in total.items()}


def fisher(of: PerSample, labels: str = "empirical") -> Weights:
    """Diagonal Fisher information `F = mean over samples of (∂ log p(y|x) / ∂θ)²`.

    The log-likelihood of a sample with several units (the tokens of a response) is the mean over its units,
    as in the training loss, so that F does not grow with the length of the text.

    Args:
        of: the model, its parameters and the samples.
        labels: "empirical": y is the data's label; "true": y is drawn from the model's own prediction, which
            gives the Fisher information proper.

    Returns:
        name -> a tensor of the parameter's shape, not negative.
    """
    of = replace(of, generator=of.generator or torch.Generator().manual_seed(0))

    def draw_targets(batch: Batch) -> Batch:
        with torch.no_grad():
            logits = functional_call(of.model, of.state, (batch,)).logits
        uniform = torch.rand(len(logits), generator=of.generator).to(logits)
        cumulative = logits.softmax(-1).cumsum(-1)  # (units, classes)
        drawn = torch.searchsorted(cumulative, uniform[:, None]).squeeze(1)
        return replace(batch, targets=drawn.clamp_max(logits.shape[1] - 1))

    return mean_per_sample(
        of,
        lambda forward: forward.per_sample(forward.unit_losses()),
        torch.square,
        draw_targets if labels == "true" else None,
    )


def _choose(
    sources: Sequence[Prepared], samples: int | None, generator: torch.Generator | None
) -> list[tuple[Prepared, Tensor]]:
    sizes = [len(source) for source in sources]
    every = torch.arange(sum(sizes))
    if samples is not None and samples < len(every):
        every = torch.randperm(len(every), generator=generator)[:samples].sort().values
    chosen, first = [], 0
    for source, size in zip(sources, sizes, strict=True):
        own = every[(every >= first) & (every < first + size)] - first
        chosen.append((source.plain(), own))
        first += size
    return [(source, own) for source, own in chosen if len(own)]


def _chunk(point: Weights) -> int:
    one = sum(value.numel() * value.element_size() for value in point.values())
    return max(1, min(CHUNK_SAMPLES, CHUNK_BYTES // max(1, one)))


def _gradients(
    of: PerSample, source: Prepared, indices: Tensor, loss: Loss, relabel: Callable[[Batch], Batch] | None
) -> Iterator[tuple[Weights, bool]]:
    """(gradients by name, whether they are stacked): one stack (samples, *shape), or sample by sample."""
    batch = source.batch(indices)
    if of.vectorised and _is_plain(of.model, batch):
        batch = relabel(batch) if relabel else batch
        yield _stacked(of, batch, loss), True
        return
    for index in indices.split(1):
        single = source.batch(index)
        leaves = {name: value.clone().requires_grad_() for name, value in of.point.items()}
        forward = functional_call(of.model, {**of.state, **leaves}, (relabel(single) if relabel else single,))
        values = torch.autograd.grad(loss(forward)[0], list(leaves.values()), materialize_grads=True)
        yield dict(zip(leaves, values, strict=True)), False


def _is_plain(model: FoundationModel, batch: Batch) -> bool:
    """Whether samples can be mapped over: tensors with one unit each, answered by a head of the model.

    A head made from class names on the fly is hashed on the way, which no mapped function can do.
    """
    heads = model.head_parameters(batch.samples.experience) if batch.samples.experience.labels else []
    known = {name for name, _ in model.named_parameters()}
    own_head = bool(heads) and known.issuperset(heads)
    return isinstance(batch.inputs, Tensor) and batch.sample_of_unit is None and own_head


def _stacked(of: PerSample, batch: Batch, loss: Loss) -> Weights:
    """name -> (batch, *shape)."""
    rest = {name: value for name, value in of.state.items() if name not in of.point}

    def of_one(parameters: Weights, inputs: Tensor, target: Tensor) -> Tensor:
        one = replace(batch, inputs=inputs[None], targets=target[None], indices=batch.indices[:1])
        return loss(functional_call(of.model, {**rest, **parameters}, (one,)))[0]

    with _plain_attention():
        return vmap(grad(of_one), in_dims=(None, 0, 0))(of.point, batch.inputs, batch.targets)


@contextlib.contextmanager
def _plain_attention() -> Iterator[None]:
    """The fused attention kernels have no batching rule; the plain one is the same function."""
    was = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was)
