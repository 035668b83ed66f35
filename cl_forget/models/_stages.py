"""Which parts of a network for images are its blocks: by their names, or as timm lists the ends of its stages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from cl_forget.weights.blocks import block_paths

_STEM = 2
"""Up to this reduction what timm lists is the stem."""


@dataclass(frozen=True)
class Blocks:
    """The blocks of a network.

    Attributes:
        ends: path of the module whose output is what a block gives, shallow to deep.
        start: path of the module that the first block's input is read at; None without blocks.
        after_start: whether that input is what the module gives, not what it is given.
        inside: path of a module -> index of the block that it is part of; what is in none is missing.
    """

    ends: tuple[str, ...] = ()
    start: str | None = None
    after_start: bool = False
    inside: dict[str, int] | None = None

    def of(self, tensor: str) -> int | None:
        """Index of the block that a parameter or buffer belongs to; None for the rest."""
        return (self.inside or {}).get(tensor.rpartition(".")[0])


def blocks_of(net: nn.Module) -> Blocks:
    """The blocks of a network of timm or transformers; none where neither names nor timm tell."""
    named = block_paths(name for name, _ in net.named_parameters())
    listed = _listed(net)
    ends = [path for path, reduction in listed if reduction > _STEM]
    # A single numbered module (HRNet's first) is no sequence where timm knows of one.
    return _by_name(net, named) if len(named) > 1 or len(ends) <= len(named) else _by_stage(net, listed, ends)


def _by_name(net: nn.Module, paths: Sequence[str]) -> Blocks:
    if not paths:
        return Blocks()
    inside = {
        module: index
        for module, _ in net.named_modules()
        for index, path in enumerate(paths)
        if f"{module}.".startswith(f"{path}.")
    }
    return Blocks(tuple(_edge(net, path, -1) for path in paths), _edge(net, paths[0], 0), False, inside)


def _by_stage(net: nn.Module, listed: Sequence[tuple[str, int]], ends: Sequence[str]) -> Blocks:
    """A stage is listed by the module that ends it, and begins where the one before it ends."""
    modules = [path for path, _ in net.named_modules()]

    def last(path: str) -> int:
        return max(i for i, module in enumerate(modules) if f"{module}.".startswith(f"{path}."))

    stems = [path for path, reduction in listed if reduction <= _STEM]
    begin = last(stems[-1]) + 1 if stems else modules.index(ends[0])
    weighted = {name.rpartition(".")[0] for name, _ in net.named_parameters()}
    found: list[str] = []
    inside: dict[str, int] = {}
    for path in ends:
        stage = modules[begin : last(path) + 1]
        if weighted.intersection(stage):  # VGG's last is but a pooling
            inside.update(dict.fromkeys(stage, len(found)))
            found.append(_edge(net, path, -1))
            begin = last(path) + 1
    start = stems[-1] if stems else _edge(net, ends[0], 0)
    return Blocks(tuple(found), start, bool(stems), inside) if found else Blocks()


def _listed(net: nn.Module) -> list[tuple[str, int]]:
    """Path and reduction of the ends of stages that timm lists for a network, each once."""
    known = {path for path, _ in net.named_modules()}
    infos: Any = getattr(net, "feature_info", None) or ()
    found = {info["module"]: info.get("reduction", 0) for info in infos if info.get("module") in known}
    return list(found.items())


def _edge(net: nn.Module, path: str, which: int) -> str:
    """A module that is called, at one end of a part that may be a mere list of modules (which = 0 or -1)."""
    while isinstance(part := net.get_submodule(path), nn.ModuleList) and len(part):
        path = f"{path}.{range(len(part))[which]}"
    return path


def tokens(value: Any, batch: int, channels_last: bool) -> Tensor:
    """What a block gives or takes as (batch, tokens, channels).

    Args:
        value: a tensor, or several, nested or not, of which the first with a row for each sample counts.
        batch: samples.
        channels_last: whether maps (batch, ., ., .) are known to end with their channels; else it is seen where the
            first two of these sizes are equal, as those of a square picture, and the third is not.
    """
    found = next(part for part in _tensors(value) if len(part) == batch)
    if found.ndim != 4:
        return found
    _, first, second, third = found.shape
    if channels_last or first == second != third:
        return found.flatten(1, 2)
    return found.flatten(2).transpose(1, 2)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from _tensors(part)
