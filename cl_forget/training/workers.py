"""The processes that train one model: alone, or several that each hold a part of the weights (FSDP2).

Sharded training is the same step on the same global batch. Each worker takes its part of every batch; a
sample's weight in the loss is what it is alone, so the workers' gradients add up to the gradient of the mean
over the whole batch. A loss that compares samples with each other gets the rows of all workers, and its gradient
goes back to the worker whose row it is. Weights, gradients and optimiser moments are `DTensor`s: a norm over them
is the norm over the whole vector, not over one worker's part, and closed-form gradient edits act on the parts.
Before and after the steps of a task every worker holds the whole model in main memory, so evaluation, edits of
weights and checkpoints are those of a single process; the first worker does them for all.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from cl_forget.ground.errors import UserError
from cl_forget.models.base import Batch, FoundationModel

T = TypeVar("T")

Groups = dict[str, dict[str, Tensor]]

OTHER_PASSES = ("class_weights", "caption_weights")
"""What a model computes with its weights besides `forward`."""


class Workers:
    """One process that does everything itself; the base of `ShardedWorkers`.

    Attributes:
        rank: number of this process, 0 for the one that evaluates and writes.
        count: how many train together.
    """

    rank = 0
    count = 1

    def shard(self, model: FoundationModel, batch_norm: str = "frozen") -> FoundationModel:
        """The model to take steps with; `batch_norm` is that of `train`."""
        return model

    def gather(self, trained: FoundationModel, whole: FoundationModel) -> None:
        """Copy the weights of what `shard` gave back into the whole model."""

    def whole(self, groups: Groups) -> Groups:
        """Groups of tensors without a sharded one among them."""
        return groups

    def full(self, tensor: Tensor) -> Tensor:
        """A tensor in full, on every worker."""
        return tensor

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a scalar over the workers."""
        return value

    def moved(self, trained: FoundationModel) -> None:
        """A method has moved the weights between two passes of a step: the next pass is to see them."""

    def settle(self, parameters: list[Tensor]) -> None:
        """After the backward passes: the gradient of what is not split is the mean over the workers."""

    def rows(self, own: Tensor, idle: bool = False) -> tuple[Tensor, slice]:
        """Everybody's rows of a micro-batch that the workers take together, and which of them are this worker's.

        A gradient goes back to the worker whose row it is. All workers have to ask.

        Args:
            own: (rows, ...) of this worker; how many may differ between workers.
            idle: whether its sample is a stand-in (factor 0 in `parts`). Its rows are then no part of the batch, and
                as many of others' are called its own, so that there is a loss to multiply by 0.
        """
        return own, slice(0, len(own))

    def parts(self, indices: Tensor, size: int | None, together: bool = False) -> list[tuple[Tensor, float]]:
        """This worker's micro-batches of a batch, each with the factor on its mean loss.

        Args:
            indices: (batch,) the whole batch.
            size: samples of a micro-batch; None for all at once.
            together: whether all workers share each micro-batch, because its samples are compared with each other;
                otherwise each has micro-batches of its own, which takes fewer passes.
        """
        return [(part, len(part) / len(indices)) for part in indices.split(size or len(indices))]

    def place(self, batch: Batch) -> Batch:
        """The batch where the model that takes steps is."""
        return batch

    def once(self, make: Callable[[], T]) -> T:
        """`make()`, done by the first worker; all get the result."""
        return make()

    def agree(self, flag: bool) -> bool:
        """What the first worker says."""
        return flag


