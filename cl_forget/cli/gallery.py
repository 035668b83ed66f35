"""`cl-forget gallery`: many experiments on one index page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cl_forget.cli.shared import Overwrite
from cl_forget.ground.environment import quiet_libraries
from cl_forget.ground.progress import begin


def gallery(
    folders: Annotated[
        list[Path], typer.Argument(help="Experiments, sweeps, or folders that hold some at any depth.")
    ],
    output: Annotated[Path, typer.Option(help="Folder for index.html and the reports.")] = Path("gallery"),
    title: Annotated[str | None, typer.Option(help="Heading of the index.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Make an index of experiments: picture, date, version, commit, headline numbers, and each one's report."""
    from cl_forget.ground.outputs import GENERATOR, refuse_replacing, refuse_unwritable

    refuse_unwritable(output)
    index = output / "index.html"
    if not (index.is_file() and GENERATOR in index.read_bytes()):
        refuse_replacing(output, ["index.html"], overwrite)
    quiet_libraries()
    with begin(f"reading {', '.join(map(str, folders[:3]))}{', ...' if len(folders) > 3 else ''}"):
        from cl_forget.reporting.gallery import write_gallery

        made = write_gallery(folders, output, title)
    typer.echo(
        f"  {made.index}  ({len(made.cards)} {'experiment' if len(made.cards) == 1 else 'experiments'})"
    )
    for folder, reason in made.refused.items():
        typer.echo(f"  left out: {folder}: {reason}", err=True)
