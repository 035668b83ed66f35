"""A model's weights on disk, in whatever format they came, and the same format written again."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from cl_forget.ground.errors import UserError
from cl_forget.ground.files import inside, stays_inside
from cl_forget.weights.adapter import WithAdapter
from cl_forget.weights.formats import read_index
from cl_forget.weights.keys import fit, harmless
from cl_forget.weights.reading import InMemory, Renamed, Shards, TensorInfo, TensorSource, open_file
from cl_forget.weights.writing import whole, write_file

SINGLE = (
    "model.safetensors",
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "pytorch_model.bin",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "pytorch_model.pth",
    "model.pth",
)
INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
COMPANIONS = re.compile(
    r"(?!.*\.index\.json$)(.*\.(json|txt|model|tiktoken|jinja|md)|LICEN[CS]E.*|NOTICE.*"
    r"|(modeling|configuration|tokenization|processing)_\w+\.py)"
)
"""What lies beside the weights in a model's folder and belongs to it: configuration, tokenizer, licence, card."""


@dataclass
class Checkpoint:
    """One model on disk.

    Attributes:
        path: the file or folder.
        kind: "file", "folder" (transformers or open_clip), "adapter" (LoRA of peft) or "memory".
        source: its tensors by the model's own names; an adapter's are those of the merged model.
        files: the files of weights and the names each holds; empty in memory.
        index: name of the index file of a sharded model.
        companions: the folder whose other files (configuration, tokenizer, card) belong to the model.
        saver: for a model in memory, how its own library writes it: a folder, and name -> tensor.
    """

    path: Path
    kind: str
    source: TensorSource
    files: dict[str, Mapping[str, TensorInfo]] = field(default_factory=dict)
    index: str | None = None
    companions: Path | None = None
    saver: Callable[[Path, Callable[[str], Tensor]], None] | None = None

    def __post_init__(self) -> None:
        self._raw = self.source
        self._names: dict[str, str] = {}
        self.know(())

    def know(self, expected: Collection[str]) -> None:
        """Learn what the model's own library calls its tensors: `source` has these names from now on.

        Args:
            expected: those names.
        """
        if not self.files:
            return
        names = fit(self._raw.infos, expected)
        self._names = {
            name: here
            for name, here in names.items()
            if here in expected or not harmless(here, self._raw.infos[name].shape)
        }
        self.source = Renamed(self._raw, self._names)

    def leave(self, names: Collection[str]) -> None:
        """See these tensors no more; what is written has them as they are.

        Args:
            names: by the model's own library.
        """
        self._names = {name: here for name, here in self._names.items() if here not in names}
        kept = self._names or {name: name for name in self.source.infos if name not in names}
        self.source = Renamed(self._raw, kept)

    def renames(self, expected: Collection[str]) -> bool:
        """Whether the files call some tensor of the model otherwise than its own library does."""
        found = fit(self._raw.infos, expected)
        return any(name != here and here in expected for name, here in found.items())

    def __str__(self) -> str:
        return f"{self.path} ({self.kind})"

    def write(self, output: Path, tensor: Callable[[str], Tensor]) -> list[Path]:
        """Write edited tensors as this checkpoint is written: the same files, types, configuration, tokenizer.

        Args:
            output: a folder that does not exist or is empty.
            tensor: name -> the edited tensor, in this checkpoint's type and shape; called once per name.

        Returns:
            The files written. The folder appears whole or not at all.

        Raises:
            UserError: the folder holds something, or cannot be written to.
        """
        if output.exists() and (not output.is_dir() or any(output.iterdir())):
            raise UserError(f"{output} exists; choose another --output, or remove it.")
        with whole(output) as temporary:
            temporary.mkdir()
            if self.companions is not None:
                copy_companions(self.companions, temporary)
            self.write_weights(temporary, tensor)
        return sorted(path for path in output.iterdir() if path.is_file())

    def write_weights(self, folder: Path, tensor: Callable[[str], Tensor]) -> None:
        """The files of weights alone, under the model's own names."""
        if self.saver is not None:
            self.saver(folder, tensor)
            return
        if not self.files:
            raise UserError(f"{self.path} is no file that could be written again; give one, or a folder.")
        root = self.path if self.path.is_dir() else self.path.parent
        for file, infos in self.files.items():
            metadata = open_file(root / file).metadata
            own = {self._names.get(name, name): name for name in infos}
            target = inside(folder, file, self)
            target.parent.mkdir(parents=True, exist_ok=True)
            write_file(
                target,
                {name: infos[own[name]] for name in own},
                lambda name, own=own: tensor(name) if own[name] in self._names else self._raw.load(own[name]),  # type: ignore[misc]
                metadata,
                Path(file).suffix,
            )
        if self.index is not None:
            index = _index(root, self.index)
            index["weight_map"] = {self._names.get(n, n): shard for n, shard in index["weight_map"].items()}
            (folder / self.index).write_text(json.dumps(index, indent=2) + "\n")


