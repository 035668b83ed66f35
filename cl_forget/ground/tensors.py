"""Tensors by name: their hash, and files of them that this package writes for itself, each with its checksum."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from cl_forget.ground.errors import UserError
from cl_forget.ground.files import whole

_MEND = "restore it from a copy and --resume, or start over with --overwrite"


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Hash of names, shapes, types and values."""
    found = hashlib.blake2b(digest_size=16)
    for name, tensor in tensors.items():
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def save_tensors(path: Path, tensors: dict[str, Tensor]) -> str:
    """Write tensors as safetensors, whole or not at all; returns the file's sha256."""
    from safetensors.torch import save_file

    with whole(path) as temporary:
        # Tied parameters and views are stored once each, as tensors of their own.
        save_file(
            {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}, temporary
        )
        return _sha256(temporary)


def load_tensors(path: Path, sha256: str) -> dict[str, Tensor]:
    """Read a file that `save_tensors` wrote.

    Raises:
        UserError: it is missing, truncated or altered; names the file.
    """
    from safetensors.torch import load_file

    check_tensors(path, sha256)
    return load_file(path)


def check_tensors(path: Path, sha256: str) -> None:
    """Refuse a file that is not as `save_tensors` wrote it.

    Raises:
        UserError: it is missing, truncated or altered; names the file.
    """
    if not path.is_file():
        raise UserError(f"checkpoint {path} is missing; {_MEND}.")
    if _sha256(path) != sha256:
        raise UserError(f"checkpoint {path} is truncated or altered (its checksum differs); {_MEND}.")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
