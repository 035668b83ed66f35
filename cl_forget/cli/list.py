"""`cl-forget list`: what there is."""

from __future__ import annotations

from typing import Annotated

import typer

from cl_forget.cli.shared import Imports, print_table


def list_(
    what: Annotated[
        str | None,
        typer.Argument(
            help="models, streams, mitigations or suites, or the name of one to see all of it [default: all lists]"
        ),
    ] = None,
    imports: Imports = None,
) -> None:
    """List models, streams, mitigations with their knobs, and suites; or all fields of one, with their ranges."""
    from cl_forget.cli.catalogue import tables

    for table in tables(what):
        print_table(table)
