"""What headers, indexes and adapter configurations must look like before anything is made of them."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from cl_forget.ground.documents import read_object
from cl_forget.ground.errors import UserError

MAX_HEADER = 100_000_000
"""The longest header of a safetensors file, bytes; that of the format's own library."""

_LFS = int.from_bytes(b"version ", "little")  # what a pointer of Git LFS begins with

Count = Annotated[int, Field(strict=True, ge=0, le=2**48)]


class Entry(BaseModel):
    """One tensor in the header of a safetensors file.

    Attributes:
        dtype: name of its type.
        shape: its sizes.
        data_offsets: where its bytes begin and end, from the header's end.
    """

    model_config = ConfigDict(frozen=True)

    dtype: str
    shape: tuple[Count, ...]
    data_offsets: tuple[Count, Count]


class Header(BaseModel):
    """The header of a safetensors file, checked against the file.

    Attributes:
        entries: by name, in the order of their bytes.
        metadata: the header's own strings.
        start: where the bytes of the tensors begin in the file.
    """

    entries: dict[str, Entry]
    metadata: dict[str, str]
    start: int


_ENTRIES = TypeAdapter(dict[str, Entry])
_METADATA = TypeAdapter(dict[str, str])


def read_header(path: Path, dtypes: Mapping[str, torch.dtype]) -> Header:
    """The header of a safetensors file.

    Args:
        path: the file.
        dtypes: the types that can be read, by the names the format gives them.

    Raises:
        UserError: it cannot be read, is no safetensors file, is cut short, or its tensors overlap.
    """
    again = "download or save it again."
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            if length == _LFS:
                raise UserError(
                    f"{path} is a Git LFS pointer and not the weights; run `git lfs pull` in its folder."
                )
            if size < 8 or length > min(size - 8, MAX_HEADER):
                raise UserError(
                    f"{path} is not a safetensors file (its header is longer than the file); {again}"
                )
            text = file.read(length)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; give a file that exists.") from None
    try:
        raw = json.loads(text, object_pairs_hook=_once)
        if not isinstance(raw, dict):
            raise ValueError("it is no object")
        metadata = _METADATA.validate_python(raw.pop("__metadata__", None) or {})
        entries = _ENTRIES.validate_python(raw)
    except ValidationError as error:
        raise UserError(f"{path} is not a safetensors file ({_mistake(error)}); {again}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not a safetensors file (its header: {error}); {again}") from None
    # The order of the data, which is the order they are best read and written in.
    entries = dict(sorted(entries.items(), key=lambda item: item[1].data_offsets))
    _check_layout(path, entries, dtypes, size - 8 - length)
    return Header(entries=entries, metadata=metadata, start=8 + length)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose names are all different."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is given twice")
    return found


def _check_layout(
    path: Path, entries: Mapping[str, Entry], dtypes: Mapping[str, torch.dtype], available: int
) -> None:
    """Every tensor has the bytes that its type and shape need, behind those of the one before it."""
    end_before = 0
    for name, entry in entries.items():
        if entry.dtype not in dtypes:
            raise UserError(
                f"'{name}' in {path} is of type {entry.dtype}; save the model as bfloat16 or float32."
            )
        begin, end = entry.data_offsets
        if begin < end_before or end - begin != math.prod(entry.shape) * dtypes[entry.dtype].itemsize:
            raise UserError(
                f"{path} is not a safetensors file (the place of '{name}' does not fit its shape, or is another "
                "tensor's, too); download or save it again."
            )
        end_before = end
    if end_before > available:
        raise UserError(
            f"{path} is cut short ({available:,} of {end_before:,} bytes of tensors); download or copy it again."
        )


# -- sharded models ------------------------------------------------------------------------------------

_INDEX = TypeAdapter(dict[str, str])


def read_index(path: Path) -> dict[str, Any]:
    """The index of a sharded model: `weight_map` gives the file of every tensor by its name.

    Raises:
        UserError: it cannot be read, or is no such index.
    """
    cure = "download or save the model again."
    index = read_object(path, cure, limit=MAX_HEADER)
    try:
        _INDEX.validate_python(index.get("weight_map"))
    except ValidationError as error:
        raise UserError(f"{path} is not an index of shards ({_mistake(error)}); {cure}") from None
    return index


# -- adapters ------------------------------------------------------------------------------------------

Number = Annotated[float, Field(allow_inf_nan=False)]


class AdapterConfig(BaseModel):
    """What of peft's `adapter_config.json` says how a LoRA changes the weights; other fields pass."""

    model_config = ConfigDict(extra="allow", strict=True)

    peft_type: str | None = None
    r: Annotated[int, Field(ge=1, le=2**20)] = 8
    lora_alpha: Number = 8
    use_rslora: bool | None = False
    fan_in_fan_out: bool | None = False
    rank_pattern: dict[str, Annotated[int, Field(ge=1, le=2**20)]] | None = None
    alpha_pattern: dict[str, Number] | None = None
    base_model_name_or_path: str | None = None


def read_adapter_config(folder: Path) -> dict[str, Any]:
    """`adapter_config.json` of a LoRA adapter, its types checked.

    Raises:
        UserError: it cannot be read, or a field is not of its kind.
    """
    path = folder / "adapter_config.json"
    cure = "save the adapter again."
    config = read_object(path, cure)
    try:
        checked = AdapterConfig.model_validate(config)
        for pattern in {**(checked.rank_pattern or {}), **(checked.alpha_pattern or {})}:
            re.compile(pattern)
    except ValidationError as error:
        raise UserError(f"{path} is no adapter's configuration ({_mistake(error)}); {cure}") from None
    except (re.error, RecursionError, OverflowError) as error:
        raise UserError(f"{path}: a pattern cannot be read ({error}); {cure}") from None
    return {**config, "r": checked.r, "lora_alpha": checked.lora_alpha}


def _mistake(error: ValidationError) -> str:
    """The first mistake that a check has found, in a few words."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place + ': ' if place else ''}{first['msg']}"
