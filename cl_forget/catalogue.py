"""What there is: models, streams, mitigations and suites, as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cl_forget.errors import UserError
from cl_forget.registry import Registry, closest

if TYPE_CHECKING:
    from rich.table import Table

KINDS = ("models", "streams", "mitigations", "suites")


def tables(what: str | None = None) -> list[Table]:
    """One table per kind, or the one asked for; imports no heavy package.

    Raises:
        UserError: there is no such kind.
    """
    if what is not None and what not in KINDS:
        raise UserError(
            f"nothing to list under '{what}'.{closest(what, list(KINDS))} Known: {', '.join(KINDS)}."
        )
    from cl_forget.models import MODELS
    from cl_forget.streams import STREAMS, SUITES

    makers = {
        "models": lambda: _described("Models", MODELS),
        "streams": lambda: _described("Streams", STREAMS),
        "mitigations": _mitigations,
        "suites": lambda: _described("Suites", SUITES),
    }
    return [make() for kind, make in makers.items() if what in (None, kind)]


def _table(title: str, *columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, title_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _described(title: str, registry: Registry) -> Table:
    table = _table(title, "name", "what it is")
    for name in registry:
        table.add_row(name, summary_line(registry.get(name)))
    return table


def _mitigations() -> Table:
    from cl_forget.mitigations import MITIGATIONS

    table = _table("Mitigations", "name", "what it is", "place", "knob", "grid")
    for name in MITIGATIONS:
        method = MITIGATIONS.get(name)
        grid = " ".join(f"{value:g}" for value in method.grid)
        table.add_row(name, method.title, method.place, method.knob or "-", grid or "-")
    return table


def summary_line(thing: object) -> str:
    """The first line of a docstring."""
    return ((thing.__doc__ or "").strip().splitlines() or [""])[0]
