"""`cl-forget claims`: plan, run and settle registered claims."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from cl_forget.cli.shared import Log, print_table
from cl_forget.ground.environment import quiet_libraries
from cl_forget.ground.errors import UserError
from cl_forget.ground.outputs import refuse_unwritable
from cl_forget.ground.progress import begin, say
from cl_forget.ground.ray_cluster import OTHERWISE, check_answers


def claims(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Files of claims [default: experiments/*/claims.yaml].", show_default=False),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Only the claims of these names; repeatable.")
    ] = None,
    world: Annotated[
        list[str] | None,
        typer.Option(help="Only in these worlds; repeatable [default: all whose data are here]."),
    ] = None,
    output: Annotated[
        Path, typer.Option(help="Folder of the runs; whatever it holds is gone on from.")
    ] = Path("runs/claims"),
    ledger: Annotated[
        Path | None,
        typer.Option(
            help="Where the ledger goes: README.md, claims.csv, claims.html, records.parquet [default: experiments; "
            "of FILES none]."
        ),
    ] = None,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, help="Processes of this machine side by side; needs no Ray.")
    ] = 1,
    address: Annotated[
        str | None, typer.Option(help="Run on a Ray cluster instead: auto, host:port or ray://host:port.")
    ] = None,
    gpus_per_trial: Annotated[
        float | None, typer.Option(help="Devices of the cluster per trial; 0.25 shares one.", min=0)
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Begin nothing more after so long; the same command goes on.", min=0)
    ] = None,
    reuse: Annotated[
        list[Path] | None,
        typer.Option(
            help="A sweep's folder or a folder of runs that count where they are what a claim asks for, or an "
            "experiment file whose runs are made elsewhere; repeatable."
        ),
    ] = None,
    run: Annotated[
        bool, typer.Option("--run/--no-run", help="Whether to run what is missing, or judge what is there.")
    ] = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, show trials and hours; run nothing.")
    ] = False,
    log: Log = "text",
) -> None:
    """Settle claims that were written down before: run what they need, judge it, write the ledger.

    What several claims need is run once. Killed at any instant, the same command goes on. A ledger of some claims
    only (`--only`, `--world`) is shown and not written; one of some files only where `--ledger` says where.
    """
    from cl_forget.sweeps.cluster import Resources

    found = files or sorted(Path("experiments").glob("*/claims.yaml"))
    if not found:
        raise UserError("there is no experiments/*/claims.yaml here; name the files of claims.")
    if minutes is not None and address is not None:
        raise UserError("--minutes ends what processes of this machine begin; leave it out with --address.")
    if gpus_per_trial is not None and address is None:
        raise UserError(
            "--gpus-per-trial is of a Ray cluster's trials; name one by --address, or leave it out."
        )
    cluster = None if address is None else Resources(address, gpus_per_trial=gpus_per_trial or 0)
    place = ledger or Path("experiments")
    refuse_unwritable(output)
    refuse_unwritable(place, option="--ledger")
    quiet_libraries()
    bills = None
    with begin(f"planning the claims of {len(found)} file{'s' if len(found) > 1 else ''}"):
        from cl_forget.claims.planning import plan

        made = plan(found, only or [], world or [], priced=dry_run)
        if dry_run:
            if address is not None:
                check_answers(address, OTHERWISE)
            _known(made, output, place, reuse or [])
            bills = _bills(made)
    if bills is not None:
        print_table(bills)
        return
    unwritten = _unwritten(files, only, world, ledger)
    settled(made, output, place, jobs, cluster, minutes, run, unwritten, reuse or [])


def _unwritten(
    files: list[Path] | None, only: list[str] | None, world: list[str] | None, ledger: Path | None
) -> str | None:
    """Why the ledger is not written, and how to get it; None where it is."""
    if given := [option for option, value in (("--only", only), ("--world", world)) if value]:
        cure = f"leave {' and '.join(given)} out"
    elif files and ledger is None:
        cure = "name a folder for the ledger of these files alone by --ledger"
    else:
        return None
    return f"the ledger is not written, because p values are adjusted over all claims: {cure}"


def settled(
    made: Any,
    output: Path,
    place: Path,
    jobs: int,
    cluster: Any,
    minutes: float | None,
    run: bool,
    unwritten: str | None,
    reuse: list[Path],
) -> None:
    """Run what is missing, then show the verdicts, and write the ledger, or say why it is not written."""
    from cl_forget.claims.choices import choices, sentences
    from cl_forget.claims.items import KEPT, gather
    from cl_forget.claims.ledger import compared, laws, ledger, write_ledger
    from cl_forget.claims.records import RECORDS
    from cl_forget.claims.running import run as work

    kept = [place / RECORDS]
    if run:
        until = float("inf") if minutes is None else time.time() + 60 * minutes
        with begin(f"running what claims need and {output} lacks"):
            if not work(made, output, kept, jobs, cluster, until, say, reuse):
                say("time is over before everything was begun; the same command goes on")
    with begin("judging the claims"):
        trials, folders = _known(made, output, place, reuse)
        items = gather(compared(made, trials), folders, place / KEPT)
        lines = ledger(made, trials, items)
    print_table(_verdicts(lines))
    if unwritten is not None:
        typer.echo(unwritten)
        return
    chosen = sentences(choices(made, trials))
    written = write_ledger(lines, list(trials.values()), place, laws(made, trials), items, chosen)
    for path in written:
        typer.echo(f"  {path}")


def _known(made: Any, output: Path, place: Path, reuse: list[Path]) -> tuple[dict[str, Any], dict[str, Path]]:
    """The records of all that is over, here, in the ledger or where it is reused, and the folders of these runs."""
    from cl_forget.claims.records import RECORDS, load_records
    from cl_forget.claims.reuse import Reuse

    trials = load_records(output, [place / RECORDS])
    folders = {name: output / "trials" / name for name in trials}
    for name, (trial, folder) in Reuse(made, reuse, say).look(trials).items():
        trials[name], folders[name] = trial, folder
    return trials, folders


def _bills(made: Any) -> Any:
    from rich import box
    from rich.table import Table

    from cl_forget.claims.pricing import bills

    table = Table(title="claims (dry run)", box=box.SIMPLE_HEAD, title_style="bold")
    for column in ("world", "model", "claims", "arms", "trials", "fine-tunes", "hours", "of one"):
        table.add_column(column, justify="left" if column in ("world", "model", "of one") else "right")
    found = bills(made)
    for bill, key in zip(found, made.needed, strict=True):
        count = sum(one.key == key for one in made.asked)
        cells = (count, bill.arms, bill.trials, bill.fine_tunes, f"{bill.hours:,.2f}")
        table.add_row(bill.world, bill.model, *map(str, cells), bill.device)
    here = sum(bill.hours for bill in found if bill.device == "core")
    table.caption = (
        f"{here:,.1f} core-hours here, if nothing had been run yet · nothing was trained or written"
    )
    return table


def _verdicts(lines: Any) -> Any:
    from rich import box
    from rich.table import Table

    from cl_forget.comparison.verdicts import HOLDS, per_row

    table = Table(title="claims", box=box.SIMPLE_HEAD, title_style="bold")
    for column in ("claim", "world", "compared", "effect [95 %]", "seeds", "p, Holm", "verdict"):
        table.add_column(column)
    for line in (line for line in lines if not line.missing):
        p = "–" if line.judged.p_t_holm is None else f"{line.judged.p_t_holm:.2g}"
        cells = (
            line.name,
            line.world,
            line.contrast,
            line.effect,
            str(line.judged.seeds),
            p,
            line.judged.verdict + f" {HOLDS}" * line.judged.holds,
        )
        table.add_row(*map(_plain, cells))
    table.caption = per_row([line.judged for line in lines if not line.missing])
    missing = sum(line.missing > 0 for line in lines)
    if missing:
        table.caption += f" {missing} of {len(lines)} are not run."
    return table


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)
