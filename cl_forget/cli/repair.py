"""`cl-forget repair`: bring back what fine-tuning lost, without training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cl_forget.cli.pair import Base, BatchSize, Limit, Streams, Suites, Text, Tokenizer, named, text_options
from cl_forget.cli.shared import AllowCode, Log, Overwrite, print_table
from cl_forget.ground.environment import quiet_libraries
from cl_forget.ground.progress import begin


def repair(
    tuned: Annotated[
        list[str],
        typer.Option(
            help="The fine-tuned model: a file or folder of weights, a LoRA adapter's folder, or a finished run's; "
            "repeatable, also as a pattern: several are merged, and written in the format of the last.",
            show_default=False,
        ),
    ],
    base: Base = None,
    stream: Streams = None,
    suite: Suites = None,
    output: Annotated[Path, typer.Option(help="Folder for the repaired model and the results.")] = Path(
        "repair"
    ),
    keep: Annotated[
        float | None,
        typer.Option(
            help="Share of the tuned accuracy to keep, such as 0.98 [default: the best balance of both]."
        ),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="wise_ft, lines, hma, restore, intruder_reduction (default: the first four, of an adapter all); of "
            "several models task_arithmetic, magmax, ties, dare, model_stock, opcm (default: these); repeatable.",
            show_default=False,
        ),
    ] = None,
    limit: Limit = None,
    samples: Annotated[int, typer.Option(help="Validation samples per set for the search.", min=1)] = 500,
    merge_adapter: Annotated[
        bool, typer.Option("--merge-adapter", help="Write a LoRA adapter merged into its base.")
    ] = False,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Write the best edit even where it is not sure to be a repair.")
    ] = False,
    batch_size: BatchSize = None,
    text: Text = None,
    tokenizer: Tokenizer = None,
    allow_code: AllowCode = None,
    overwrite: Overwrite = False,
    log: Log = "text",
) -> None:
    """Bring back what fine-tuning lost, without training: search edits of the weights, write the best model.

    Several models that were tuned from one base are merged: --tuned one/ --tuned two/.

    Edits are chosen on the validation data of the streams and suites; the report is on their test data. Writes
    the model to model/ in the format it came in, and repair.json, candidates.csv, tradeoff.png and report.html.
    """
    from cl_forget.ground.outputs import make_way, set_aside

    make_way(output, ("repair.json", "candidates.csv", "tradeoff.png", "report.html"), overwrite)
    quiet_libraries()
    what = f"searching edits between {base or 'the base of its run'} and {', '.join(tuned)}"
    with set_aside(output / "model", overwrite), begin(what):
        from cl_forget.auditing import repair as search

        found = search(
            base, tuned, named(stream), named(suite), output=output, keep=keep, methods=method or None,
            limit=limit, samples=samples, merge_adapter=merge_adapter, batch_size=batch_size,
            text=text_options(text), tokenizer=tokenizer, anyway=anyway,
        )  # fmt: skip
    from cl_forget.auditing.tables import repair_tables

    for table in repair_tables(found):
        print_table(table)
    model = ["model"] if found.written else []
    for name in (*model, "report.html", "tradeoff.png", "repair.json", "candidates.csv"):
        typer.echo(f"  {output / name}")
