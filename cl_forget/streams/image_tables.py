"""Tables of images with a class each: data sets of the `datasets` library, Parquet, CSV and JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cl_forget.ground.errors import UserError
from cl_forget.ground.registry import closest
from cl_forget.streams._choose import balanced
from cl_forget.streams._image_rows import LABEL_COLUMNS, Rows, choose, image_file
from cl_forget.streams._image_source import Source, first_of
from cl_forget.streams._layout import natural
from cl_forget.streams.base import DEFAULT_TEMPLATES, Experience, ImageData
from cl_forget.streams.images import Range
from cl_forget.streams.own import carve, class_notes, copies_note, label_space

NUMBER = re.compile(r"[0-9]+(\.0+)?")
MINUS_ONE = re.compile(r"-1(\.0+)?")


def images(
    path: str,
    config: str | None = None,
    splits: dict[str, str] | None = None,
    name: str | None = None,
    image: str | None = None,
    label: str | None = None,
    classes: tuple[Any, ...] | dict[Any, Any] | None = None,
    templates: tuple[str, ...] = DEFAULT_TEMPLATES,
    validation: float = 0.1,
    test: float = 0.2,
    root: Path | None = None,
    value_range: Range | None = None,
    head: str | None = None,
    limit: int | None = None,
) -> list[Experience]:
    """One task: images with a class each, from a table.

    The table is a data set of the `datasets` library (a folder that `save_to_disk` wrote, a folder of data files
    or of images with `metadata.jsonl`, a name on the hub), a Parquet or Arrow file, or a CSV, TSV or JSON file
    whose cells name image files.

    Args:
        path: the table.
        config: the data set's configuration, where it has several.
        splits: train, validation, test -> the data set's own names for them.
        name: name of the task; that of the file, folder or data set by default.
        image: column with the images or their paths; recognised by its type, or a usual name ("image",
            "file_name", "filepath", ...).
        label: column with the class, by name or number; recognised likewise ("label", "class", ...).
        classes: readable class names: one per class in order, or by the table's own names.
        templates: prompts with one `{}` for the class name.
        validation: fraction of each class set aside for validation, where the table has no such split.
        test: fraction of each class set aside for testing, where the table has no such split.
        root: the folder that paths in cells start from and stay in; the table's own by default.
        value_range: the values that mean black and white in images of more than 8 bits per channel.
        head: name of the classifier; `name` by default.
        limit: at most this many images in each split, balanced over the classes; None keeps all.

    Raises:
        UserError: a table that cannot be read, columns that are not there or could be several, an image without
            a class, a class that train does not know, or an image that cannot be read.
    """
    source = Source(f"images '{path}'", path, image, root, value_range)
    parts = source.parts(config, splits, label)
    if set(parts) == {"validation"}:  # as of ImageNet, whose public test data have no classes
        parts = {"test": parts["validation"]}
    main = "train" if "train" in parts else "test"  # a table without train is a suite
    column = choose(first_of(parts), label, "label", LABEL_COLUMNS, tuple(first_of(parts).classes))
    source.check_column(parts, column)
    named = _classes(source, parts, column, main)
    _refuse_two_classes(source, parts, named)
    found = list(first_of(parts).classes.get(column, ())) or sorted(set(named[main]), key=natural)
    number = {own: position for position, own in enumerate(found)}
    name = name or Path(path).stem
    space = label_space(source.what, head or name, found, classes, templates)
    source.notes += [source.said(parts, column, "class"), *class_notes(found, classes)]
    labels = {split: _numbers(source.what, split, own, number) for split, own in named.items()}
    shares = {"validation": validation, **({"test": test} if main == "train" else {})}
    missing = {split: share for split, share in shares.items() if split not in labels}
    copies = {split: source.copies(parts[split]) for split in labels}
    for split, own in copies.items():
        source.notes += copies_note(split, own, labels[split])
    chosen = _chosen(source.what, labels, main, missing, found, copies[main])

    def data(split: str) -> ImageData:
        of, own = chosen[split]
        kept = [own[i] for i in balanced([labels[of][position] for position in own], limit, "images")]
        return source.data(parts[of], split, kept, [labels[of][position] for position in kept])

    train = data("train") if main == "train" else None
    held = data("validation"), data("test")
    return [Experience(name, space, train, *held, notes=source.said_of_all())]


def _classes(source: Source, parts: Mapping[str, Rows], column: str, main: str) -> dict[str, list[str]]:
    """Split -> the class of each row; a split without any class is left out."""
    found = {split: source.classes(rows, column) for split, rows in parts.items()}
    none = "" if column in first_of(parts).classes else _without_minus_one(found)
    named: dict[str, list[str]] = {}
    for split, rows in parts.items():
        own = found[split]
        if split != main and not any(own):
            source.notes.append(f"{split} has no classes and is not read")
            continue
        if None in own:
            raise UserError(
                f"{source.what}, {split}: {own.count(None):,} of {len(own):,} rows have no class in column "
                f"'{column}' (the first is row {rows.number(own.index(None))}{none}); remove them, or choose other "
                "`splits`."
            )
        named[split] = [str(name) for name in own]
    return named


def _without_minus_one(found: dict[str, list[str | None]]) -> str:
    """Take -1 among numbers from 0 for no class, as those who wrote it meant it; what is to be said of it."""
    names = {name for own in found.values() for name in own if name is not None}
    others = {name for name in names if not MINUS_ONE.fullmatch(name)}
    if others == names or not all(NUMBER.fullmatch(name) for name in others):
        return ""
    for split, own in found.items():
        found[split] = [None if name is None or MINUS_ONE.fullmatch(name) else name for name in own]
    return "; -1 stands for no class, so call a class otherwise"


def _refuse_two_classes(source: Source, parts: Mapping[str, Rows], named: Mapping[str, list[str]]) -> None:
    """Refuse a file that stands in two classes, as tables with several labels per image have it."""
    met: dict[str | Path, str] = {}
    for split, own in named.items():
        held = parts[split].held(source.column(parts[split]))
        for value, name in zip(held, own, strict=True):
            if not isinstance(value, str):
                continue
            file = image_file(value, source.start) or value  # two paths may lead to one file
            if met.setdefault(file, name) != name:
                raise UserError(
                    f"{source.what}: image '{value[:80]}' is in the classes '{met[file]}' and '{name}'; an image "
                    "has one: keep one of its rows."
                )


def _chosen(
    what: str,
    labels: Mapping[str, list[int]],
    main: str,
    shares: Mapping[str, float],
    found: Sequence[str],
    copies: Sequence[int],
) -> dict[str, tuple[str, list[int]]]:
    """Split -> (the table's split, its rows); what is missing is set aside from the main one."""
    whole = {split: (split, list(range(len(own)))) for split, own in labels.items()}
    if not shares:
        return whole
    keys = [str(position) for position in range(len(labels[main]))]
    carved = carve(what, labels[main], keys, shares, found, copies)
    carved[main] = carved.pop("train")
    return whole | {split: (main, own) for split, own in carved.items()}


def _numbers(what: str, split: str, own: Sequence[str], number: Mapping[str, int]) -> list[int]:
    for name in own:
        if name not in number:
            hint = closest(name, list(number))
            raise UserError(f"{what}, {split}: class '{name}' is not among the classes of train.{hint}")
    return [number[name] for name in own]
