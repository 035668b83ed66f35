"""`samples.parquet`: what the items of `items.parquet` are, so that a report can show them wherever it is made.

One line per test sample: `data` (task or suite), `item` (position, as in `items.parquet`), `label` (the class's name,
or the reference answer), `prompt` (of a text), `picture` (a small WebP of an image, or null). The file is the same
for all runs on the same data: it is made once in the cache, and a run's folder has a link to it, so that it takes its
room once.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl_forget.ground.environment import cache_folder
from cl_forget.ground.errors import UserError
from cl_forget.ground.files import whole
from cl_forget.streams.base import Data, Experience, ImageData, MeasuredData
from cl_forget.streams.text import TextData

if TYPE_CHECKING:
    from cl_forget.evaluation.evaluate import Evaluator

FILE = "samples.parquet"
VERSION = "1"

PICTURES = 3000
"""Samples with a picture or a prompt at most, spread evenly over the data; of the rest only labels are kept."""

SIDE = 48
"""Pixels of a picture's longer side at most."""

LETTERS = 600
"""Letters of a prompt or of an answer at most."""


@dataclass(frozen=True)
class Samples:
    """The test samples of one data set, in order.

    Attributes:
        labels: the true class or the reference answer of each; "" where it is not known.
        prompts: of texts; None where none was kept.
        pictures: WebP files of images; None where none was kept.
    """

    labels: Sequence[str]
    prompts: Sequence[str | None]
    pictures: Sequence[bytes | None]


def write_samples(folder: Path, evaluator: Evaluator) -> None:
    """Write what the evaluator's test samples are into a run's folder."""
    experiences = [
        one for one in (*evaluator.tasks, *evaluator.suites) if not isinstance(one.test, MeasuredData)
    ]
    data = {one.name: evaluator.data(one, "test") for one in experiences}
    made = _cached(experiences, data)
    with whole(folder / FILE) as link:
        try:
            os.link(made, link)
        except OSError:  # another file system, or one without links
            shutil.copyfile(made, link)


def read_samples(folder: Path) -> dict[str, Samples]:
    """Data set -> its test samples; empty where the folder has none, as of a run of an earlier version.

    Raises:
        UserError: the file is not whole.
    """
    import pyarrow
    import pyarrow.parquet as parquet

    file = folder / FILE
    if not file.is_file():
        return {}
    found: dict[str, list[tuple[Any, ...]]] = {}
    try:
        columns = parquet.read_table(file).to_pydict()
        names = ("data", "label", "prompt", "picture")
        for name, *rest in zip(*(columns[column] for column in names), strict=True):
            found.setdefault(name, []).append(tuple(rest))
    except (pyarrow.ArrowException, KeyError, OSError) as error:
        raise UserError(
            f"{file} is not whole ({str(error).splitlines()[0]}); delete it, or run it again."
        ) from None
    return {name: Samples(*zip(*lines, strict=True)) for name, lines in found.items()}


def spread(counts: Sequence[int], most: int) -> list[list[int]]:
    """At most `most` positions of several data sets together, each set's in proportion and evenly spread.

    Args:
        counts: how many samples each set has.
        most: how many positions are wanted; every set keeps at least one.
    """
    total = sum(counts)
    if total <= most:
        return [list(range(count)) for count in counts]
    shares = [min(count, max(1, count * most // total)) for count in counts]
    return [[k * count // share for k in range(share)] for count, share in zip(counts, shares, strict=True)]


def _cached(experiences: Sequence[Experience], data: dict[str, Data]) -> Path:
    """The file of these samples in the cache, made if need be; two processes that make it write the same."""
    key = [VERSION, *(f"{one.name} {one.fingerprint} {data[one.name].fingerprint}" for one in experiences)]
    file = (
        cache_folder().parent
        / "samples"
        / f"{hashlib.sha256(chr(10).join(key).encode()).hexdigest()[:24]}.parquet"
    )
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        import pyarrow
        import pyarrow.parquet

        columns = ("data", "item", "label", "prompt", "picture")
        kinds = (pyarrow.string(), pyarrow.int32(), pyarrow.string(), pyarrow.string(), pyarrow.binary())
        lines = list(_lines(experiences, data))
        table = pyarrow.table(
            {
                name: pyarrow.array([line[k] for line in lines], kind)
                for k, (name, kind) in enumerate(zip(columns, kinds, strict=True))
            }
        )
        with whole(file) as temporary:
            pyarrow.parquet.write_table(table, temporary, compression="zstd")
    return file


def _lines(experiences: Sequence[Experience], data: dict[str, Data]) -> Iterator[tuple[Any, ...]]:
    shown = spread([len(data[one.name]) for one in experiences], PICTURES)
    for one, positions in zip(experiences, shown, strict=True):
        own, kept = data[one.name], set(positions)
        for item in range(len(own)):
            prompt = _prompt(own, item) if item in kept else None
            picture = _picture(own, item) if item in kept else None
            yield one.name, item, _label(one, own, item), prompt, picture


def _label(experience: Experience, data: Data, item: int) -> str:
    if isinstance(data, TextData):
        return shortened(data.responses[item])
    return experience.labels.classes[int(data.labels[item])] if experience.labels is not None else ""


def _prompt(data: Data, item: int) -> str | None:
    if not isinstance(data, TextData):
        return None
    prompt = data.prompts[item]
    said = (
        prompt
        if isinstance(prompt, str)
        else "\n".join(f"{turn['role']}: {turn['content']}" for turn in prompt)
    )
    return shortened(said)


def _picture(data: Data, item: int) -> bytes | None:
    if not isinstance(data, ImageData):
        return None
    with contextlib.suppress(OSError):  # a file that has gone meanwhile has no picture
        image = data.image(item)
        image.thumbnail((SIDE, SIDE))
        file = io.BytesIO()
        image.save(file, "WEBP", quality=80)
        return file.getvalue()
    return None


def shortened(text: str) -> str:
    """The text, cut where it is long."""
    return text if len(text) <= LETTERS else f"{text[: LETTERS - 1]}…"