class ShardedWorkers(Workers):
    """The workers of an initialised `torch.distributed` group, each with a part of the weights.

    Args:
        device: where this worker's part lies and its steps are taken.
    """

    def __init__(self, device: torch.device) -> None:
        import torch.distributed as dist
        from torch.distributed.device_mesh import init_device_mesh

        self.rank, self.count, self.device = dist.get_rank(), dist.get_world_size(), device
        self.mesh = init_device_mesh(device.type, (self.count,))

    def shard(self, model: FoundationModel, batch_norm: str = "frozen") -> FoundationModel:
        """A copy of the model on `device`, every block of it split over the workers.

        Raises:
            UserError: something in it depends on the whole batch, or cannot be split.
        """
        from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

        refuse_model(model, batch_norm)
        twin = copy.deepcopy(model)
        self._as_the_first(twin)
        scalars = {p for p in twin.parameters() if p.dim() == 0}
        for block in _blocks(twin):
            fully_shard(block, mesh=self.mesh, ignored_params=scalars)
        fully_shard(twin, mesh=self.mesh, ignored_params=scalars)
        for name in OTHER_PASSES:
            register_fsdp_forward_method(twin, name)
        if self.device.type != "cpu":
            twin.to(self.device)  # buffers and scalars; the parts are there already
        return twin

    def _as_the_first(self, model: nn.Module) -> None:
        """Give every worker the first one's weights: a decomposition may differ by a sign from machine to machine."""
        import torch.distributed as dist

        for tensor in (*model.parameters(), *model.buffers()):
            sent = tensor.detach().to(self.device).contiguous()
            dist.broadcast(sent, src=0)
            tensor.detach().copy_(sent)

    def gather(self, trained: FoundationModel, whole: FoundationModel) -> None:
        """Every worker's whole model gets the trained weights and buffers."""
        tensors = {**dict(trained.named_parameters()), **dict(trained.named_buffers())}
        targets = {**dict(whole.named_parameters()), **dict(whole.named_buffers())}
        with torch.no_grad():
            for name, target in targets.items():
                target.copy_(self.full(tensors[name]))

    def whole(self, groups: Groups) -> Groups:
        """The same with every sharded tensor gathered."""
        return {
            group: {name: self.full(tensor) for name, tensor in tensors.items()}
            for group, tensors in groups.items()
        }

    def full(self, tensor: Tensor) -> Tensor:
        """All workers' parts of a tensor together."""
        from torch.distributed.tensor import DTensor

        return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor

    def mean(self, value: Tensor) -> Tensor:
        """Of a scalar over the workers."""
        import torch.distributed as dist

        total = value.detach().clone().to(self.device)
        dist.all_reduce(total)
        return total / self.count

    def moved(self, trained: FoundationModel) -> None:
        """Drop the outermost weights, which a pass without gradient leaves gathered as they were."""
        model: Any = trained
        model.reshard()

    def settle(self, parameters: list[Tensor]) -> None:
        """Those of scalars, which FSDP leaves whole."""
        import torch.distributed as dist

        for parameter in parameters:
            if parameter.dim() == 0:
                parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                dist.all_reduce(parameter.grad)
                parameter.grad /= self.count

    def rows(self, own: Tensor, idle: bool = False) -> tuple[Tensor, slice]:
        """Everybody's rows, one worker's after another's."""
        import torch.distributed as dist

        said = torch.tensor([0 if idle else len(own)], device=own.device)
        counted = [torch.empty_like(said) for _ in range(self.count)]
        dist.all_gather(counted, said)
        counts = [int(count) for count in counted]
        first = 0 if idle else sum(counts[: self.rank])
        whole: Tensor = Rows.apply(own, counts, self.rank)  # type: ignore[no-untyped-call]
        return whole, slice(first, first + len(own))

    def parts(self, indices: Tensor, size: int | None, together: bool = False) -> list[tuple[Tensor, float]]:
        """This worker's share of the batch; every worker has as many parts, an idle one with the factor 0.

        Gradients are averaged over the workers, so the factor is `count` times the part's share of the batch.
        """
        if together:
            mine = [part.tensor_split(self.count)[self.rank] for part in indices.split(size or len(indices))]
        else:
            shares = indices.tensor_split(self.count)
            size = size or len(shares[0])  # the first share is never the smaller one
            rounds = -(-len(shares[0]) // size)
            mine = list(shares[self.rank].split(size))
            mine += [indices[:0]] * (rounds - len(mine))
        whole = len(indices)
        return [(p, self.count * len(p) / whole) if len(p) else (indices[:1], 0.0) for p in mine]

    def place(self, batch: Batch) -> Batch:
        """The batch's tensors moved to this worker's device."""
        from torch.utils._pytree import tree_map_only

        if self.device.type == "cpu":
            return batch
        inputs, targets, units = tree_map_only(
            Tensor, lambda t: t.to(self.device), (batch.inputs, batch.targets, batch.sample_of_unit)
        )
        return dataclasses.replace(batch, inputs=inputs, targets=targets, sample_of_unit=units)

    def once(self, make: Callable[[], T]) -> T:
        """Done by rank 0 and sent to the others, who wait."""
        import torch.distributed as dist

        made: list[Any] = [make() if self.rank == 0 else None]
        dist.broadcast_object_list(made, src=0, device=torch.device("cpu") if self._has_cpu_group else None)
        return made[0]

    def agree(self, flag: bool) -> bool:
        """Rank 0's flag."""
        import torch.distributed as dist

        said = torch.tensor(int(flag), device=self.device)
        dist.broadcast(said, src=0)
        return bool(said)

    @property
    def _has_cpu_group(self) -> bool:
        return self.device.type == "cpu"


class Rows(torch.autograd.Function):
    """The rows of all workers, one worker's after another's; a row's gradient is the sum of what all give it."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, counts: list[int], rank: int) -> Tensor:
        """(all rows, ...); `counts` says how many each worker has."""
        import torch.distributed as dist

        ctx.shape, ctx.first, ctx.count = own.shape, sum(counts[:rank]), counts[rank]
        padded = own.new_zeros(max(counts), *own.shape[1:])
        padded[: ctx.count] = own[: ctx.count]
        found = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(found, padded)
        return torch.cat([rows[:count] for rows, count in zip(found, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """This worker's rows of it; zeros where they are no part of the batch."""
        import torch.distributed as dist

        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        mine = total.new_zeros(ctx.shape)
        mine[: ctx.count] = total[ctx.first : ctx.first + ctx.count]
        return mine, None, None


def _blocks(model: nn.Module) -> list[nn.Module]:
    """The members of every list of modules (transformer blocks), inner ones first."""
    lists = [module for module in model.modules() if isinstance(module, (nn.ModuleList, nn.Sequential))]
    return [
        block
        for members in reversed(lists)
        if isinstance(members, nn.ModuleList)
        for block in members
        if next(block.parameters(), None) is not None
    ]


def refuse_model(model: nn.Module, batch_norm: str = "update") -> None:
    """Refuse a model whose outputs depend on which samples share a batch."""
    for module in model.modules():
        if not isinstance(module, nn.modules.batchnorm._BatchNorm) or batch_norm == "frozen":
            continue
        if module.weight is None or module.weight.requires_grad:
            raise UserError(
                "train.strategy: fsdp cannot train BatchNorm with train.batch_norm: update: each worker would "
                "normalise by its own part of the batch; set train.batch_norm: frozen, or train.strategy: single."
            )
