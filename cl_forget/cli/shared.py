"""What several commands take and how they show what they made."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Fields to change, as field=value: train.lr=1e-4 train.epochs=2 'stream=[digits]'"),
]


def _allow(places: list[str] | None) -> list[str] | None:
    from cl_forget.config.recorded import allow_code

    allow_code(*places or [])
    return places


AllowCode = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-code",
        help="Code named by a recorded run that you trust: module:function, as the refusal says it; repeatable.",
        callback=_allow,
    ),
]


def _import(places: list[str] | None) -> list[str] | None:
    from cl_forget.ground.imports import bring_in

    bring_in(places or [])
    return places


Imports = Annotated[
    list[str] | None,
    typer.Option(
        "--import",
        help="A module, or a Python file, that registers methods, models or streams of your own; repeatable.",
        callback=_import,
    ),
]


def _log_as(how: str) -> str:
    import os

    from cl_forget.ground.progress import LOG

    os.environ[LOG] = how  # which the processes that this one starts inherit
    return how


Log = Annotated[
    Literal["text", "json"],
    typer.Option(
        "--log",
        help="How lines on standard error are written: text, or json, one object a line.",
        envvar="CL_FORGET_LOG",
        show_envvar=False,
        callback=_log_as,
    ),
]


Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite", help="Replace what an earlier command has left there, once this one can begin."
    ),
]


def print_table(renderable: Any) -> None:
    """A table, on the terminal or in a file."""
    from rich.console import Console

    # A table sent to a file keeps its columns; on a terminal it takes the width there is.
    # What is in brackets is text: names of arms and folders are the user's.
    Console(width=None if sys.stdout.isatty() else 160, markup=False).print(renderable)


def show_report(rendered: Any) -> None:
    """The report's tables on the terminal, and where the page, the picture and the file of numbers lie."""
    from cl_forget.reporting.terminal.table import render_tables

    for table in render_tables(rendered.specification):
        print_table(table)
    for path in filter(None, (rendered.page, rendered.picture, rendered.csv)):
        typer.echo(f"  {path}")


def folder_of(path: Path) -> Path:
    """The folder where what is said of a file or folder of results is written."""
    return path.parent if path.is_file() else path
