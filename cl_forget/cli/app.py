"""The application: every command in the order in which help shows them."""

from __future__ import annotations

from typing import Annotated

import typer

from cl_forget.cli.audit import audit
from cl_forget.cli.claims import claims
from cl_forget.cli.figures import figures
from cl_forget.cli.gallery import gallery
from cl_forget.cli.init import init
from cl_forget.cli.landscape import landscape
from cl_forget.cli.list import list_
from cl_forget.cli.pretrain import pretrain
from cl_forget.cli.repair import repair
from cl_forget.cli.report import report
from cl_forget.cli.run import run
from cl_forget.cli.sweep import sweeps
from cl_forget.cli.viewer import viewer

app = typer.Typer(
    help="What did the model forget? Fine-tune foundation models on streams of tasks under any combination of "
    "mitigations, and see what each keeps.\n\nStart with: cl-forget run experiments/quickstart.yaml",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def _show_version(asked: bool) -> None:
    if asked:
        from cl_forget import __version__

        typer.echo(f"cl-forget {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version, and exit."),
    ] = False,
) -> None:
    pass


for command in (run, report, audit, repair, figures, gallery, viewer, landscape, init):
    app.command()(command)
app.command(name="list")(list_)
app.command()(pretrain)
app.add_typer(sweeps, name="sweep")
app.command()(claims)
