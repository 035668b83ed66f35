"""`cl-forget init`: an experiment file to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def init(
    kind: Annotated[str, typer.Argument(help="What the model is: clip, classifier or lm.")] = "clip",
    output: Annotated[Path | None, typer.Option(help="The file to write [default: <kind>.yaml].")] = None,
) -> None:
    """Write a commented experiment file to start from; it runs as it is, on a small model and data at hand."""
    from cl_forget.cli.starting import write_experiment

    file = write_experiment(kind, output)
    typer.echo(f"  {file}\nEdit it, check it with `cl-forget run {file} --dry-run`, then run it.")
