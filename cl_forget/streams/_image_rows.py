"""Rows that hold images, or say where they lie, whatever table they come from."""

from __future__ import annotations

import base64
import binascii
import math
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cl_forget.ground.errors import UserError
from cl_forget.ground.registry import closest
from cl_forget.streams._rows import Table
from cl_forget.streams.images import SUFFIXES
from cl_forget.streams.own import few

IMAGE_COLUMNS = (
    *("image", "img", "picture", "photo", "jpg", "jpeg", "png", "webp", "file_name", "filename", "filepath"),
    *("file_path", "image_path", "img_path", "image_file", "image_name", "path", "file"),
)
LABEL_COLUMNS = ("label", "labels", "class", "class_name", "category", "target", "cls")
CAPTION_COLUMNS = (
    "caption",
    "captions",
    "text",
    "title",
    "sentence",
    "sentences",
    "description",
    "alt_text",
    "txt",
)
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


class Rows(ABC):
    """The rows of one split.

    Attributes:
        what: the split, for messages.
        columns: names of the columns.
        format: what was read, in words.
        images: columns that are known to hold images.
        classes: column -> names of its classes, where the table knows them.
        divided: whether these are what a column of a file gives to one split.
    """

    what: str
    columns: tuple[str, ...]
    format: str
    images: tuple[str, ...] = ()
    classes: Mapping[str, Sequence[str]] = {}
    divided: bool = False

    @abstractmethod
    def __len__(self) -> int: ...

    def row(self, position: int) -> str:
        """What a person calls the row at `position`, for messages."""
        return f"{self.what}, row {self.number(position)}"

    def number(self, position: int) -> int:
        """The number of the row at `position`, as a person counts in that file."""
        return position + 1

    @abstractmethod
    def column(self, name: str) -> list[Any]:
        """Every value of a column without images."""

    @abstractmethod
    def cell(self, name: str, row: int) -> Any:
        """One value; of an image what is stored, not what is seen."""

    def held(self, name: str) -> list[Any]:
        """(rows,) what the cells of an image column hold: how many bytes, or what stands in their place."""
        return [_held(value) for value in self.column(name)]


class HubRows(Rows):
    """Rows of a `datasets.Dataset`."""

    def __init__(self, what: str, dataset: Any, format: str = "datasets") -> None:
        import datasets as library

        features = dataset.features
        typed = [name for name, kind in features.items() if isinstance(kind, library.Image)]
        for name in typed:
            dataset = dataset.cast_column(name, library.Image(decode=False))
        # Parquet that another program wrote has the bytes without the type.
        self.images = tuple(typed or (name for name, kind in features.items() if _has_bytes(kind)))
        self.classes = {n: kind.names for n, kind in features.items() if isinstance(kind, library.ClassLabel)}
        self.what, self.format, self.columns = what, format, tuple(features)
        self._dataset = dataset.with_format(None)

    def __len__(self) -> int:
        return len(self._dataset)

    def column(self, name: str) -> list[Any]:
        return list(self._dataset[name])

    def cell(self, name: str, row: int) -> Any:
        return self._dataset[row][name]

    def held(self, name: str) -> list[Any]:
        import pyarrow
        import pyarrow.compute

        column = self._dataset.data.column(name)
        record = pyarrow.types.is_struct(column.type)
        content = pyarrow.compute.struct_field(column, "bytes") if record else column
        if self._dataset._indices is not None or not (
            pyarrow.types.is_binary(content.type) or pyarrow.types.is_large_binary(content.type)
        ):
            return super().held(name)
        sizes = pyarrow.compute.binary_length(content).to_pylist()
        if not record or column.type.get_field_index("path") < 0:
            return sizes
        paths = pyarrow.compute.struct_field(column, "path").to_pylist()
        return [size or path for size, path in zip(sizes, paths, strict=True)]


def _held(value: Any) -> Any:
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    return len(value) if isinstance(value, bytes | bytearray | memoryview) else value


def _has_bytes(kind: Any) -> bool:
    inner = kind.get("bytes") if isinstance(kind, Mapping) else kind
    return getattr(inner, "dtype", None) in ("binary", "large_binary")


class TableRows(Rows):
    """Rows of a CSV or JSON file."""

    def __init__(self, what: str, table: Table) -> None:
        self.what, self.format, self.columns, self._table = what, table.format, table.columns, table
        self._rows = table.rows
        self.divided = table.divided

    def __len__(self) -> int:
        return len(self._rows)

    def number(self, position: int) -> int:
        return self._table.number(position)

    def column(self, name: str) -> list[Any]:
        return [row.get(name) for row in self._rows]

    def cell(self, name: str, row: int) -> Any:
        return self._rows[row].get(name)


