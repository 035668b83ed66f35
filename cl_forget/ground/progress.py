"""Progress bars, in one style; silent when nobody watches.

`track` wraps an iterable, `bar` gives a bar that is advanced by hand. Both write to standard error, and only
when it is a terminal, so that output sent to a file stays clean.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


Advance = Callable[[int, str], None]
_silent = False


def silence() -> None:
    """No bars from this process: it is one of several that work for a parent with a bar of its own."""
    global _silent
    _silent = True


@contextlib.contextmanager
def bar(description: str, total: int, unit: str = "") -> Iterator[Advance]:
    """A progress bar; the function it yields takes (how far to advance, text to show)."""
    if _silent or not sys.stderr.isatty():
        yield _nothing
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:<28}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[text]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(description, total=total, text="")

        def move(advance: int, text: str) -> None:
            progress.update(task, advance=advance, text=text)

        yield move


def _nothing(advance: int, text: str) -> None:
    """What a bar does when nobody watches."""


def track(items: Iterable[Item], description: str, total: int) -> Iterator[Item]:
    """The items, with a bar that moves as they are taken."""
    with bar(description, total) as advance:
        for item in items:
            yield item
            advance(1, "")
