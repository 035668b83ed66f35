"""`cl-forget viewer`: the page that results are dropped into."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cl_forget.cli.shared import Overwrite


def viewer(
    file: Annotated[Path, typer.Argument(help="Where to write the page.")] = Path("viewer.html"),
    overwrite: Overwrite = False,
) -> None:
    """Make a page that compares whatever results are dropped into it, on any machine, without Python or a network."""
    from cl_forget.ground.errors import UserError
    from cl_forget.ground.files import write_all
    from cl_forget.ground.outputs import refuse_replacing, refuse_unwritable
    from cl_forget.reporting.html.viewer import GENERATOR, viewer_page

    if file.is_dir():
        raise UserError(
            f"{file} is a folder, and the page is a file: name one, such as {file / 'viewer.html'}, or show what the "
            f"folder holds by `cl-forget report {file}`."
        )
    refuse_unwritable(file.parent, option="FILE")
    if not (file.is_file() and GENERATOR in file.read_text(encoding="utf-8", errors="replace")):
        refuse_replacing(file.parent, [file.name], overwrite, option="FILE")
    write_all(file.parent, {file.name: viewer_page().encode()})
    typer.echo(f"  {file}  (open it in a browser, and drop run folders or a zip of them into it)")
