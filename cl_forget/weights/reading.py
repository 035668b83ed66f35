"""Named tensors read one at a time: safetensors files, torch files, shards, or a model in memory."""

from __future__ import annotations

import argparse
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cl_forget.ground.errors import UserError
from cl_forget.weights.formats import read_header
from cl_forget.weights.keys import tensors_of

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
    "BOOL": torch.bool, "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip
"""The data types of the safetensors format by their names in its header."""


class TensorInfo(NamedTuple):
    """What is known of a tensor before it is read."""

    dtype: torch.dtype
    shape: tuple[int, ...]


class TensorSource(ABC):
    """Tensors by name, read one at a time.

    Attributes:
        where: what they are read from, for messages.
        infos: data type and shape by name, in the order they are stored.
    """

    where: str
    infos: Mapping[str, TensorInfo]

    @abstractmethod
    def load(self, name: str) -> Tensor:
        """The tensor, in memory of its own."""


class InMemory(TensorSource):
    """Tensors that are in memory already; for models that no file holds as they are."""

    def __init__(self, tensors: Mapping[str, Tensor], where: str = "a model in memory") -> None:
        self.where = where
        self._tensors = tensors
        self.infos = {name: TensorInfo(t.dtype, tuple(t.shape)) for name, t in tensors.items()}

    def load(self, name: str) -> Tensor:
        """A copy."""
        return self._tensors[name].detach().cpu().clone()


class SafetensorsFile(TensorSource):
    """One safetensors file, read with plain reads: no page of it stays mapped into the process.

    Raises:
        UserError: it cannot be read, is no safetensors file, or is cut short.
    """

    def __init__(self, path: Path) -> None:
        self.where, self.path = str(path), path
        header = read_header(path, DTYPES)
        self.metadata: dict[str, str] = header.metadata
        self._start = header.start
        self._offsets = {name: entry.data_offsets for name, entry in header.entries.items()}
        self.infos = {
            name: TensorInfo(DTYPES[entry.dtype], entry.shape) for name, entry in header.entries.items()
        }

    def load(self, name: str) -> Tensor:
        """Read one tensor."""
        dtype, shape = self.infos[name]
        begin, end = self._offsets[name]
        data = torch.empty(end - begin, dtype=torch.uint8)
        if end > begin:
            view = data.numpy().data
            with self.path.open("rb", buffering=0) as file:
                file.seek(self._start + begin)
                while len(view):
                    count = file.readinto(view)
                    if not count:
                        raise UserError(f"{self.path} was cut short while it was read; copy it again.")
                    view = view[count:]
        return data.view(dtype).reshape(shape)


class TorchFile(TensorSource):
    """A state dict that `torch.save` wrote (.pt, .bin), or a training checkpoint with one inside (`keys.NESTS`).

    Nothing but tensors is unpickled. The file is mapped into memory anew for each tensor and let go of with it,
    so that its pages do not pile up.

    Raises:
        UserError: it cannot be read, or holds something else.
    """

    metadata: Mapping[str, str] = {}

    def __init__(self, path: Path) -> None:
        self.where, self.path = str(path), path
        self.infos = {name: TensorInfo(t.dtype, tuple(t.shape)) for name, t in self._tensors().items()}

    def load(self, name: str) -> Tensor:
        """A copy of the mapped tensor."""
        return self._tensors()[name].clone()

    def _tensors(self) -> dict[str, Tensor]:
        tensors = tensors_of(self._read())
        if tensors is None:
            raise UserError(f"{self.path} holds no state dict; save `model.state_dict()` as safetensors.")
        return tensors

    def _read(self) -> Any:
        try:
            # What training scripts keep their arguments in (timm's, torchvision's): names and values, no code.
            with torch.serialization.safe_globals([argparse.Namespace]):
                try:
                    return torch.load(self.path, map_location="cpu", weights_only=True, mmap=True)
                except RuntimeError as error:
                    if "mmap" not in str(error):
                        raise
                    # The format of torch before 1.6 cannot be mapped.
                    return torch.load(self.path, map_location="cpu", weights_only=True)
        except OSError as error:
            raise UserError(
                f"{self.path} cannot be read: {error.strerror}; give a file that exists."
            ) from None
        except Exception as error:
            # What it holds beside tensors, or the first sentence: torch goes on with how to run what the file holds.
            other = re.search(r"GLOBAL ([\w.]+)", str(error))
            first = (str(error).strip() or type(error).__name__).splitlines()[0].split(". ")[0].rstrip(".")
            if other:
                first = f"it holds a {other[1]}"
            raise UserError(
                f"{self.path} is not a file of tensors alone ({first}); save the model's state dict as safetensors."
            ) from None


class Shards(TensorSource):
    """Several files as one source.

    Raises:
        UserError: a tensor is in two of them.
    """

    def __init__(self, sources: Sequence[TensorSource], where: str) -> None:
        self.where = where
        self._home: dict[str, TensorSource] = {}
        for source in sources:
            for name in source.infos:
                if name in self._home:
                    raise UserError(f"'{name}' is in two files of {where}; download or save the model again.")
                self._home[name] = source
        self.infos = {name: source.infos[name] for name, source in self._home.items()}

    def load(self, name: str) -> Tensor:
        """Read one tensor from the file that holds it."""
        return self._home[name].load(name)


class Renamed(TensorSource):
    """The tensors of a source under other names; those that are left out of `names` are not seen.

    Args:
        source: holds the tensors.
        names: its name -> the name here.
    """

    def __init__(self, source: TensorSource, names: Mapping[str, str]) -> None:
        self.where, self.source = source.where, source
        self._own = {here: name for name, here in names.items()}
        self.infos = {here: source.infos[name] for here, name in self._own.items()}

    def load(self, name: str) -> Tensor:
        """Read one tensor."""
        return self.source.load(self._own[name])


def open_file(path: Path) -> SafetensorsFile | TorchFile:
    """The tensors of one file, by its suffix.

    Raises:
        UserError: unknown suffix, or as the classes.
    """
    if path.suffix == ".safetensors":
        return SafetensorsFile(path)
    if path.suffix in (".pt", ".pth", ".bin", ".ckpt"):
        return TorchFile(path)
    if path.suffix == ".gguf":
        raise UserError(
            f"{path} is a GGUF file, which is quantised and cannot be edited; give the model it was made from (as a "
            "base, gguf:<file> will do)."
        )
    raise UserError(
        f"{path} is no weights file of a known kind; give one that ends in .safetensors, .pt, .pth or .bin, or "
        "the model's folder."
    )
