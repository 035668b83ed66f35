"""A tuned model as a LoRA adapter of peft on top of its base: small files that peft loads and merges.

The adapter is made from the weights before and after, not from the factors that were trained: tasks tuned one
after the other, each with adapters of its own, add up to one adapter of the summed rank, and edits after the task
(averaging with the base) are in it, too. A bare `nn.MultiheadAttention`, as CLIP's towers have it, is saved whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from cl_forget.ground.files import whole
from cl_forget.ground.tensors import save_tensors

FOLDER = "adapter"
"""Name of the adapter's folder in that of a run."""
PREFIX = "base_model.model."
EXACT = 1e-6
"""How far a weight with its adapter merged may lie from the tuned one."""
DENSE = 1024
"""Up to this width the factors are taken from the whole singular value decomposition."""


class NotAnAdapter(Exception):
    """The change of a model cannot be written as a LoRA of peft; says why in a few words."""


def export_adapter(
    folder: Path, model: nn.Module, base: Mapping[str, Tensor], rank: int, base_name: str, causal: bool
) -> list[Path]:
    """Write `adapter/`: `adapter_config.json` and `adapter_model.safetensors`, as peft saves and loads them.

    Args:
        folder: the run's.
        model: the library's own model, tuned.
        base: its weights before, by the names they have in it.
        rank: of the change of every linear map, at most.
        base_name: what the base is called.
        causal: whether it is a causal language model.

    Raises:
        NotAnAdapter: something else than linear maps has changed, or their change has a larger rank.
    """
    from peft import LoraConfig

    changed = _changes(model, base)
    maps, attention = _linear_maps(model), _attention(model)
    whole_modules = list(dict.fromkeys(attention[name] for name in changed if name in attention))
    strange = next((name for name in changed if name not in maps and name not in attention), None)
    if strange is not None:
        raise NotAnAdapter(f"'{strange}' was tuned, too, and is no linear map that peft adapts")
    # peft wants at least one map, be it one that does not change.
    targets = [name for name in changed if name in maps] or list(maps)[:1]
    tensors: dict[str, Tensor] = {}
    for name in targets:
        path = f"{PREFIX}{name.removesuffix('.weight')}"
        down, up = _factors(name, changed.get(name), model.get_parameter(name), rank, maps[name])
        tensors |= {f"{path}.lora_A.weight": down, f"{path}.lora_B.weight": up}
    for path in whole_modules:
        saved = model.get_submodule(path).state_dict()
        tensors |= {f"{PREFIX}{path}.{name}": tensor for name, tensor in saved.items()}
    config = LoraConfig(
        r=rank,
        lora_alpha=rank,  # the factors hold the scale
        target_modules=[name.removesuffix(".weight") for name in targets],
        modules_to_save=whole_modules or None,
        fan_in_fan_out=any(maps[name] for name in targets),
        base_model_name_or_path=base_name,
        task_type="CAUSAL_LM" if causal else None,
        inference_mode=True,
    )
    target = folder / FOLDER
    with whole(target) as temporary:
        temporary.mkdir()
        save_tensors(temporary / "adapter_model.safetensors", tensors)
        config.save_pretrained(str(temporary))
        _remove(target)
    return sorted(target.iterdir())


def _linear_maps(model: nn.Module) -> dict[str, bool]:
    """Every weight that peft can adapt -> whether it is kept as (in, out), as transformers' Conv1D does."""
    inside = _attention(model)
    found = {}
    for path, module in model.named_modules():
        name = f"{path}.weight"
        if (isinstance(module, nn.Linear) and name not in inside) or type(module).__name__ == "Conv1D":
            found[name] = type(module).__name__ == "Conv1D"
    return found


def _attention(model: nn.Module) -> dict[str, str]:
    """Every weight of an `nn.MultiheadAttention` -> the module, which is saved as a whole.

    peft can adapt them, too, but its layer (0.21) adds the change of the output projection twice.
    """
    return {
        f"{path}.{name}": path
        for path, module in model.named_modules()
        if isinstance(module, nn.MultiheadAttention)
        for name in module.state_dict()
    }


def _changes(model: nn.Module, base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The difference of every tensor that has moved; the second name of a tied one is not in `base`."""
    moved = {}
    for name, tensor in model.state_dict().items():
        before = base.get(name)
        if before is not None and not torch.equal(before.to(tensor.device), tensor):
            moved[name] = tensor.cpu().double() - before.cpu().double()
    return moved


def _factors(
    name: str, change: Tensor | None, weight: Tensor, rank: int, transposed: bool
) -> tuple[Tensor, Tensor]:
    """(rank, in) and (out, rank) whose product is the change."""
    rows, columns = weight.T.shape if transposed else weight.shape
    down, up = torch.zeros(rank, columns), torch.zeros(rows, rank)
    if change is None:
        return down, up
    change = change.T if transposed else change
    if min(change.shape) <= DENSE:
        u, s, v = torch.linalg.svd(change, full_matrices=False)
        v = v.T
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            u, s, v = torch.svd_lowrank(change, q=min(rank + 16, *change.shape), niter=6)
    kept = min(rank, len(s))
    root = s[:kept].sqrt()
    down[:kept], up[:, :kept] = root[:, None] * v[:, :kept].T, u[:, :kept] * root
    far = float((up.double() @ down.double() - change).abs().max())
    if not far <= EXACT * max(1.0, float(weight.abs().max())):
        raise NotAnAdapter(f"the change of '{name}' is not of rank {rank} (it misses by {far:.1g})")
    return down.contiguous(), up.contiguous()


def _remove(folder: Path) -> None:
    """An adapter that is there already."""
    if folder.is_dir():
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
