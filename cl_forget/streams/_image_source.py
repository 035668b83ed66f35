"""One table of images: where its rows are, how they are split, and how they become data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from cl_forget.ground.errors import UserError
from cl_forget.ground.registry import closest
from cl_forget.streams._hub import FILE_KINDS, load_datasets
from cl_forget.streams._image_rows import (
    IMAGE_COLUMNS,
    HubRows,
    Rows,
    TableRows,
    choose,
    class_of,
    encoded_image,
    image_file,
    image_size,
)
from cl_forget.streams._layout import SPLIT_NAMES
from cl_forget.streams._rows import CSV_NAMES, only, read_file, split_files
from cl_forget.streams._split_column import by_column
from cl_forget.streams.base import ImageData
from cl_forget.streams.images import Picture, Range, Survey, check_range, read_image, sampled
from cl_forget.streams.own import alike, end_of, few

READ_WHOLE = 256 * 2**20  # bytes: sets up to this size are checked and fingerprinted by their content


@dataclass
class Source:
    """One table and how its images are read.

    Attributes:
        what: the table, for messages.
        path: as given.
        image: column of the images, if given.
        root: where paths start, if given.
        value_range: of deep images.
        notes: what has to be said of it.
    """

    what: str
    path: str
    image: str | None
    root: Path | None
    value_range: Range | None
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        check_range(self.what, self.value_range)
        place = Path(self.path).expanduser()
        self._sizes: dict[str, list[int | None]] = {}
        self.survey = Survey(self.what, self.value_range)
        self.start = (self.root or (place if place.is_dir() else place.parent)).expanduser()

    def parts(
        self, config: str | None, splits: Mapping[str, str] | None, used: str | None
    ) -> dict[str, Rows]:
        """The rows of each split, under the names train, validation and test; column `used` names no splits."""
        read = self._read(config, used)
        if list(read) == ["train"] and len(read["train"]) and not read["train"].divided:
            read = by_column(self.what, read["train"], (self.image, used), self.notes)
        found = _named(self.what, read, splits, self.notes)
        for split, rows in found.items():
            if not len(rows):
                raise UserError(f"{self.what}, {split} holds no rows.")
        return found

    def _read(self, config: str | None, used: str | None) -> dict[str, Rows]:
        place = Path(self.path).expanduser()
        files = split_files(place, CSV_NAMES) if place.is_dir() else {"": place} if place.is_file() else {}
        if not files or any(file.suffix.lower() in FILE_KINDS for file in files.values()):
            loaded = load_datasets(self.what, self.path, config)
            return {split: HubRows(f"{self.what}, {split}", own) for split, own in loaded.items()}
        read = partial(read_file, prefer="csv", used=(self.image, used))
        tables = {
            split or inside: table
            for split, file in files.items()
            for inside, table in ({split: only(file, read(file))} if split else read(file)).items()
        }
        return {split: TableRows(f"{self.what}, {split}", table) for split, table in tables.items()}

    def said_of_all(self) -> tuple[str, ...]:
        """Everything that has to be said, once all data are made."""
        return (*self.notes, *self.survey.notes())

    def column(self, rows: Rows) -> str:
        """The column of the images."""
        return choose(rows, self.image, "image", IMAGE_COLUMNS, rows.images)

    def check_column(self, parts: Mapping[str, Rows], column: str) -> None:
        """Refuse a split that lacks a column of train."""
        for split, rows in parts.items():
            if column not in rows.columns:
                raise UserError(
                    f"{rows.what} has no column '{column}', which train has: add it, or leave {split} out by naming "
                    f"the splits to use, as `splits: {{train: ...}}`. Its columns: {few(rows.columns)}."
                )

    def classes(self, rows: Rows, column: str) -> list[str | None]:
        """The class that each row names; None where it names none."""
        names = rows.classes.get(column)
        if names is None:
            values = rows.column(column)
            return [class_of(rows.row(i), value) for i, value in enumerate(values)]
        # `datasets` writes -1 for the class of a sample that has none
        return [None if v is None or v < 0 else names[v] for v in rows.column(column)]

    def said(self, parts: Mapping[str, Rows], column: str, role: str) -> str:
        """How the table was read, in words."""
        rows = first_of(parts)
        return f"read as {rows.format}: images from column '{self.column(rows)}', the {role} from '{column}'"

    def sizes(self, rows: Rows) -> list[int | None]:
        """(rows,) bytes of each image; None where there is none to read."""
        if rows.what not in self._sizes:
            held = rows.held(self.column(rows))
            self._sizes[rows.what] = [image_size(value, self.start) for value in held]
        return self._sizes[rows.what]

    def copies(self, rows: Rows) -> list[int]:
        """(rows,) the first row that has the same image, by its file or its content."""
        column = self.column(rows)
        held = rows.held(column)

        def end(position: int) -> bytes:
            file = image_file(held[position], self.start)
            return b"" if file is None else end_of(file)

        def content(position: int) -> bytes:
            return hashlib.sha256(
                encoded_image(rows.row(position), rows.cell(column, position), self.start)
            ).digest()

        # Of an image that cannot be read nothing is known; whoever opens it says so.
        rough = [-1 - position if size is None else size for position, size in enumerate(self.sizes(rows))]
        return alike(rough, end, content)

    def data(self, rows: Rows, split: str, kept: list[int], labels: list[int]) -> ImageData:
        """The rows at `kept` as data; small sets are all read now, of large ones a few."""
        column = self.column(rows)

        def what(position: int) -> str:
            return rows.row(kept[position])

        def encoded(position: int) -> bytes:
            return encoded_image(what(position), rows.cell(column, kept[position]), self.start)

        def picture(position: int) -> Picture:
            return read_image(encoded(position), what(position), self.value_range)

        every = self.sizes(rows)
        sizes = [
            len(encoded(position)) if (size := every[row]) is None else size
            for position, row in enumerate(kept)
        ]
        whole = sum(sizes) <= READ_WHOLE
        looked = list(range(len(kept))) if whole else sampled(len(kept))
        self.survey.look(split, map(picture, looked), len(kept))
        return ImageData(
            labels,
            opener=lambda position: picture(position).image,
            fingerprint=_fingerprint(labels, sizes, map(encoded, looked), self.value_range),
            sizes=sizes,
            encoded=encoded,
        )


def _fingerprint(
    labels: list[int], sizes: list[int], contents: Iterable[bytes], value_range: Range | None
) -> str:
    """Hash of labels, sizes and content; of large sets the content of an even sample."""
    digest = hashlib.sha256(repr((labels, sizes, value_range)).encode())
    for content in contents:
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()[:16]


def first_of(parts: Mapping[str, Rows]) -> Rows:
    """The rows that a table's columns are looked up in: those of train, if there are any."""
    return parts.get("train") or next(iter(parts.values()))


def _named(
    what: str, found: dict[str, Rows], names: Mapping[str, str] | None, notes: list[str]
) -> dict[str, Rows]:
    """The splits under our names: those asked for, or those of a usual name."""
    for split, own in (names or {}).items():
        if split not in ("train", "validation", "test"):
            raise UserError(f"{what}: splits are train, validation and test, not '{split}'.")
        if own not in found:
            raise UserError(
                f"{what} has no split '{own}'.{closest(own, list(found))} Its splits: {few(list(found))}."
            )
    chosen = dict(names or {})
    for own in found if not names else ():
        split = SPLIT_NAMES.get(own.lower(), "")
        if split in chosen:
            raise UserError(f"{what} has both {chosen[split]} and {own}: choose with `splits`.")
        if split:
            chosen[split] = own
    if not chosen:
        raise UserError(f"{what}: name the splits to use, as `splits: {{train: ...}}`: {few(list(found))}.")
    rest = [own for own in found if own not in chosen.values()]
    if rest:
        notes.append(f"the splits {few(rest)} are not read")
    return {split: found[own] for split, own in chosen.items()}
