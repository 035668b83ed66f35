"""`cl-forget gallery`: many experiments on one index page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cl_forget.cli.shared import Overwrite


def gallery(
    folders: Annotated[
        list[Path], typer.Argument(help="Experiments, sweeps, or folders that hold some at any depth.")
    ],
    output: Annotated[Path, typer.Option(help="Folder for index.html and the reports.")] = Path("gallery"),
    title: Annotated[str | None, typer.Option(help="Heading of the index.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Make an index of experiments: picture, date, version, commit, headline numbers, and each one's report."""
    from cl_forget.ground.outputs import GENERATOR, refuse_replacing
    from cl_forget.reporting.gallery import write_gallery

    index = output / "index.html"
    if not (index.is_file() and GENERATOR in index.read_bytes()):
        refuse_replacing(output, ["index.html"], overwrite)
    made = write_gallery(folders, output, title)
    typer.echo(
        f"  {made.index}  ({len(made.cards)} {'experiment' if len(made.cards) == 1 else 'experiments'})"
    )
    for folder, reason in made.refused.items():
        typer.echo(f"  left out: {folder}: {reason}", err=True)