def choose(rows: Rows, asked: str | None, role: str, usual: Sequence[str], known: Sequence[str] = ()) -> str:
    """The column for a role: the one asked for, else the only one known for it, else the first of a usual name.

    Raises:
        UserError: there is no such column, or several that could be meant.
    """
    there = f"Its columns: {few(rows.columns)}."
    if asked is not None:
        if asked not in rows.columns:
            raise UserError(
                f"{rows.what} has no column '{asked}'.{closest(asked, list(rows.columns))} {there}"
            )
        return asked
    by_name = {name.lower(): name for name in reversed(rows.columns)}
    named = [by_name[name] for name in usual if name in by_name and (not known or by_name[name] in known)]
    if named or len(known) == 1:
        return named[0] if named else known[0]
    if known:
        raise UserError(
            f"{rows.what} has several columns for it: name one of {', '.join(known)} as `{role}:`."
        )
    raise UserError(
        f"{rows.what} has no column that is known to hold the {role}: name it as `{role}:`. {there}"
    )


def encoded_image(what: str, value: Any, root: Path) -> bytes:
    """What a cell holds of an image, as the bytes of an image file.

    Args:
        what: the cell, for messages.
        value: bytes, a path below `root`, a text in base64, or a record of `bytes` and `path` as `datasets`
            stores them.
        root: the folder that paths start from, and that none may leave.

    Raises:
        UserError: the cell holds none of these, or the file cannot be read.
    """
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{what} holds {kind_of(value)} in place of an image: fill it in, or remove the row.")
    content = _from_base64(value)
    if content is not None:
        return content
    path = _below(what, value.strip(), root)
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{what}: '{path}' cannot be read ({reason}); {_cure(path)}.") from None


def _cure(path: Path) -> str:
    """What to do about an image file that cannot be read."""
    try:
        others = [own for own in path.parent.iterdir() if own.stem == path.name] if path.name else []
    except (OSError, ValueError):
        others = []
    found = sorted(own.name for own in others if own.suffix.lower() in SUFFIXES)
    if found:
        return f"'{found[0]}' is there: write the names of the files with their endings"
    return "say with `root:` which folder the paths start from"


def image_file(value: Any, root: Path) -> Path | None:
    """The file that a cell names as its image; None where it names none below `root`."""
    if not isinstance(value, str) or not value.strip() or _from_base64(value) is not None:
        return None
    try:
        return _below("", value.strip(), root)
    except (UserError, ValueError):
        return None


def image_size(value: Any, root: Path) -> int | None:
    """The bytes of an image whose cell holds `value` (of `Rows.held`); None where it cannot be read."""
    if isinstance(value, int):
        return value
    content = _from_base64(value) if isinstance(value, str) else None
    if content is not None:
        return len(content)
    file = image_file(value, root)
    try:
        return file.stat().st_size if file is not None and file.is_file() else None
    except (OSError, ValueError):
        return None


def _below(what: str, name: str, root: Path) -> Path:
    if ADDRESS.match(name):
        raise UserError(f"{what}: '{name[:80]}' is an address; download the images and give their paths.")
    start = os.path.normpath(root.absolute())
    path = Path(os.path.normpath(root.absolute() / name.replace("\\", "/")))
    if not path.is_relative_to(start):
        raise UserError(
            f"{what}: '{name}' lies outside '{root}'; say with `root:` which folder holds all of the images."
        )
    return path


def _from_base64(text: str) -> bytes | None:
    """The image in a text, where it is one in base64 and not the name of a file."""
    marked = re.match(r"data:image/[\w.+-]+;base64,", text[:80])
    body = text[marked.end() :] if marked else text
    if not marked and (len(body) < 64 or Path(body[-8:]).suffix.lower() in SUFFIXES):
        return None
    try:
        return base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError):
        return None


def class_of(what: str, value: Any) -> str | None:
    """The class that a cell names; None where it names none.

    Raises:
        UserError: it holds something else, such as several classes.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise UserError(
            f"{what} holds {kind_of(value)} in place of a class: an image has one class, by name or number."
        )
    return str(value).strip() or None


def caption_of(what: str, value: Any) -> tuple[str, bool]:
    """The caption in a cell, and whether there are more of which this is the first.

    Raises:
        UserError: there is none.
    """
    several = isinstance(value, list | tuple)
    first = (value[0] if value else None) if several else value
    if isinstance(first, Mapping):
        first = first.get("raw", first.get("text", first.get("caption")))
    if not isinstance(first, str) or not first.strip():
        raise UserError(
            f"{what} holds {kind_of(first)} in place of a caption: fill it in, or remove the row."
        )
    return " ".join(first.split()), several and len(value) > 1


def kind_of(value: Any) -> str:
    """What a cell holds, in words."""
    if value is None or value == "":
        return "nothing"
    return {"list": "a list", "dict": "a record", "bool": "a truth value"}.get(
        type(value).__name__, repr(value)[:60]
    )
