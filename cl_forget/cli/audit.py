"""`cl-forget audit`: what a fine-tuned model lost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cl_forget.cli.pair import Base, BatchSize, Limit, Streams, Suites, Text, Tuned, named, text_options
from cl_forget.cli.shared import AllowCode, Log, Overwrite, print_table
from cl_forget.ground.environment import quiet_libraries
from cl_forget.ground.progress import begin


def audit(
    tuned: Tuned,
    base: Base = None,
    stream: Streams = None,
    suite: Suites = None,
    output: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("audit"),
    limit: Limit = None,
    by_part: Annotated[
        bool, typer.Option("--parts/--no-parts", help="Also put each part of the model back on its own.")
    ] = True,
    part_samples: Annotated[int, typer.Option(help="Samples per data set for that.", min=1)] = 200,
    batch_size: BatchSize = None,
    text: Text = None,
    allow_code: AllowCode = None,
    overwrite: Overwrite = False,
    log: Log = "text",
) -> None:
    """Show what a fine-tuned model lost against its base, and where in the model it was lost.

    Writes audit.json, losses.csv, parts.csv, audit.png and report.html. Without --stream and --suite only the
    weights are compared.
    """
    from cl_forget.ground.outputs import make_way

    make_way(output, ("audit.json", "losses.csv", "parts.csv", "audit.png", "report.html"), overwrite)
    quiet_libraries()
    with begin(f"comparing {tuned} with {base or 'the base of its run'}"):
        from cl_forget.auditing import audit as measure

        found = measure(
            base, tuned, named(stream), named(suite), output=output, limit=limit, by_part=by_part,
            part_samples=part_samples, batch_size=batch_size, text=text_options(text),
        )  # fmt: skip
    from cl_forget.auditing.tables import audit_tables

    for table in audit_tables(found):
        print_table(table)
    for name in ("report.html", "audit.png", "audit.json", "losses.csv", "parts.csv"):
        typer.echo(f"  {output / name}")
