"""The items behind the numbers: which test samples each run had right, what it said to them, and what they are.

The specification only says where the items lie; they are read when a page is made. A page that stands alone carries
at most `PAGE_ITEMS` of them and at most `PAGE_ANSWERS` answers, spread evenly over the data sets; a served page has
them all.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cl_forget.comparison.measures import PRETRAINED
from cl_forget.comparison.records import Result
from cl_forget.evaluation.item_samples import Samples, read_samples, spread
from cl_forget.evaluation.item_table import FILE, Answers, read_answers

PAGE_ITEMS = 3000
PAGE_ANSWERS = 1_500_000
"""Answers are items times evaluations: about 1 MiB of the page."""

WIDE = 40
"""Pictures side by side in the one picture that holds all of a data set."""

FIRST_CODE = 0xA1
"""An answer is one character of a string, from this one on: what is read as JSON and compresses well."""

MOST_NAMES = 50_000
"""Answers told apart in one data set: beyond, a character would be half of a pair."""

PAGE_LETTERS = 2_000_000
"""Letters of all answers of one data set in a page that stands alone: free texts are seldom given twice."""


@dataclass(frozen=True)
class ItemRun:
    """One run that has kept its items.

    Attributes:
        method, seed: which run.
        folder: where they lie.
        rows: what each evaluation came after; the first is the pre-trained model.
    """

    method: str
    seed: int
    folder: Path
    rows: tuple[str, ...]


@dataclass(frozen=True)
class Items:
    """Where the items of a report lie.

    Attributes:
        runs: those that have kept theirs.
        tasks, suites: the data sets, in order.
    """

    runs: tuple[ItemRun, ...]
    tasks: tuple[str, ...]
    suites: tuple[str, ...]


@dataclass(frozen=True)
class ItemPage:
    """The items as a page has them.

    Attributes:
        content: everything but pictures, as JSON values.
        sheets: data set -> a WebP picture of its samples, in rows of `WIDE`.
    """

    content: dict[str, Any]
    sheets: dict[str, bytes]


def items_of(results: Sequence[Result], folders: Mapping[tuple[str, int], Path]) -> Items | None:
    """Where the items of the results lie; None where no run has kept any.

    Args:
        results: of the same tasks and suites.
        folders: (method, seed) -> the run's folder.
    """
    runs = [
        ItemRun(
            result.method,
            result.seed,
            folders[result.method, result.seed],
            (PRETRAINED, *(f"after {row.after}" for row in result.rows[1:])),
        )
        for result in results
        if (result.method, result.seed) in folders and (folders[result.method, result.seed] / FILE).is_file()
    ]
    return Items(tuple(runs), tuple(results[0].tasks), tuple(results[0].suites)) if runs else None


def item_page(items: Items, whole: bool = False) -> ItemPage:
    """Read the items and put them as the page needs them.

    Args:
        items: where they lie.
        whole: whether all of them are wanted, however many.

    Raises:
        UserError: a file is not whole.
    """
    answers = {(run.method, run.seed): read_answers(run.folder) for run in items.runs}
    known = next(filter(None, (read_samples(run.folder) for run in items.runs)), {})
    found = {name for own in answers.values() for _, name in own}
    names = [name for name in (*items.tasks, *items.suites) if name in found]
    counts = [
        len(next(own[key].right for own in answers.values() for key in own if key[1] == name))
        for name in names
    ]
    evaluations = max(1, sum(len({row for row, _ in own}) for own in answers.values()))
    most = sum(counts) if whole else min(PAGE_ITEMS, PAGE_ANSWERS // evaluations)
    strings = _Strings()
    sets: list[dict[str, Any]] = []
    places: dict[str, tuple[list[int], dict[str, int]]] = {}
    sheets: dict[str, bytes] = {}
    for name, count, shown in zip(names, counts, spread(counts, most), strict=True):
        samples = known.get(name)
        if samples is not None and len(samples.labels) != count:
            samples = None  # the samples of other data, put there by hand
        said = [own[key] for own in answers.values() for key in own if key[1] == name]
        labels = samples.labels if samples is not None else _labels(said, count)
        words = [*labels, *(one.names[code] for one in said for code in _used(one, shown))]
        vocabulary, cut = _vocabulary(words, None if whole else PAGE_LETTERS)
        places[name] = shown, vocabulary
        pictures = [] if samples is None else [samples.pictures[item] for item in shown]
        sheet = _sheet(pictures)
        if sheet is not None:
            sheets[name] = sheet[0]
        sets.append(
            {
                "name": name,
                "role": "task" if name in items.tasks else "suite",
                "total": count,
                "shown": shown if len(shown) < count else None,
                "names": list(vocabulary),
                "cut": cut,
                "labels": _coded([vocabulary.get(labels[item], 0) for item in shown]),
                "prompts": _prompts(samples, shown),
                "picture": {"size": sheet[1], "wide": WIDE, "has": _flags([p is not None for p in pictures])}
                if sheet
                else None,
            }
        )
    content = {
        "sets": sets,
        "runs": [
            {
                "method": run.method,
                "seed": run.seed,
                "rows": [
                    {"after": after, "sets": _row(answers[run.method, run.seed], number, places, strings)}
                    for number, after in enumerate(run.rows)
                ],
            }
            for run in items.runs
        ],
        "strings": strings.all,
        "first": FIRST_CODE,
    }
    return ItemPage(content, sheets)


class _Strings:
    """Strings by number, each kept once: row 0 is the same in every run."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        return self._numbers.setdefault(text, len(self._numbers))

    @property
    def all(self) -> list[str]:
        return list(self._numbers)


