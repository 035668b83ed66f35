"""Tables of images with captions: image-to-text retrieval as a task or as a suite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cl_forget.ground.errors import UserError
from cl_forget.streams._choose import balanced, chance, check_shares, counted
from cl_forget.streams._image_rows import CAPTION_COLUMNS, Rows, caption_of, choose
from cl_forget.streams._image_source import Source, first_of
from cl_forget.streams.base import Experience, LabelSpace
from cl_forget.streams.images import Range

MAX_CAPTIONS = 20_000
"""Distinct captions of a task or suite: each is a class of the head."""


def captions(
    path: str,
    config: str | None = None,
    splits: dict[str, str] | None = None,
    name: str | None = None,
    image: str | None = None,
    caption: str | None = None,
    validation: float = 0.1,
    test: float = 0.2,
    root: Path | None = None,
    value_range: Range | None = None,
    limit: int | None = None,
) -> list[Experience]:
    """One task: images with a caption each, from a table as `images` reads it.

    Every distinct caption is a class, and the caption itself its prompt: accuracy is the share of images whose own
    caption is the nearest of all captions of the task (image-to-text recall at 1). Use it with `flyp`, which
    fine-tunes on captions contrastively. Of several captions of one image the first is taken.

    Args:
        path, config, splits, name, image, root, value_range: as for `images`.
        caption: column with the caption; by default one of a usual name ("caption", "text", "title", ...).
        validation: fraction set aside for validation, where the table has no such split.
        test: fraction set aside for testing, where the table has no such split.
        limit: at most this many images in each split; None keeps all.

    Raises:
        UserError: as `images`, a row without a caption, or more distinct captions than a head can hold.
    """
    asked = _Captions(path, config, splits, image, caption, root, value_range, limit)
    return [
        asked.experience(name or Path(path).stem, {"validation": validation, "test": test}, training=True)
    ]


def caption_suite(
    path: str,
    config: str | None = None,
    splits: dict[str, str] | None = None,
    name: str | None = None,
    image: str | None = None,
    caption: str | None = None,
    validation: float = 0.2,
    root: Path | None = None,
    value_range: Range | None = None,
    limit: int | None = None,
) -> Experience:
    """Images with a caption each as a suite: image-to-text recall at 1 among the captions of the suite.

    A table with a test split is measured on that; without one, on all of it.

    Args:
        path, config, splits, name, image, caption, root, value_range: as for the stream `captions`.
        validation: fraction of test that is set aside for validation, where no split holds it.
        limit: at most this many images of each split; null keeps all.
    """
    asked = _Captions(path, config, splits, image, caption, root, value_range, limit)
    return asked.experience(name or Path(path).stem, {"validation": validation}, training=False)


@dataclass
class _Captions:
    """A table of captions as asked for; see `captions`."""

    path: str
    config: str | None
    splits: Mapping[str, str] | None
    image: str | None
    caption: str | None
    root: Path | None
    value_range: Range | None
    limit: int | None

    def experience(self, name: str, shares: Mapping[str, float], training: bool) -> Experience:
        """The table as a task, or as a suite."""
        source = Source(f"captions '{self.path}'", self.path, self.image, self.root, self.value_range)
        parts = source.parts(self.config, self.splits, self.caption)
        if "train" not in parts and training:
            raise UserError(
                f"{source.what} has no train split; name it as `splits: {{train: ...}}`, or use a suite."
            )
        if not training:
            parts = _measured(parts)
        column = choose(first_of(parts), self.caption, "caption", CAPTION_COLUMNS)
        source.check_column(parts, column)
        source.notes.append(source.said(parts, column, "caption"))
        texts = {split: self._texts(source, split, rows, column) for split, rows in parts.items()}
        chosen = _set_aside(source.what, texts, {s: share for s, share in shares.items() if s not in parts})
        chosen = {
            split: (of, [own[i] for i in balanced([0] * len(own), self.limit, "captions")])
            for split, (of, own) in chosen.items()
        }
        every = list(dict.fromkeys(texts[of][row] for of, own in chosen.values() for row in own))
        if not 2 <= len(every) <= MAX_CAPTIONS:
            raise UserError(
                f"{source.what} has {len(every):,} distinct captions; a task takes 2 to {MAX_CAPTIONS:,}: set "
                "`limit:`."
            )
        number = {text: position for position, text in enumerate(every)}
        data = {
            split: source.data(parts[of], split, own, [number[texts[of][row]] for row in own])
            for split, (of, own) in chosen.items()
        }
        space = LabelSpace(name, tuple(every), ("{}",))
        metric = "image-to-text recall at 1"
        return Experience(
            name,
            space,
            data.get("train"),
            data["validation"],
            data["test"],
            metric=metric,
            notes=source.said_of_all(),
        )

    def _texts(self, source: Source, split: str, rows: Rows, column: str) -> dict[int, str]:
        """Row -> its caption, one row for each image."""
        texts: dict[int, str] = {}
        several = False
        copies = source.copies(rows)
        for row, (value, first) in enumerate(zip(rows.column(column), copies, strict=True)):
            text, more = caption_of(rows.row(row), value)
            several |= texts.setdefault(first, text) != text or more
        if several:
            source.notes.append("images with several captions: the first of each image is taken")
        if len(texts) < len(rows):
            left = len(rows) - len(texts)
            source.notes.append(
                f"{left:,} of {len(rows):,} rows of {split} repeat an image: its first row is taken"
            )
        return texts


def _measured(parts: dict[str, Rows]) -> dict[str, Rows]:
    """What a suite is measured on: test if there is one, else whatever there is."""
    test = next(split for split in ("test", "validation", "train") if split in parts)
    return {
        "test": parts[test],
        **({"validation": parts["validation"]} if test == "test" and "validation" in parts else {}),
    }


def _set_aside(
    what: str, texts: Mapping[str, Mapping[int, str]], shares: Mapping[str, float]
) -> dict[str, tuple[str, list[int]]]:
    """Split -> (the table's split, its rows); what is missing is drawn by the hash of the caption."""
    source = "train" if "train" in texts else "test"
    check_shares(what, shares)
    chosen = {split: (split, list(own)) for split, own in texts.items() if split != source}
    rest: dict[str, list[int]] = {source: [], **{split: [] for split in shares}}
    for row, text in texts[source].items():
        draw, bound, target = chance("captions", text), 0.0, source
        for split, share in shares.items():
            if bound <= draw < bound + share:
                target = split
            bound += share
        rest[target].append(row)
    empty = next((split for split, own in rest.items() if not own), None)
    if empty is not None:
        raise UserError(
            f"{what}: {counted(len(texts[source]), 'image', len(set(texts[source].values())), 'of one caption')} too "
            f"few to set {empty} aside; add some, or a larger share."
        )
    return chosen | {split: (source, own) for split, own in rest.items()}
