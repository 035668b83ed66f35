"""An index of many experiments: a page with a card for each, and the report of each beside it."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cl_forget.ground.errors import UserError
from cl_forget.ground.files import StrPath, as_paths, write_all
from cl_forget.reporting.html.render import environment, page
from cl_forget.reporting.numbers import number
from cl_forget.reporting.opening import is_sweep, specify_folders
from cl_forget.reporting.print.pictures import tradeoff_png
from cl_forget.reporting.specification import Method, Specification, Table

THUMBNAIL_DPI = 90
HEADLINES = ("speciality", "generality", "retention")
SHOWN = 4
"""Lines of numbers on a card: the pre-trained model, the control, and the best others."""


@dataclass(frozen=True)
class Card:
    """What the index says of one experiment.

    Attributes:
        folder: as it was given or found.
        file: its report, beside the index.
        title, subtitle: of its report.
        finding: its result in a sentence; "" without one.
        date: when its newest result was written, in UTC.
        versions, commits: of cl-forget, over its runs.
        heads: titles of the numbers.
        lines: (method, its numbers as they are shown), of a few methods.
        thumbnail: the trade-off as PNG; None without one.
    """

    folder: str
    file: str
    title: str
    subtitle: str
    finding: str
    date: datetime | None
    versions: tuple[str, ...]
    commits: tuple[str, ...]
    heads: tuple[str, ...]
    lines: tuple[tuple[str, tuple[str, ...]], ...]
    thumbnail: bytes | None

    @property
    def day(self) -> str:
        """The date as it is shown."""
        return "" if self.date is None else f"{self.date:%Y-%m-%d}"

    @property
    def picture(self) -> str | None:
        """The thumbnail as the page embeds it."""
        return None if self.thumbnail is None else base64.b64encode(self.thumbnail).decode()


@dataclass(frozen=True)
class Gallery:
    """What was written.

    Attributes:
        index: the page with a card for every experiment.
        cards: the cards, the newest experiment first.
        refused: folder -> why it has no card.
    """

    index: Path
    cards: tuple[Card, ...]
    refused: Mapping[str, str]


def write_gallery(paths: StrPath | Sequence[StrPath], output: StrPath, title: str | None = None) -> Gallery:
    """Write `index.html` and a report per experiment into a folder.

    Args:
        paths: folders of experiments or sweeps, or folders that hold some at any depth.
        output: folder, made if need be; files of an earlier gallery are replaced.
        title: of the index.

    Raises:
        UserError: a folder does not exist, none holds an experiment that can be shown, or `output` cannot be written.
    """
    given = as_paths(paths)
    for path in given:
        if not path.is_dir():
            raise UserError(
                f"no folder {path}: give folders that `cl-forget run` or `cl-forget sweep` wrote."
            )
    found = list(dict.fromkeys(folder for path in given for folder in experiments(path)))
    if not found:
        raise UserError(
            f"no experiment in or below {given[0]}: give folders that `cl-forget run` or `cl-forget sweep` wrote."
        )
    contents: dict[str, bytes] = {}
    cards: list[Card] = []
    refused: dict[str, str] = {}
    names = _file_names(found)
    for folder in found:
        try:
            specification = specify_folders(folder)
        except UserError as error:
            refused[str(folder)] = str(error)
            continue
        thumbnail = tradeoff_png(specification, dpi=THUMBNAIL_DPI)
        contents[names[folder]] = page(specification).encode()
        cards.append(_card(folder, names[folder], specification, thumbnail))
    if not cards:
        raise UserError(
            f"none of the {len(found)} folders can be shown; the first: {next(iter(refused.values()))}"
        )
    cards.sort(key=lambda card: card.date or datetime.min.replace(tzinfo=UTC), reverse=True)
    contents["index.html"] = _index(cards, refused, title or "Experiments").encode()
    write_all(Path(output), contents)
    return Gallery(Path(output) / "index.html", tuple(cards), refused)


def experiments(path: Path) -> Iterator[Path]:
    """The folders of experiments and sweeps in a folder, itself included; what lies in one is part of it."""
    children = sorted(child for child in path.iterdir() if child.is_dir() and not child.name.startswith("."))
    own = (path / "result.json").is_file() or any((child / "result.json").is_file() for child in children)
    if is_sweep(path) or own:
        yield path
        return
    for child in children:
        yield from experiments(child)


def _card(folder: Path, file: str, specification: Specification, thumbnail: bytes | None) -> Card:
    environments = [run.environment for run in specification.runs]
    if not any(one.get("packages") for one in environments):  # records of trials do not say; their runs do
        environments = _environments(folder)
    versions = (one.get("packages", {}).get("cl-forget") for one in environments)
    heads, lines = _headlines(specification)
    return Card(
        folder=str(folder),
        file=file,
        title=specification.title,
        subtitle=specification.subtitle,
        finding=_finding(specification),
        date=_newest(folder),
        versions=_distinct(versions),
        commits=_distinct(one.get("commit") for one in environments),
        heads=heads,
        lines=lines,
        thumbnail=thumbnail,
    )


def _finding(specification: Specification) -> str:
    if specification.verdicts is not None:
        return specification.verdicts.sentence
    return next(iter(specification.findings), "")


def _headlines(
    specification: Specification,
) -> tuple[tuple[str, ...], tuple[tuple[str, tuple[str, ...]], ...]]:
    """The numbers of the card: the pre-trained model, the control, then the arms with most of both measures."""
    table = specification.item("results")
    assert isinstance(table, Table)
    measures = [measure for measure in table.measures if measure.name in HEADLINES]

    def merit(method: Method) -> float:
        return -sum(table.rows[method.name][measure.name].mean or 0.0 for measure in measures[:2])

    first = [method for method in specification.methods if method.role != "method"]
    others = sorted((method for method in specification.methods if method.role == "method"), key=merit)
    shown = [*first, *others][:SHOWN]
    lines = tuple(
        (m.name, tuple(number(table.rows[m.name][measure.name].mean, measure.unit) for measure in measures))
        for m in shown
        if m.name in table.rows
    )
    return tuple(measure.title for measure in measures), lines


def _newest(folder: Path) -> datetime | None:
    """When the newest result or record in a folder was written."""
    files = (file for name in ("result.json", "trial.json") for file in folder.rglob(name))
    times = [os.stat(file).st_mtime for file in files]
    return datetime.fromtimestamp(max(times), UTC) if times else None


def _environments(folder: Path) -> list[dict[str, Any]]:
    """Where the runs in a folder took place, from their own files; empty where none is whole."""
    found = []
    for file in sorted(folder.rglob("environment.json")):
        with contextlib.suppress(OSError, ValueError, RecursionError):
            content = json.loads(file.read_bytes())
            if isinstance(content, dict) and isinstance(content.get("packages", {}), dict):
                found.append(content)
    return found


def _distinct(values: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(value) for value in values if value))


def _file_names(folders: Sequence[Path]) -> dict[Path, str]:
    """A file name for each folder's report: its last part, with the one above where two end alike."""
    names: dict[Path, str] = {}
    for folder in folders:
        parts = [re.sub(r"[^\w.-]+", "-", part) for part in folder.resolve().parts[1:]]
        for count in range(1, len(parts) + 1):
            name = f"{'-'.join(parts[-count:])}.html"
            if name not in names.values() and name != "index.html":
                break
        names[folder] = name
    return names


def _index(cards: Sequence[Card], refused: Mapping[str, str], title: str) -> str:
    from importlib.resources import files

    from markupsafe import Markup

    css = (files("cl_forget.reporting.html") / "page" / "page.css").read_text(encoding="utf-8")
    return (
        environment()
        .get_template("gallery.html")
        .render(title=title, cards=cards, refused=refused, css=Markup(css))
    )
