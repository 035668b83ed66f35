"""`cl-forget figures`: runs or a sweep for print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cl_forget.cli.shared import folder_of
from cl_forget.ground.environment import quiet_libraries
from cl_forget.ground.progress import begin


def figures(
    folders: Annotated[list[Path], typer.Argument(help="Run folders, folders that hold some, or sweeps.")],
    style: Annotated[str, typer.Option(help="paper (two columns) or slides.")] = "paper",
    output: Annotated[
        Path | None, typer.Option(help="Where to write [default: figures/ in the first folder].")
    ] = None,
) -> None:
    """Draw runs or a sweep for print: vector PDFs, one per figure, and the table as LaTeX and Markdown."""
    from cl_forget.ground.outputs import refuse_unwritable

    place = output or folder_of(folders[0]) / "figures"
    refuse_unwritable(place)
    quiet_libraries()
    with begin(f"drawing {', '.join(map(str, folders[:3]))}{', ...' if len(folders) > 3 else ''}"):
        from cl_forget.reporting import specify_folders
        from cl_forget.reporting.print.paper import write_figures

        written = write_figures(specify_folders(folders), place, style)
    for path in written:
        typer.echo(f"  {path}")
