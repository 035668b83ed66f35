"""A LoRA adapter of peft on top of a base: the tuned tensors are made when they are read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cl_forget.ground.errors import UserError
from cl_forget.ground.files import write_text
from cl_forget.weights.formats import read_adapter_config
from cl_forget.weights.keys import TIED
from cl_forget.weights.reading import TensorInfo, TensorSource, open_file

PREFIX = "base_model.model."
_MERGE = "merge it with peft's merge_and_unload() and give the merged model"
_TENSOR = re.compile(r"(.+)\.lora_(embedding_)?([AB])(?:\.\w+)?(?:\.weight)?")

_PLAIN_STARTS = (None, True, False, "gaussian", "eva", "orthogonal")
"""Ways to start A and B that leave the base as it is."""
_UNDERSTOOD = frozenset(
    {
        "alpha_pattern",
        "arrow_config",
        "auto_mapping",
        "base_model_name_or_path",
        "bias",
        "corda_config",
        "eva_config",
    }
    | {"ensure_weight_tying", "exclude_modules", "fan_in_fan_out", "inference_mode", "init_lora_weights"}
    | {
        "layers_pattern",
        "layers_to_transform",
        "loftq_config",
        "lora_alpha",
        "lora_dropout",
        "lora_ga_config",
    }
    | {
        "megatron_config",
        "megatron_core",
        "modules_to_save",
        "peft_type",
        "peft_version",
        "qalora_group_size",
        "r",
    }
    | {"rank_pattern", "revision", "runtime_config", "target_modules", "task_type", "use_rslora"}
)
"""What an adapter's configuration may say; anything else that it turns on is another method than α/r·BA."""


@dataclass(frozen=True)
class Pair:
    """What a LoRA adds to one tensor: `scale·B·A`, transposed where the layer keeps (in, out) or is an embedding.

    Attributes:
        a, b: names of A (rank, in) and B (out, rank) in the adapter's file.
        scale: α/r, or α/√r.
        transposed: whether the sum is added transposed.
        start: "pissa" or "olora" where peft takes the first B·A off the base when it loads the adapter.
    """

    a: str
    b: str
    scale: float
    transposed: bool
    start: str | None = None

    def first(self, weight: Tensor, rank: int) -> Tensor:
        """What peft takes off a base weight before it adds `scale·B·A`; as large as the weight."""
        if self.start == "pissa":  # the r largest singular values; the transposed weight has the same
            left, sizes, right = torch.linalg.svd(weight.float(), full_matrices=False)
            return (left[:, :rank] * sizes[:rank]) @ right[:rank]
        q, r = torch.linalg.qr(weight.float())
        return self.scale * (q[:, :rank] @ r[:rank])


