"""`cl-forget landscape`: loss landscapes before and after."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cl_forget.cli.shared import AllowCode, Imports, Log, Overwrite, print_table
from cl_forget.ground.environment import quiet_libraries
from cl_forget.ground.progress import begin

WRITTEN = ("landscape.png", "landscape.json")


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
    log: Log = "text",
) -> None:
    """Draw loss landscapes before and after runs, side by side, and measure flatness (SC, AG, MAG, SAM gap)."""
    from cl_forget.cli.catalogue import flatness_table
    from cl_forget.ground.outputs import make_way

    place = output or folders[0]
    make_way(place, WRITTEN, overwrite)
    quiet_libraries()
    with begin(f"loss landscapes of {len(folders)} run{'s' if len(folders) > 1 else ''}"):
        from cl_forget.run.flatness import landscape as measure

        found = measure(folders, on, radius, points, samples, output=output)
    print_table(flatness_table(found))
    for name in WRITTEN:
        typer.echo(f"  {place / name}")
