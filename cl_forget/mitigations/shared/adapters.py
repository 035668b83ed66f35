"""What the LoRA methods share: low-rank adapters put into a model, and merged into its weights again.

A linear map can be used in two ways. A module that is *called* (the MLP of a block, every projection of a
language model) is wrapped by peft's own layer, which never forms B·A. A weight that is only *read* (the
`in_proj_weight` of `nn.MultiheadAttention`, and its `out_proj`, which is never called) gets no gradient that
way; the module that reads it is wrapped so that it reads `W0 + (a/r)·B·A` instead. Which is which is not
guessed from names: one forward pass shows what is called. A narrow `nn.Linear` is read too: there, the
passes over activations that the low-rank path adds cost more than the weight gradient it saves. peft's own
layer for `nn.MultiheadAttention` is not used, because it adds and subtracts B·A in place at every pass,
which rounds the frozen weights away and makes a resumed run differ from an uninterrupted one.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cl_forget.ground.errors import UserError
from cl_forget.models.base import FoundationModel, evaluating
from cl_forget.training.context import Task

NAME = "default"  # of the adapter in peft's dictionaries
WIDE = 768
"""From this width (the smaller of in and out) on, the low-rank path is the faster one.

Forward, backward and update on one core, as a ratio to full training: low-rank 1.85, read 0.84 at 128 x 512;
1.06 and 0.94 at 512 x 2048; 0.84 and 1.07 at 768 x 3072.
"""

Placement = Literal["all", "attention", "mlp"]


@dataclass
class Adapter:
    """One adapted weight.

    Attributes:
        weight: W0, frozen, (out, in); (in, out) if `transposed`.
        down: A, (rank, in), trainable; of experts (experts, rank, in).
        up: B, (out, rank), trainable; of experts (experts, out, rank).
        transposed: whether the module keeps its weight the other way round (GPT-2's Conv1D).
    """

    weight: Tensor
    down: nn.Parameter
    up: nn.Parameter
    transposed: bool = False


class Reads(nn.Module):
    """A module that reads some of its weights itself, given others in their place.

    Args:
        base: the module, whose own parameters never change.
        names: the weights that others are given for, by their names in it.
    """

    def __init__(self, base: nn.Module, names: list[str]) -> None:
        super().__init__()
        self.base, self.names = base, tuple(names)

    def adapted(self) -> dict[str, Tensor]:
        """The weights as the base reads them."""
        raise NotImplementedError

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The base's forward pass."""
        return torch.func.functional_call(self.base, self.adapted(), args, kwargs)

    def merge(self) -> nn.Module:
        """The base with the adapted weights as its own."""
        with torch.no_grad():
            for name, weight in self.adapted().items():
                self.base.get_parameter(name).copy_(weight)
        return self.base


class ReadsAdapted(Reads):
    """A module that reads `W0 + scale·B·A`.

    Args:
        base: the module, whose own parameters never change.
        names: its adapted weights, by their names in it.
        rank, scale: r, and a/r.
    """

    def __init__(self, base: nn.Module, names: list[str], rank: int, scale: float) -> None:
        super().__init__(base, names)
        self.scale = scale
        weights = [base.get_parameter(name) for name in names]
        # "weight", because methods (ASAM) tell weights from biases by their names
        self.down_weights = nn.ParameterList(
            weight.new_zeros(*weight.shape[:-2], rank, weight.shape[-1]) for weight in weights
        )
        self.up_weights = nn.ParameterList(weight.new_zeros(*weight.shape[:-1], rank) for weight in weights)

    def adapted(self) -> dict[str, Tensor]:
        """The weights as the base reads them."""
        triples = zip(self.names, self.up_weights, self.down_weights, strict=True)
        return {n: _sum(self.base.get_parameter(n), up, a, self.scale) for n, up, a in triples}


def insert(
    task: Task,
    rank: int,
    alpha: float,
    placement: Placement,
    start: Callable[[str, Adapter], tuple[Tensor, Tensor]],
    experts: bool = False,
) -> None:
    """Put adapters into the task's model; they and the heads are what is trained.

    Args:
        task: the task; only maps that are trainable at this point are adapted.
        rank: r.
        alpha: a; adapters are scaled by a/r.
        placement: which maps.
        start: weight's name and adapter -> the first values of (A, B).
        experts: whether the maps of a mixture's experts, kept in one tensor, get an adapter each.

    Raises:
        UserError: the model has no such maps.
    """
    model, scale = task.model, alpha / rank
    names = linear_maps(model, placement) + (
        expert_maps(model) if experts and placement != "attention" else []
    )
    readers = readers_of(task, names, "LoRA", placement)
    heads = trained_heads(task)
    called = [readers[name] for name in names if _calls_peft(model, name, readers[name])]
    _inject(model, called, rank, alpha)
    others = {name: reader for name, reader in readers.items() if reader not in called}
    wrap(model, others, lambda base, inside: ReadsAdapted(base, inside, rank, scale))
    model.requires_grad_(False)
    for name, adapter in adapters(model).items():
        with torch.no_grad():
            for factor, first in zip((adapter.down, adapter.up), start(name, adapter), strict=True):
                factor.copy_(first)
                factor.requires_grad_(True)
    for head in heads:
        head.requires_grad_(True)


def wrap(
    model: FoundationModel, readers: dict[str, str], make: Callable[[nn.Module, list[str]], Reads]
) -> None:
    """Put a wrapper around each module that reads adapted weights.

    Args:
        model: the model, changed in place.
        readers: weight's name -> path of the module that reads it.
        make: that module and the names of the weights in it -> its wrapper.
    """
    # What is inside another reader first: its path changes when that one is wrapped.
    for reader in sorted(dict.fromkeys(readers.values()), key=lambda path: -path.count(".")):
        inside = [name.removeprefix(f"{reader}.") for name, own in readers.items() if own == reader]
        _replace(model, reader, make(model.get_submodule(reader), inside))


def merge(model: FoundationModel) -> None:
    """Add every adapter to its weight and take it out; modules, names and their order are the model's own."""
    from peft.tuners.lora import LoraLayer

    for path, module in reversed(list(model.named_modules())):
        if isinstance(module, Reads):
            _replace(model, path, module.merge())
        elif isinstance(module, LoraLayer):
            module.merge()  # type: ignore[operator]
            _replace(model, path, module.get_base_layer())
    vars(model).pop("peft_config", None)


def adapters(model: FoundationModel) -> dict[str, Adapter]:
    """The adapters in a model by the name of the weight each belongs to."""
    from peft.tuners.lora import LoraLayer

    found: dict[str, Adapter] = {}
    readers: list[str] = []
    for path, module in model.named_modules():
        for reader in reversed(
            readers
        ):  # what lies in a wrapped module keeps the name that it has in the model
            path = path.replace(f"{reader}.base.", f"{reader}.", 1)
        if isinstance(module, ReadsAdapted):
            readers.append(path)
            factors: Any = zip(module.names, module.down_weights, module.up_weights, strict=True)
            for name, down, up in factors:
                found[f"{path}.{name}"] = Adapter(module.base.get_parameter(name), down, up)
        elif isinstance(module, LoraLayer):
            base: Any = module.get_base_layer()
            a: Any = module.lora_A[NAME]
            b: Any = module.lora_B[NAME]
            found[f"{path}.weight"] = Adapter(base.weight, a.weight, b.weight, _is_conv1d(base))
    return found


def random_start(task: Task) -> Callable[[str, Adapter], tuple[Tensor, Tensor]]:
    """LoRA's own start: A uniform in ±1/√in, B zero; the same on every call, so that a resumed run agrees."""

    def start(name: str, adapter: Adapter) -> tuple[Tensor, Tensor]:
        bound = 1 / math.sqrt(adapter.down.shape[-1])
        drawn = torch.rand(adapter.down.shape, generator=task.generator(f"lora {name}"), dtype=torch.float64)
        return (2 * drawn - 1) * bound, torch.zeros_like(adapter.up)

    return start


def remark(method: str, model: FoundationModel, experts: bool = False) -> list[str]:
    """What adapters cannot reach inside the blocks (routers, convolutions), as a sentence; none where they reach all.

    Args:
        method: its name.
        model: the model.
        experts: whether the maps of a mixture's experts are reached.
    """
    reached = {*linear_maps(model, "all", trainable=False)}
    reached |= {*expert_maps(model, trainable=False)} if experts else set()
    weights = {
        name: weight.numel()
        for name, weight in model.named_parameters()
        if weight.ndim > 1 and model.block_of(name) is not None
    }
    left = sorted((name for name in weights if name not in reached), key=lambda name: -weights[name])
    if not left:
        return []
    # 0.9999 is not all of it.
    share = min(1 - sum(weights[name] for name in left) / sum(weights.values()), 0.999)
    return [
        f"{method} reaches {share:.1%} of the weights in the blocks; {len(left)} that are no linear maps stay as "
        f"they are, the largest '{left[0]}'."
    ]


def linear_maps(model: FoundationModel, placement: Placement, trainable: bool = True) -> list[str]:
    """Names of the weights of linear maps inside the blocks (anywhere, if there are none in them).

    Args:
        model: the model.
        placement: which maps.
        trainable: only those that are trainable at this point.
    """
    found = []
    for path, module in model.named_modules():
        own = "in_proj_weight" if isinstance(module, nn.MultiheadAttention) else "weight"
        linear = isinstance(module, (nn.Linear, nn.MultiheadAttention)) or _is_conv1d(module)
        weight = getattr(module, own, None) if linear else None
        name = f"{path}.{own}"
        if weight is None or path.startswith("heads.") or (trainable and not weight.requires_grad):
            continue
        attention = "attn" in path or "attention" in path
        placed = placement == "all" or attention == (placement == "attention")
        if placed:
            found.append(name)
    inside = [name for name in found if model.block_of(name) is not None]
    return inside or found


def expert_maps(model: FoundationModel, trainable: bool = True) -> list[str]:
    """Names of the weights (experts, out, in) of mixtures of experts that keep them in one tensor."""
    return [
        name
        for name, weight in model.named_parameters()
        if weight.ndim == 3
        and (weight.requires_grad or not trainable)
        and ".experts." in name
        and model.block_of(name) is not None
    ]


def _sum(weight: Tensor, up: Tensor, down: Tensor, scale: float) -> Tensor:
    add = torch.addmm if weight.ndim == 2 else torch.baddbmm
    return add(weight, up, down, alpha=scale)


def out_by_in(model: FoundationModel, name: str) -> Tensor:
    """A linear map's weight as (out, in)."""
    weight = model.get_parameter(name)
    return weight.T if _is_conv1d(model.get_submodule(name.rpartition(".")[0])) else weight


def _is_conv1d(module: nn.Module) -> bool:
    return type(module).__name__ == "Conv1D"  # of transformers: a linear map that keeps (in, out)


def _calls_peft(model: FoundationModel, name: str, reader: str) -> bool:
    """Whether a map goes through peft's layer: its own module is called, and it is wide or no `nn.Linear`."""
    module = model.get_submodule(reader)
    narrow = isinstance(module, nn.Linear) and min(module.weight.shape) < WIDE
    return name == f"{reader}.weight" and not narrow


def trained_heads(task: Task) -> list[nn.Parameter]:
    """The parameters of the heads of this stage and of earlier ones that are trainable at this point."""
    experiences = [*task.stage, *(source.experience for source in task.past)]
    names = dict.fromkeys(name for e in experiences for name in task.model.head_parameters(e))
    return [p for name in names if (p := task.model.get_parameter(name)).requires_grad]


def readers_of(task: Task, names: list[str], method: str, placement: Placement) -> dict[str, str]:
    """For each weight the path of the module that reads it: the innermost one that a forward pass calls.

    Args:
        task: the task.
        names: the weights.
        method: what they are wanted for, for the message.
        placement: where they were looked for.

    Raises:
        UserError: there is no weight, or one that the model never uses.
    """
    if not names:
        raise UserError(
            f"'{task.model.spec}' has no trainable linear maps for {method} at '{placement}'; "
            + (
                f"freeze less, or leave {method} out where the network is one of convolutions."
                if placement == "all"
                else "set placement to 'all', or freeze less."
            )
        )
    model = task.model
    called: set[str] = set()
    hooks = [
        module.register_forward_hook(lambda _m, _i, _o, path=path: called.add(path))
        for path, module in model.named_modules()
        if path
    ]
    try:
        with torch.no_grad(), evaluating(model):
            model(task.sources[0].plain().batch(torch.arange(1)))
    finally:
        for hook in hooks:
            hook.remove()
    readers = {}
    for name in names:
        path = name.rpartition(".")[0]
        while path and path not in called:
            path = path.rpartition(".")[0]
        if path:
            readers[name] = path
        else:
            raise UserError(f"'{model.spec}' never uses '{name}': it cannot be adapted; freeze it.")
    return readers


def _inject(model: FoundationModel, paths: list[str], rank: int, alpha: float) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    if not paths:
        return
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=paths, lora_dropout=0.0)  # type: ignore[arg-type]
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.filterwarnings("ignore", message="fan_in_fan_out")
        inject_adapter_in_model(config, model, NAME)


def _replace(model: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, module)
