"""`cl-forget list`: what there is."""

from __future__ import annotations

from typing import Annotated

import typer

from cl_forget.cli.shared import Imports, print_table


def list_(
    what: Annotated[
        str | None, typer.Argument(help="models, streams, mitigations or suites [default: all of them]")
    ] = None,
    imports: Imports = None,
) -> None:
    """List models, streams, mitigations with their knobs, and suites."""
    from cl_forget.cli.catalogue import tables

    for table in tables(what):
        print_table(table)
