"""Writing a checkpoint tensor by tensor; every file appears whole under its name, or not at all."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from cl_forget.ground import files
from cl_forget.ground.errors import UserError
from cl_forget.weights.reading import DTYPES, TensorInfo

_NAMES = {dtype: name for name, dtype in DTYPES.items()}


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """`files.whole`, below folders that need not be there.

    Raises:
        UserError: the place cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.whole(path) as temporary:
            yield temporary
    except OSError as error:
        raise UserError(f"cannot write to {path}: {error.strerror}; choose another --output.") from error


def write_safetensors(
    path: Path,
    infos: Mapping[str, TensorInfo],
    tensor: Callable[[str], Tensor],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a safetensors file whose tensors are made one after the other.

    The format: eight bytes with the header's length (little endian), the header as JSON with each tensor's
    type, shape and place, padded with spaces to a multiple of eight, then the tensors' bytes back to back.

    Args:
        infos: type and shape of every tensor, in the order they are to lie in the file.
        tensor: makes one; called once for each name, in that order.
        metadata: the header's own strings, such as `{"format": "pt"}`.

    Raises:
        ValueError: a tensor is not what `infos` said.
    """
    header, end = _header(infos, metadata)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for name, info in infos.items():
            made = tensor(name).detach()
            if (made.dtype, tuple(made.shape)) != info:
                raise ValueError(f"'{name}' is {made.dtype} {tuple(made.shape)}, not {info}")
            if made.numel():
                flat = made.cpu().contiguous().reshape(-1).view(torch.uint8)
                file.write(flat.numpy().data)
        file.flush()
        os.fsync(file.fileno())
        if file.tell() != 8 + len(header) + end:
            raise ValueError(f"{path} has {file.tell()} bytes, not {8 + len(header) + end}")


def _header(infos: Mapping[str, TensorInfo], metadata: Mapping[str, str] | None) -> tuple[bytes, int]:
    """The header's bytes and the size of the data behind it."""
    entries: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, (dtype, shape) in infos.items():
        size = torch.Size(shape).numel() * dtype.itemsize
        entries[name] = {"dtype": _NAMES[dtype], "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(entries, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % 8), end


def write_torch(path: Path, infos: Mapping[str, TensorInfo], tensor: Callable[[str], Tensor]) -> None:
    """Write a state dict with `torch.save`, which holds all of it in memory at once."""
    torch.save({name: tensor(name).detach().contiguous() for name in infos}, path)


def write_file(
    path: Path,
    infos: Mapping[str, TensorInfo],
    tensor: Callable[[str], Tensor],
    metadata: Mapping[str, str] | None = None,
    like: str = ".safetensors",
) -> None:
    """Write one weights file in the format of files that end in `like`."""
    if like == ".safetensors":
        write_safetensors(path, infos, tensor, metadata)
    else:
        write_torch(path, infos, tensor)
