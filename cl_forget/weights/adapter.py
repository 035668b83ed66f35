"""A LoRA adapter of peft on top of a base: the tuned tensors are made when they are read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from cl_forget.ground.errors import UserError
from cl_forget.weights.formats import read_adapter_config
from cl_forget.weights.reading import TensorSource, open_file

PREFIX = "base_model.model."
_MERGE = "merge it with peft's merge_and_unload() and give the merged model"


@dataclass(frozen=True)
class Pair:
    """What a LoRA adds to one tensor: `scale·B·A`, transposed where the layer keeps (in, out) or is an embedding.

    Attributes:
        a, b: names of A (rank, in) and B (out, rank) in the adapter's file.
        scale: α/r, or α/√r.
        transposed: whether the sum is added transposed.
    """

    a: str
    b: str
    scale: float
    transposed: bool


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
        self.infos: Mapping = base.infos
        self.pairs: dict[str, Pair] = {}
        self.saved: dict[str, str] = {}
        for name in self.adapter.infos:
            self._place(name, config)
        self._check()

    def _place(self, name: str, config: dict[str, Any]) -> None:
        """Find out which tensor of the base one tensor of the adapter acts on."""
        inner = name.removeprefix(PREFIX)
        match = re.fullmatch(r"(.+)\.lora_(embedding_)?([AB])(?:\.weight)?", inner)
        if match is None:
            self.saved[inner.replace(".modules_to_save.", ".").replace(".base_layer.", ".")] = name
        elif match[3] == "B":
            module, embedding = match[1], bool(match[2])
            target = f"{module}.weight" if f"{module}.weight" in self.base.infos else module
            a = name.replace("lora_embedding_B", "lora_embedding_A").replace("lora_B", "lora_A")
            transposed = embedding or bool(config.get("fan_in_fan_out"))
            self.pairs[target] = Pair(a, name, _scale(module, config), transposed)

    def _check(self) -> None:
        strange = [n for n in (*self.pairs, *self.saved) if n not in self.base.infos]
        if strange:
            raise UserError(
                f"the adapter in {self.where} acts on '{strange[0]}', which {self.base.where} does not have; name "
                "as base the model it was trained on."
            )
        for target, pair in self.pairs.items():
            if pair.a not in self.adapter.infos:
                raise UserError(f"the adapter in {self.where} lacks '{pair.a}'; save or download it again.")
            if any(len(self.adapter.infos[name].shape) != 2 for name in (pair.a, pair.b)):
                raise UserError(f"'{pair.a}' of the adapter in {self.where} is no matrix; save it again.")
            rows, columns = self.adapter.infos[pair.b].shape[0], self.adapter.infos[pair.a].shape[1]
            found = (columns, rows) if pair.transposed else (rows, columns)
            if found != self.base.infos[target].shape:
                raise UserError(
                    f"the adapter in {self.where} changes '{target}' of shape {found}, which is "
                    f"{self.base.infos[target].shape} in {self.base.where}; name the model it was trained on."
                )

    def load(self, name: str) -> Tensor:
        """The base's tensor with the adapter's change added."""
        if name in self.saved:
            tensor = self.adapter.load(self.saved[name]).to(self.base.infos[name].dtype)
        else:
            tensor = self.base.load(name)
        if name in self.pairs:
            pair = self.pairs[name]
            a, b = self.adapter.load(pair.a), self.adapter.load(pair.b)
            delta = (b.float() @ a.float()) * pair.scale
            tensor = (tensor.float() + (delta.T if pair.transposed else delta)).to(tensor.dtype)
        return tensor


def _config(folder: Path) -> dict[str, Any]:
    config = read_adapter_config(folder)
    if config.get("peft_type") != "LORA":
        raise UserError(f"the adapter in {folder} is {config.get('peft_type')}, not LORA; {_MERGE}.")
    for variant in (
        "use_dora",
        "use_qalora",
        "alora_invocation_tokens",
        "lora_bias",
        "trainable_token_indices",
    ):
        if config.get(variant):
            raise UserError(f"the adapter in {folder} uses {variant}, which is not α/r·BA; {_MERGE}.")
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
