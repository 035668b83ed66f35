"""`cl-forget report`: runs or sweeps as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cl_forget.cli.shared import Overwrite, folder_of, show_report
from cl_forget.ground.environment import quiet_libraries
from cl_forget.ground.progress import begin


def report(
    folders: Annotated[list[Path], typer.Argument(help="Run folders, or folders that hold some.")],
    output: Annotated[Path | None, typer.Option(help="Where to write [default: the first folder].")] = None,
    title: Annotated[str | None, typer.Option(help="Heading of the page.")] = None,
    live: Annotated[
        bool,
        typer.Option("--serve", help="Show runs or sweeps under way on a local page that refreshes itself."),
    ] = False,
    port: Annotated[int, typer.Option(help="Of the local page; 0 takes a free one.", min=0, max=65535)] = 0,
    host: Annotated[
        list[str] | None,
        typer.Option(help="A name it may be called by, beside localhost; repeatable, for a proxy before it."),
    ] = None,
    wandb: Annotated[
        str | None,
        typer.Option(help="Also publish a W&B Report and a workspace view there: entity/project."),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Render runs or a sweep as one HTML page, a picture and tables; several folders are compared in one page."""
    if live:
        _serve(folders, port, title, host or [])
        return
    from cl_forget.ground.outputs import refuse_report_over_others, refuse_unwritable

    place = output or folder_of(folders[0])
    if output is not None and output not in folders:
        refuse_report_over_others(output, overwrite)
    refuse_unwritable(place)
    quiet_libraries()
    with begin(f"reading {', '.join(map(str, folders[:3]))}{', ...' if len(folders) > 3 else ''}"):
        if wandb is not None:
            from cl_forget.tracking.login import project

            project(wandb)  # whoever is not logged in learns it now
        from cl_forget.reporting import specify_folders, write_report

        specification = specify_folders(folders, title)
        written = write_report(specification, place)
    show_report(written)
    if wandb is not None:
        _publish(specification, wandb)


def _serve(folders: list[Path], port: int, title: str | None, hosts: list[str]) -> None:
    from cl_forget.reporting.serve import serve

    server, address = serve(folders, port, title, hosts)
    typer.echo(f"  {address}  (Ctrl-C ends it)")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


def _publish(specification: Any, where: str) -> None:
    from cl_forget.reporting.wandb.publish import publish

    quiet_libraries()
    published = publish(specification, where)
    typer.echo(f"  {published.report}\n  {published.workspace}")
    if published.missing:
        names = ", ".join(published.missing[:3]) + (", ..." if len(published.missing) > 3 else "")
        typer.echo(f"  {len(published.missing)} runs are not in {where} and missing there: {names}", err=True)