def copy_companions(source: Path, target: Path) -> None:
    """Copy everything in a model's folder that `COMPANIONS` describes; nothing that a link leads to elsewhere."""
    for path in sorted(source.iterdir()):
        if path.is_file() and COMPANIONS.fullmatch(path.name) and stays_inside(source, path):
            shutil.copyfile(path, target / path.name)


def open_checkpoint(path: Path, base: TensorSource | None = None) -> Checkpoint:
    """The weights at `path`: a file, a folder of transformers or open_clip, or a LoRA adapter of peft.

    Args:
        path: the file or folder.
        base: what an adapter is applied to.

    Raises:
        UserError: nothing there, no weights in the folder, a shard missing, or an unreadable file.
    """
    path = path.expanduser()
    if not path.exists():
        raise UserError(f"there is no model at {path}: give a file of weights or a model's folder.")
    if path.is_file():
        source = open_file(path)
        return Checkpoint(path, "file", source, {path.name: source.infos})
    if (path / "adapter_config.json").is_file():
        if base is None:
            raise UserError(
                f"{path} is a LoRA adapter, no model; give it as --tuned, with its base as --base."
            )
        return Checkpoint(path, "adapter", WithAdapter(base, path))
    for name in _by_preference(path):
        if not (path / name).is_file():
            continue
        if name in INDEXES:
            return _sharded(path, name)
        source = open_file(path / name)
        return Checkpoint(path, "folder", source, {name: source.infos}, companions=path)
    if (path / "result.json").is_file():
        raise UserError(
            f"{path} holds no weights: its run wrote no model, as trials of a sweep do not unless told; make it by "
            f"`cl-forget run {path / 'config.yaml'} evaluate.export=true`, and give the folder of that run."
        )
    raise UserError(
        f"{path} holds no weights; a model's folder has one of {', '.join((*SINGLE, INDEXES[0]))}, an adapter's "
        "adapter_config.json."
    )


def _by_preference(path: Path) -> list[str]:
    """Files of weights in a folder, the one that the model's own library would read first.

    Raises:
        UserError: a model in one file beside the index of another in shards, of which either may be the left-over.
    """
    for index in INDEXES:
        single = index.removesuffix(".index.json")
        both = (path / index).is_file() and (path / single).is_file()
        if both and single not in read_index(path / index)["weight_map"].values():
            raise UserError(
                f"{path} holds two models, {single} and the shards of {index}; remove the one that is not meant."
            )
    names = [*INDEXES[:1], *SINGLE[:1], *INDEXES[1:], *SINGLE[1:]]
    if (path / "open_clip_config.json").is_file():  # hubs keep such models in transformers' form as well
        names.sort(key=lambda name: not name.startswith("open_clip"))
    return names


def _index(path: Path, name: str) -> dict[str, Any]:
    """The index of a sharded model; every shard it names lies in the folder.

    Raises:
        UserError: it is none, or names something else.
    """
    index = read_index(path / name)
    shards = list(index["weight_map"].values())
    for shard in shards:
        inside(path, shard, path / name)
    return index


def _sharded(path: Path, index: str) -> Checkpoint:
    shards = sorted(set(_index(path, index)["weight_map"].values()))
    missing = [shard for shard in shards if not (path / shard).is_file()]
    if missing:
        raise UserError(f"{path} lacks the shard {missing[0]}; download or copy the model again.")
    sources = {shard: open_file(path / shard) for shard in shards}
    whole_model = Shards(list(sources.values()), str(path))
    files = {shard: source.infos for shard, source in sources.items()}
    return Checkpoint(path, "folder", whole_model, files, index, companions=path)


def in_memory(tensors: Mapping[str, Tensor], where: str) -> Checkpoint:
    """A model that no file holds as it is (downloaded by tag, converted, made)."""
    return Checkpoint(Path(where), "memory", InMemory(tensors, where))