def _row(
    answers: Mapping[tuple[int, str], Answers],
    row: int,
    places: Mapping[str, tuple[list[int], dict[str, int]]],
    strings: _Strings,
) -> dict[str, list[int]]:
    """Data set -> [string of right and wrong, string of answers, kept, lost, gained, never known of all samples]."""
    found = {}
    for name, (shown, vocabulary) in places.items():
        own, before = answers.get((row, name)), answers.get((0, name))
        if own is None:
            continue
        code_of: NDArray[np.int64] = np.zeros(
            len(own.names) + 1, dtype=np.int64
        )  # the last is that of -1, an answer not kept
        for code in _used(own, shown):
            code_of[code] = vocabulary.get(own.names[code], 0)
        codes = code_of[own.predicted]
        found[name] = [
            strings.number(_flags(own.right[shown])),
            strings.number(_coded(codes[shown])),
            *_states(own.right if before is None else before.right, own.right),
        ]
    return found


def _used(answers: Answers, shown: Sequence[int]) -> list[int]:
    """The answers that were given to these samples, of those that a file has names for."""
    return [int(code) for code in np.unique(answers.predicted[shown]) if code >= 0]


def _states(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> list[int]:
    """How many samples were kept, lost, gained and never known."""
    return [int(x.sum()) for x in (before & after, before & ~after, ~before & after, ~before & ~after)]


def _labels(said: Iterable[Answers], count: int) -> list[str]:
    """The true class of each sample as far as a right answer gives it away, for runs that did not keep it."""
    labels = [""] * count
    for answers in said:
        for item in np.flatnonzero(answers.right & (answers.predicted >= 0)):
            labels[item] = answers.names[answers.predicted[item]]
    return labels


def _vocabulary(words: Iterable[str], letters: int | None) -> tuple[dict[str, int], bool]:
    """Every word with its number, and whether some had to be left out; 0 is what is not known.

    Args:
        words: in the order of their importance.
        letters: how many all of them may have; None for any number.
    """
    found, room = {"": 0}, math.inf if letters is None else letters
    for word in words:
        if word in found:
            continue
        room -= len(word)
        if room < 0 or len(found) >= MOST_NAMES:
            return found, True
        found[word] = len(found)
    return found, False


def _coded(codes: Iterable[int]) -> str:
    return "".join(chr(FIRST_CODE + int(code)) for code in codes)


def _flags(values: Iterable[Any]) -> str:
    return "".join("1" if value else "0" for value in values)


def _prompts(samples: Samples | None, shown: Sequence[int]) -> list[str] | None:
    prompts = [] if samples is None else [samples.prompts[item] or "" for item in shown]
    return prompts if any(prompts) else None


def _sheet(pictures: Sequence[bytes | None]) -> tuple[bytes, list[int]] | None:
    """One picture of all, and the width and height of each in it; None where there is none."""
    from PIL import Image

    opened = [
        None if picture is None else Image.open(io.BytesIO(picture), formats=("WEBP",))
        for picture in pictures
    ]
    sizes = [image.size for image in opened if image is not None]
    if not sizes:
        return None
    wide, high = (max(size[k] for size in sizes) for k in (0, 1))
    rows = -(-len(opened) // WIDE)
    sheet = Image.new("RGB", (wide * min(WIDE, len(opened)), high * rows), "white")
    for k, image in enumerate(opened):
        if image is not None:
            left, top = (k % WIDE) * wide, (k // WIDE) * high
            sheet.paste(image, (left + (wide - image.width) // 2, top + (high - image.height) // 2))
    file = io.BytesIO()
    # The format ends at 16,383 pixels a side; a sheet of a served page can be longer.
    kind, options = (
        ("WEBP", {"quality": 72, "method": 4}) if sheet.height < 16_000 else ("PNG", {"optimize": True})
    )
    sheet.save(file, kind, **options)
    return file.getvalue(), [wide, high]


def embedded(sheet: bytes) -> str:
    """A sheet as an address within the page."""
    kind = "webp" if sheet[8:12] == b"WEBP" else "png"
    return f"data:image/{kind};base64,{base64.b64encode(sheet).decode()}"
