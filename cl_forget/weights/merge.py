"""Two checkpoints compared and mixed, tensor by tensor: `θ0 + s·(θ-θ0)`, with a share s for each tensor."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cl_forget.ground.errors import UserError
from cl_forget.weights.adapter import WithAdapter
from cl_forget.weights.checkpoint import Checkpoint, copy_companions
from cl_forget.weights.distance import squared_distance
from cl_forget.weights.interpolation import TensorEdit, interpolate
from cl_forget.weights.keys import TIED, refuse_quantised
from cl_forget.weights.reading import TensorInfo, TensorSource
from cl_forget.weights.writing import whole, write_file

if TYPE_CHECKING:
    from cl_forget.weights.interpolation import Share

_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Distance:
    """How far some tensors have moved.

    Attributes:
        parameters: how many numbers they hold.
        distance: ‖θ - θ0‖, L2.
        relative: ‖θ - θ0‖ / ‖θ0‖; None where θ0 is zero.
    """

    parameters: int
    distance: float
    relative: float | None


def check_pair(base: TensorSource, tuned: TensorSource) -> None:
    """Refuse two checkpoints that are not of one architecture.

    Raises:
        UserError: tensors that only one of them has, other shapes or vocabularies, or quantised weights.
    """
    missing = [n for n in base.infos if n not in tuned.infos]
    if TIED.keys() & set(missing) and not untied_head(base):
        missing = [name for name in missing if name not in TIED]
    extra = [n for n, i in tuned.infos.items() if i.dtype in _FLOATS and in_base(base, n) is None]
    if len(missing) + len(extra) > (len(base.infos) + len(tuned.infos)) / 2:
        raise UserError(
            f"{base.where} and {tuned.where} are two architectures: '{[*extra, *missing][0]}' is in only one of "
            "them; name as base the model that was fine-tuned."
        )
    if missing:
        raise UserError(
            f"{tuned.where} lacks {len(missing)} tensors of {base.where}, the first '{missing[0]}'; save the "
            "whole model, or give a LoRA adapter's folder."
        )
    if extra:
        raise UserError(
            f"{tuned.where} has {len(extra)} tensors that {base.where} lacks, the first '{extra[0]}'; name as "
            "base the model that was fine-tuned."
        )
    for one, other in ((tuned, base), (base, tuned)):
        floats = (name for name, info in other.infos.items() if info.dtype.is_floating_point)
        refuse_quantised(
            one.where, [n for n in floats if n in one.infos and not one.infos[n].dtype.is_floating_point]
        )
    for name, (dtype, shape) in tuned.infos.items():
        original = in_base(base, name)
        if original is not None and base.infos[original].shape != shape:
            raise UserError(_shapes_differ(name, base, original, tuned))
        if dtype.is_floating_point and dtype not in _FLOATS:
            raise UserError(f"'{name}' in {tuned.where} is {dtype}; save the model as bfloat16 or float32.")


def _shapes_differ(name: str, base: TensorSource, original: str, tuned: TensorSource) -> str:
    before, after = base.infos[original].shape, tuned.infos[name].shape
    if len(before) == 2 and before[1:] == after[1:] and any(w in name for w in ("embed", "wte", "lm_head")):
        return (
            f"the vocabularies differ: {before[0]} tokens in {base.where}, {after[0]} in {tuned.where}; give the "
            f"base the same tokens first (resize_token_embeddings({after[0]}), then save it)."
        )
    return (
        f"'{name}' is {before} in {base.where} and {after} in {tuned.where}: two sizes of one architecture; name as "
        "base the model that was fine-tuned."
    )


def in_base(base: TensorSource, name: str) -> str | None:
    """The base's name of a tensor: its own, or the one it is tied to; None where it has neither."""
    if name in base.infos:
        return name
    return next((tied for tied in TIED.get(name, ()) if tied in base.infos), None)


def untied_head(source: TensorSource) -> bool:
    """Whether a language model's output head is not its embedding: both are there, and differ."""
    for head, embeddings in TIED.items():
        tied = next((name for name in embeddings if name in source.infos), None)
        if head in source.infos and tied is not None:
            same = source.infos[head] == source.infos[tied]
            return not (same and torch.equal(source.load(head), source.load(tied)))
    return False


def distances(
    base: TensorSource, tuned: TensorSource, groups: Callable[[str], Iterable[str]]
) -> dict[str, Distance]:
    """‖θ - θ0‖ by group of tensors, read one by one; floating-point tensors that both have.

    Args:
        base, tuned: two checkpoints that `check_pair` accepts.
        groups: name of a tensor -> the groups it counts in; "all" is added for the whole.

    Raises:
        UserError: a tensor holds what is no finite number, as after a training that diverged.
    """
    moved: dict[str, float] = {}
    size: dict[str, float] = {}
    count: dict[str, int] = {}
    for name, info in tuned.infos.items():
        original = in_base(base, name)
        if not info.dtype.is_floating_point or original is None:
            continue
        before, after = base.load(original), tuned.load(name)
        for where, tensor in ((base.where, before), (tuned.where, after)):
            if not torch.isfinite(tensor.float()).all():
                raise UserError(
                    f"'{name}' in {where} holds numbers that are not finite (NaN or infinite): the training has "
                    "diverged; give an earlier checkpoint."
                )
        square, norm = squared_distance(after, before), squared_distance(before)
        for key in ("all", *groups(name)):
            moved[key] = moved.get(key, 0.0) + square
            size[key] = size.get(key, 0.0) + norm
            count[key] = count.get(key, 0) + before.numel()
    return {
        key: Distance(count[key], moved[key] ** 0.5, (moved[key] / size[key]) ** 0.5 if size[key] else None)
        for key in moved
    }


