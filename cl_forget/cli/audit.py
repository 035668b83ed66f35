"""`cl-forget audit`: what a fine-tuned model lost, and whether that is too much to release it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from cl_forget.cli.pair import Base, BatchSize, Limit, Streams, Suites, Text, Tokenizer, named, text_options
from cl_forget.cli.shared import AllowCode, Log, Overwrite, print_table
from cl_forget.ground.environment import quiet_libraries
from cl_forget.ground.progress import begin

if TYPE_CHECKING:
    from cl_forget.auditing.gate import Decides

OUTPUTS = (
    "report.html", "audit.png", "history.png", "audit.json", "losses.csv", "parts.csv", "history.csv",
    "quantised.csv",
)  # fmt: skip


def audit(
    tuned: Annotated[
        list[str],
        typer.Option(
            help="The fine-tuned model: a file or folder of weights, a LoRA adapter's folder, or a finished run's; "
            "repeatable for a sequence of checkpoints, also as a pattern, 'out/checkpoint-*'.",
            show_default=False,
        ),
    ],
    base: Base = None,
    stream: Streams = None,
    suite: Suites = None,
    output: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("audit"),
    limit: Limit = None,
    by_part: Annotated[
        bool, typer.Option("--parts/--no-parts", help="Also put each part of the model back on its own.")
    ] = True,
    part_samples: Annotated[int, typer.Option(help="Samples per data set for that.", min=1)] = 200,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            help="End with code 3 if this is so, 4 if it cannot be told: 'generality < -2 points' is a change "
            "from the base, 'facts < 90 %' a level, 'texts > 0.1 nats' a rise of the loss per token where perplexity "
            "is measured; repeatable.",
            show_default=False,
        ),
    ] = None,
    control: Annotated[
        str,
        typer.Option(
            help="Null control of --fail-if: base (against itself), a second seed of the base, or none."
        ),
    ] = "base",
    decides: Annotated[
        str, typer.Option(help="Which of several checkpoints decides --fail-if: every, or the last.")
    ] = "every",
    quantise: Annotated[
        list[int] | None,
        typer.Option(
            help="Also measure base and tuned model at so many bits; repeatable.", show_default=False
        ),
    ] = None,
    batch_size: BatchSize = None,
    text: Text = None,
    tokenizer: Tokenizer = None,
    allow_code: AllowCode = None,
    overwrite: Overwrite = False,
    log: Log = "text",
) -> None:
    """Show what a fine-tuned model lost against its base, and where in the model it was lost.

    Writes audit.json, losses.csv, parts.csv, audit.png and report.html; of several checkpoints, or with --fail-if,
    also history.png and history.csv. Without --stream and --suite only the weights are compared.

    With --fail-if it is a gate for releases: exit code 0 passes, 3 fails, 4 cannot be told from these samples.
    """
    from cl_forget.ground.outputs import make_way

    make_way(output, OUTPUTS, overwrite)
    quiet_libraries()
    with begin(f"comparing {', '.join(tuned)} with {base or 'the base of its run'}"):
        from cl_forget.auditing import audit as measure

        found = measure(
            base, tuned, named(stream), named(suite), output=output, limit=limit, by_part=by_part,
            part_samples=part_samples, batch_size=batch_size, text=text_options(text), fail_if=fail_if or (),
            control=control, decides=cast("Decides", decides), quantise=quantise or (), tokenizer=tokenizer,
        )  # fmt: skip
    from cl_forget.auditing.tables import audit_tables

    for table in audit_tables(found):
        print_table(table)
    for name in OUTPUTS:
        if (output / name).is_file():
            typer.echo(f"  {output / name}")
    if found.gate is not None:
        typer.echo(f"gate: {found.gate.answer} (exit code {found.gate.exit_code})")
        raise typer.Exit(found.gate.exit_code)
