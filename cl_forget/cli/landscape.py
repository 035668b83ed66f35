"""`cl-forget landscape`: loss landscapes before and after."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cl_forget.cli.shared import AllowCode, Imports, Overwrite, print_table
from cl_forget.ground.environment import quiet_libraries


def landscape(
    folders: Annotated[list[Path], typer.Argument(help="Folders of finished runs of one experiment.")],
    on: Annotated[str | None, typer.Option(help="Task or suite [default: the first suite].")] = None,
    radius: Annotated[float, typer.Option(help="Half the side of the plane, in filter norms.")] = 0.5,
    points: Annotated[int, typer.Option(help="Grid points per side, odd.", min=3)] = 9,
    samples: Annotated[int, typer.Option(help="Validation samples of the loss.", min=1)] = 256,
    output: Annotated[Path | None, typer.Option(help="Where to write [default: the first folder].")] = None,
    allow_code: AllowCode = None,
    imports: Imports = None,
    overwrite: Overwrite = False,
) -> None:
    """Draw loss landscapes before and after runs, side by side, and measure flatness (SC, AG, MAG, SAM gap)."""
    from cl_forget.cli.catalogue import flatness_table
    from cl_forget.ground.outputs import make_way
    from cl_forget.run.flatness import PICTURE
    from cl_forget.run.flatness import landscape as measure

    make_way(output or folders[0], (PICTURE, "landscape.json"), overwrite)
    quiet_libraries()
    print_table(flatness_table(measure(folders, on, radius, points, samples, output=output)))
    typer.echo(f"  {(output or folders[0]) / PICTURE}\n  {(output or folders[0]) / 'landscape.json'}")