def mixed(base: TensorSource, tuned: TensorSource, name: str, share: Share) -> Tensor:
    """`interpolate` of one tensor, in the tuned checkpoint's data type; what is not needed is not read."""
    dtype = tuned.infos[name].dtype
    original = in_base(base, name)
    if original is None or not dtype.is_floating_point or (isinstance(share, (int, float)) and share == 1):
        return tuned.load(name)
    before = base.load(original)
    if isinstance(share, (int, float)) and share == 0:
        return before.to(dtype)
    common = torch.promote_types(before.dtype, dtype)
    return interpolate(before.to(common), tuned.load(name).to(common), share).to(dtype)


def merge(
    base: TensorSource,
    tuned: Checkpoint,
    share: Callable[[str], Share],
    output: Path,
    into: Checkpoint | None = None,
) -> list[Path]:
    """Write `θ0 + s·(θ-θ0)` in the format the tuned model came in, one tensor in memory at a time.

    Tensors whose share is 0 are the base's to the bit, those whose share is 1 the tuned ones. An adapter stays
    an adapter: its B are scaled, or its rank grows by that of what an edit adds, exactly the same model; what it
    saves whole is mixed with the base.

    Args:
        base: θ0.
        tuned: θ.
        share: name of a tensor -> its s.
        output: a folder that does not exist or is empty.
        into: write in this checkpoint's format instead (an adapter merged into its base's format).

    Raises:
        UserError: the two do not fit each other, or the folder cannot be written to.
    """
    check_pair(base, tuned.source)
    if into is not None:
        return into.write(output, lambda name: mixed(base, tuned.source, name, share(name)))
    if isinstance(tuned.source, WithAdapter):
        return _edited_adapter(tuned.source, share, output)
    return tuned.write(output, lambda name: mixed(base, tuned.source, name, share(name)))


def _edited_adapter(tuned: WithAdapter, share: Callable[[str], Share], output: Path) -> list[Path]:
    if any(pair.start is not None for pair in tuned.pairs.values()):
        raise UserError(
            f"the adapter in {tuned.where} changes the base before it adds to it, so it cannot be scaled; write the "
            "whole model (--merge-adapter)."
        )
    shares = {target: share(target) for target in tuned.pairs}
    more = {
        target: _more(tuned, target, edit) for target, edit in shares.items() if isinstance(edit, TensorEdit)
    }
    factors = {pair.b: shares[target] for target, pair in tuned.pairs.items() if target not in more}
    columns = {tuned.pairs[target].b: found[0] for target, found in more.items()}
    rows = {tuned.pairs[target].a: found[1] for target, found in more.items()}
    replaced = {name: target for target, name in tuned.saved.items()}

    def tensor(name: str) -> Tensor:
        value = tuned.adapter.load(name)
        if name in factors:
            factor = factors[name]
            if isinstance(factor, Tensor):
                raise UserError("a LoRA adapter takes one share per tensor; merge it (--merge-adapter).")
            assert not isinstance(factor, TensorEdit), "those are in `more`"
            return value * factor
        if name in columns:
            return torch.cat([value, columns[name].to(value.dtype)], 1)
        if name in rows:
            return torch.cat([value, rows[name].to(value.dtype)])
        if name in replaced:
            before = tuned.base.load(replaced[name]).to(value.dtype)
            return interpolate(before, value, share(replaced[name]))
        return value

    file = Path(tuned.adapter.where)
    if output.exists() and any(output.iterdir()):
        raise UserError(f"{output} exists; choose another --output, or remove it.")
    with whole(output) as temporary:
        temporary.mkdir()
        copy_companions(file.parent, temporary)
        tuned.say_ranks(temporary, {target: len(found[1]) for target, found in more.items()})
        infos = {
            name: TensorInfo(info.dtype, tuple(tensor(name).shape))
            if name in columns or name in rows
            else info
            for name, info in tuned.adapter.infos.items()
        }
        write_file(temporary / file.name, infos, tensor, tuned.adapter.metadata, file.suffix)
    return sorted(output.iterdir())


def _more(tuned: WithAdapter, target: str, edit: TensorEdit) -> tuple[Tensor, Tensor]:
    """Columns of B and rows of A for what an edit adds to one weight."""
    pair = tuned.pairs[target]
    added = edit.added(tuned.base.load(target), tuned.load(target))
    if added is None:
        raise UserError(
            "what is merged of several adapters is no adapter: write the whole model (--merge-adapter)."
        )
    b, a = (added[1].mT, added[0].mT) if pair.transposed else added
    return b / pair.scale, a
