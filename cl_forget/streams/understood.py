"""What was understood of the data: said before anything is trained, so that a misread folder is seen in time.

One record per task, suite and probe set: its classes, the sizes of its splits, one sample as the model sees it,
and how many samples of train stand in the other splits again. The record is printed by a dry run and by every
run, kept in the run's folder as `understood.json`, and shown in the report. It is cheap: one sample is
prepared, and only samples that could be equal are compared.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from cl_forget.ground.errors import UserError
from cl_forget.ground.files import write_text
from cl_forget.streams.base import Data, Experience

FILE = "understood.json"
FIRST = 5  # class names that are shown
WIDTH = 240  # characters of a line of a sample that are shown

logger = logging.getLogger("cl_forget")

Role = Literal["task", "suite", "probe"]


class Seen(NamedTuple):
    """One sample as a model sees it.

    Attributes:
        lines: for an image its size, mode and mean; for a text the prompt and the target with special tokens.
        thumbnail: a small PNG of an image; None for texts.
    """

    lines: Sequence[str] = ()
    thumbnail: bytes | None = None


class Understood(BaseModel):
    """What was understood of one experience.

    Attributes:
        name: of the experience.
        role: task of the stream, suite, or data that probes are fitted on.
        kind: what it holds and what is measured on it, such as "images, top-1 accuracy".
        classes: the first class names, as they go into prompts; empty for texts.
        class_count: how many classes there are; 0 for texts.
        splits: samples by split, in the order train, validation, test, shifted sets.
        sample: one sample as the model sees it, as lines of text.
        thumbnail: a small PNG of it; None for texts.
        notes: what the source has to say (the format it recognised, what it left out, what it changed).
        duplicates: split -> how many of its samples stand in train, too; a split is missing where the data
            cannot say so without reading all of them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_bytes="base64", val_json_bytes="base64")

    name: str
    role: Role
    kind: str
    classes: tuple[str, ...] = ()
    class_count: int = 0
    splits: dict[str, int]
    sample: tuple[str, ...] = ()
    thumbnail: bytes | None = None
    notes: tuple[str, ...] = ()
    duplicates: dict[str, int] = {}

    def lines(self) -> list[str]:
        """The record as plain lines for a terminal; the first names the experience."""
        sizes = ", ".join(f"{split} {size:,}" for split, size in self.splits.items())
        lines = [f"{self.role} {self.name}: {self.kind} · {sizes}"]
        if self.class_count:
            more = ", ..." if self.class_count > len(self.classes) else ""
            lines.append(f"  {self.class_count:,} classes: {', '.join(self.classes)}{more}")
        lines += [f"  {_cut(line)}" for line in self.sample]
        repeated = {split: count for split, count in self.duplicates.items() if count}
        for split, count in repeated.items():
            lines.append(f"  {count:,} of {self.splits[split]:,} samples of {split} stand in train, too")
        if self.duplicates and not repeated:
            lines.append(f"  no sample of {', '.join(self.duplicates)} stands in train")
        return lines + [f"  note: {note}" for note in self.notes]


def understand(experience: Experience, role: Role, see: Callable[[Experience], Seen]) -> Understood:
    """The record of one experience.

    Args:
        experience: what its source made of the user's data.
        role: what it is used as.
        see: shows one sample as the model sees it (`FoundationModel.see`).
    """
    seen = see(experience)
    classes = experience.labels.classes if experience.labels is not None else ()
    data = type(experience.test).__name__.removesuffix("Data").lower()
    what = {"image": "images", "text": "texts"}.get(data, data)
    return Understood(
        name=experience.name,
        role=role,
        kind=f"{what}, {experience.metric}",
        classes=classes[:FIRST],
        class_count=len(classes),
        splits={split: len(own) for split, own in experience.splits().items()},
        sample=tuple(seen.lines),
        thumbnail=seen.thumbnail,
        notes=(*experience.notes, *_absent(experience)),
        duplicates=duplicates(experience),
    )


def _absent(experience: Experience) -> list[str]:
    """Which classes stand in train but not in another split, or the other way round."""
    if experience.train is None or experience.labels is None or experience.metric != "top-1 accuracy":
        return []
    names, trained = experience.labels.classes, set(experience.train.labels.tolist())
    notes = []
    for split, data in experience.splits().items():
        present = set(data.labels.tolist())
        for those, text in (
            (trained - present, f"{split} has no sample of {{}} that train has"),
            (present - trained, f"{split} has samples of {{}} that train has not"),
        ):
            if those:
                first = ", ".join(names[label] for label in sorted(those)[:FIRST])
                more = ", ..." if len(those) > FIRST else ""
                notes.append(text.format(f"{len(those):,} of {len(names):,} classes ({first}{more})"))
    return notes


def duplicates(experience: Experience) -> dict[str, int]:
    """Split -> how many of its samples are in train, too, by their content; see `Understood.duplicates`."""
    train = experience.train
    hints = None if train is None else train.hints()
    if train is None or hints is None:
        return {}
    rough: dict[object, list[int]] = {}
    for position, hint in enumerate(hints):
        rough.setdefault(hint, []).append(position)
    known: dict[object, set[object]] = {}  # hint -> the contents in train, filled as they are asked for
    found = {}
    for split, data in experience.splits().items():
        own = data.hints()
        if split != "train" and own is not None:
            found[split] = sum(
                _stands_in(train, rough, known, hint, data, position) for position, hint in enumerate(own)
            )
    return found


def _stands_in(
    train: Data, rough: dict[object, list[int]], known: dict[object, set[object]],
    hint: object, data: Data, position: int,
) -> bool:  # fmt: skip
    """Whether a sample is among those of train that share its hint."""
    if hint not in rough:
        return False
    if hint not in known:
        known[hint] = {train.content(other) for other in rough[hint]}
    return data.content(position) in known[hint]


# -- where it is said ----------------------------------------------------------------------------------

_said: set[str] = set()  # what this process has printed, so that runs on the same data say it once
_hushed = False


def hush(on: bool) -> None:
    """Whether this process keeps quiet because another one, at work on the same data, speaks."""
    global _hushed
    _hushed = on


def announce(records: Iterable[Understood], *more: str) -> None:
    """Print the records as the first lines of a run, and `more` after them; what was printed is left out."""
    new = [text for text in ("\n".join(record.lines()) for record in records) if text not in _said]
    if new and not _hushed:
        _said.update(new)
        for text in (*new, *more):
            logger.info(text)


_records = TypeAdapter(list[Understood])


def write_understood(folder: Path, records: Sequence[Understood]) -> None:
    """Write `understood.json` into a run's folder."""
    write_text(folder / FILE, _records.dump_json(list(records), indent=1).decode())


def read_understood(folder: Path) -> list[Understood]:
    """What `write_understood` wrote; nothing where the folder has no such file.

    Raises:
        UserError: the file is not whole.
    """
    file = folder / FILE
    try:
        return _records.validate_json(file.read_bytes())
    except FileNotFoundError:
        return []
    except (OSError, ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"{error.error_count()} wrong fields"
        raise UserError(f"{file} cannot be read ({reason}): delete it; the run does not need it.") from None


def _cut(line: str) -> str:
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 4]} ..."
