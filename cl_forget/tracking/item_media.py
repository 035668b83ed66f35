"""The items behind a run's numbers, as W&B shows them: a table over the experiences, and pictures of what was
lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cl_forget.comparison.records import Result
from cl_forget.evaluation.item_samples import read_samples, spread
from cl_forget.evaluation.item_table import FILE, Answers, read_answers

MOST = 2000
"""Lines of the table: what was lost comes first, then what was gained, never known, kept."""

PICTURES = 12
"""Of an experience, spread evenly over what it had lost."""

STATES = ("lost", "gained", "never known", "kept")


@dataclass(frozen=True)
class Lost:
    """A test item that the pre-trained model had right and the model after an experience has wrong.

    Attributes:
        picture: a small WebP file.
        caption: "digits: 7 → 1".
    """

    picture: bytes
    caption: str


def item_table(result: Result, folder: Path) -> tuple[list[str], list[list[Any]]] | None:
    """Columns, and a line per test item: what it is, and what the model said to it after each experience.

    Args:
        result: of the run.
        folder: of the run; None is returned where it has kept no items.

    Raises:
        UserError: a file of the items is not whole.
    """
    if not (folder / FILE).is_file():
        return None
    answers, samples, last = read_answers(folder), read_samples(folder), len(result.rows) - 1
    lines: dict[str, list[list[Any]]] = {state: [] for state in STATES}
    for name in _sets(result, answers):
        kept = samples.get(name)
        rows = [answers.get((row, name)) for row in range(last + 1)]
        before, now = rows[0], rows[last]
        if before is None or now is None:
            continue
        for item in range(len(before.right)):
            said = [None if row is None else _said(row, item) for row in rows]
            truth, prompt = (kept.labels[item], kept.prompts[item]) if kept is not None else (None, None)
            state = _state(bool(before.right[item]), bool(now.right[item]))
            lines[state].append([name, item, state, truth, *said, prompt])
    columns = ["data", "item", "state", "truth", "pre-trained"]
    columns += [f"{number}: after {row.after}" for number, row in enumerate(result.rows[1:], start=1)]
    return [*columns, "prompt"], [line for state in STATES for line in lines[state]][:MOST]


def lost_pictures(result: Result, folder: Path) -> list[list[Lost]]:
    """For each row of the result pictures of what was lost by then, of every data set its share; none of texts."""
    if not (folder / FILE).is_file():
        return [[] for _ in result.rows]
    answers, samples = read_answers(folder), read_samples(folder)
    found = []
    for row in range(len(result.rows)):
        names, lost = [], []
        for name in _sets(result, answers):
            before, now = answers.get((0, name)), answers.get((row, name))
            if before is None or now is None or name not in samples:
                continue
            pictures = samples[name].pictures
            gone = (before.right & ~now.right).nonzero()[0].tolist()
            gone = [item for item in gone if pictures[item] is not None]
            if gone:
                names.append(name)
                lost.append(gone)
        chosen = [
            Lost(
                samples[name].pictures[gone[k]] or b"",
                f"{name}: {samples[name].labels[gone[k]]} → {_said(answers[row, name], gone[k])}",
            )
            for name, gone, places in zip(
                names, lost, spread([len(gone) for gone in lost], PICTURES), strict=True
            )
            for k in places
        ]
        found.append(chosen)
    return found


def _sets(result: Result, answers: dict[tuple[int, str], Answers]) -> Iterator[str]:
    names = {name for _, name in answers}
    return (name for name in (*result.tasks, *result.suites) if name in names)


def _said(answers: Answers, item: int) -> str:
    """The answer, or whether it was right where it was not spelt out."""
    code = int(answers.predicted[item])
    return answers.names[code] if code >= 0 else "right" if answers.right[item] else "wrong"


def _state(before: bool, now: bool) -> str:
    return {(True, False): "lost", (False, True): "gained", (True, True): "kept"}.get(
        (before, now), "never known"
    )