class WithAdapter(TensorSource):
    """The tensors of `base` with an adapter's changes merged in.

    Args:
        base: the model the adapter was trained on.
        folder: holds `adapter_config.json` and the adapter's weights.

    Attributes:
        adapter: the adapter's own tensors.
        pairs: by base tensor, the LoRA on it.
        saved: by base tensor, the name of the adapter's tensor that replaces it (`modules_to_save`, biases).

    Raises:
        UserError: no LoRA, a variant that is not α/r·BA, or one that does not fit the base.
    """

    def __init__(self, base: TensorSource, folder: Path) -> None:
        self.where, self.base = str(folder), base
        config = _config(folder)
        self.adapter = open_file(_weights(folder))
        self.infos: dict[str, TensorInfo] = dict(base.infos)
        self.pairs: dict[str, Pair] = {}
        self.saved: dict[str, str] = {}
        for name in self.adapter.infos:
            self._place(name, config)
        self._untie(config)
        self._check(config)

    def _place(self, name: str, config: dict[str, Any]) -> None:
        """Find out which tensor of the base one tensor of the adapter acts on."""
        # peft wraps the attention of open_clip, and in it the projection, whose name then has the wrapper in it.
        inner = name.removeprefix(PREFIX).replace(".base_layer.", ".")
        if ".original_module." in inner:  # the base's own, which peft saves with a resized vocabulary
            return
        match = _TENSOR.fullmatch(inner)
        if match is None:
            self.saved[re.sub(r"\.modules_to_save\.(default\.)?", ".", inner)] = name
            return
        other = "A" if match[3] == "B" else "B"
        partner = re.sub(rf"\.lora_(embedding_)?{match[3]}(?=\.|$)", rf".lora_\g<1>{other}", name)
        if partner not in self.adapter.infos:
            raise UserError(f"the adapter in {self.where} lacks '{partner}'; save or download it again.")
        if match[3] == "B":
            module, embedding = match[1], bool(match[2])
            places = (f"{module}.weight", f"{module}.in_proj_weight")
            target = next((place for place in places if place in self.base.infos), module)
            transposed = embedding or bool(config.get("fan_in_fan_out"))
            start = config.get("init_lora_weights")
            changed = start if start in ("pissa", "olora") else None
            if changed and (embedding or (transposed and changed == "olora")):
                raise UserError(f"the adapter in {self.where} starts '{module}' by {changed}; {_MERGE}.")
            # In its wrapper of attention peft adds the change of the projection twice, in training and in merging.
            times = 2 if ".base_layer.out_proj.lora_" in name else 1
            self.pairs[target] = Pair(partner, name, times * _scale(module, config), transposed, changed)

    def _untie(self, config: dict[str, Any]) -> None:
        """A base whose head is its embedding: an adapter that saves a head of its own has both."""
        for head, embeddings in TIED.items():
            tied = next((name for name in embeddings if name in self.base.infos), None)
            if head in self.base.infos or tied is None:
                continue
            if (tied in self.saved or tied in self.pairs) and head not in self.saved:
                raise UserError(
                    f"the adapter in {self.where} changes '{tied}', which is the base's head as well, and does not "
                    f"say which of the two it means; {_MERGE}."
                )
            if head in self.saved:
                self.infos[head] = self.base.infos[tied]

    def _check(self, config: dict[str, Any]) -> None:
        strange = [n for n in (*self.pairs, *self.saved) if n not in self.infos]
        if strange:
            raise UserError(
                f"the adapter in {self.where} acts on '{strange[0]}', which {self.base.where} does not have; name "
                "as base the model it was trained on."
            )
        for target, pair in self.pairs.items():
            first, second = self.adapter.infos[pair.a].shape, self.adapter.infos[pair.b].shape
            rank = int(_pattern(target.rpartition(".")[0], config.get("rank_pattern"), config["r"]))
            if len(first) != 2 or len(second) != 2 or first[0] != rank or second[1] != rank:
                raise UserError(
                    f"'{pair.a}' and '{pair.b}' in {self.where} are {first} and {second}, not of the rank {rank} "
                    "that adapter_config.json says; save the adapter again."
                )
            rows, columns = second[0], first[1]
            self._same_shape(target, (columns, rows) if pair.transposed else (rows, columns))
        for target, name in self.saved.items():
            self._same_shape(target, self.adapter.infos[name].shape)

    def _same_shape(self, target: str, found: tuple[int, ...]) -> None:
        wanted = self.infos[target].shape
        if found == wanted:
            return
        if len(found) == 2 and found[1:] == wanted[1:] and found[0] > wanted[0] and target in self.saved:
            self.infos[target] = TensorInfo(self.infos[target].dtype, found)  # a vocabulary with added tokens
            return
        raise UserError(
            f"the adapter in {self.where} changes '{target}' of shape {found}, which is {wanted} in "
            f"{self.base.where}; name the model it was trained on."
        )

    def say_ranks(self, folder: Path, grown: Mapping[str, int]) -> None:
        """Tell a copy of the adapter's configuration of ranks that have grown, at the scale that they had.

        Args:
            folder: holds the copy.
            grown: by base tensor, by how much its rank has grown.

        Raises:
            UserError: peft has no name for such a module in its patterns.
        """
        grown = {target: more for target, more in grown.items() if more}
        if not grown:
            return
        config = read_adapter_config(folder)
        ranks: dict[str, Any] = {}
        alphas: dict[str, Any] = {}
        for target, more in grown.items():
            pair = self.pairs[target]
            module = target.removesuffix(".weight")
            if ".base_layer." in pair.b or module == target:
                raise UserError(
                    f"the adapter in {self.where} wraps the attention of '{target}', so its rank cannot grow; write "
                    "the whole model (--merge-adapter)."
                )
            rank = self.adapter.infos[pair.a].shape[0] + more
            ranks[re.escape(module)] = rank
            alphas[re.escape(module)] = pair.scale * (rank**0.5 if config.get("use_rslora") else rank)
        # The first pattern that fits counts, so these stand before those that were there.
        config["rank_pattern"] = {**ranks, **(config.get("rank_pattern") or {})}
        config["alpha_pattern"] = {**alphas, **(config.get("alpha_pattern") or {})}
        write_text(folder / "adapter_config.json", json.dumps(config, indent=2) + "\n")

    def load(self, name: str) -> Tensor:
        """The base's tensor with the adapter's change added."""
        if name in self.saved:
            tensor = self.adapter.load(self.saved[name]).to(self.infos[name].dtype)
        else:
            tensor = self.base.load(name)
        if name in self.pairs:
            pair = self.pairs[name]
            a, b = self.adapter.load(pair.a), self.adapter.load(pair.b)
            delta = (b.float() @ a.float()) * pair.scale
            merged = tensor.float() + (delta.T if pair.transposed else delta)
            if pair.start is not None:
                merged -= pair.first(tensor, len(a))
            tensor = merged.to(tensor.dtype)
        return tensor


def _config(folder: Path) -> dict[str, Any]:
    config = read_adapter_config(folder)
    if config.get("peft_type") != "LORA":
        raise UserError(f"the adapter in {folder} is {config.get('peft_type')}, not LORA; {_MERGE}.")
    for name, value in config.items():
        if value and name not in _UNDERSTOOD:
            raise UserError(f"the adapter in {folder} uses {name}, which is not α/r·BA; {_MERGE}.")
    start = config.get("init_lora_weights")
    if start not in (*_PLAIN_STARTS, "pissa", "olora"):
        raise UserError(f"the adapter in {folder} starts by {start}, which changes the base; {_MERGE}.")
    return config


def _weights(folder: Path) -> Path:
    for name in ("adapter_model.safetensors", "adapter_model.bin"):
        if (folder / name).is_file():
            return folder / name
    raise UserError(f"{folder} has an adapter_config.json but no adapter_model.safetensors; save it again.")


def _scale(module: str, config: dict[str, Any]) -> float:
    """α/r of one module, with peft's patterns for single modules."""
    rank = _pattern(module, config.get("rank_pattern"), config["r"])
    alpha = _pattern(module, config.get("alpha_pattern"), config["lora_alpha"])
    return float(alpha / (rank**0.5 if config.get("use_rslora") else rank))


def _pattern(module: str, patterns: dict[str, Any] | None, default: float) -> float:
    for pattern, value in (patterns or {}).items():
        if re.fullmatch(rf"(.*\.)?({pattern})", module):
            return float(value)
    return float(default)
