"""`cl-forget sweep`: many settings as Ray Tune trials, and how far they are."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from cl_forget.cli.ending import complain
from cl_forget.cli.shared import AllowCode, Imports, Log, Overrides, Overwrite, print_table
from cl_forget.ground.environment import quiet_libraries
from cl_forget.ground.errors import UserError
from cl_forget.ground.files import below
from cl_forget.ground.progress import begin, say, watched
from cl_forget.ground.redact import redact


class _RunByDefault(typer.core.TyperGroup):
    """`cl-forget sweep FILE` is short for `cl-forget sweep run FILE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help" and not self._mistyped(args[0]):
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def _mistyped(self, word: str) -> bool:
        """Whether it looks like a command rather than a file; then the command is what the message is about."""
        from cl_forget.ground.registry import closest

        return bool(closest(word, list(self.commands))) and not Path(word).exists()


def sweep_run(
    file: Annotated[Path, typer.Argument(help="The sweep, a YAML file.", show_default=False)],
    overrides: Overrides = None,
    output: Annotated[
        str | None, typer.Option(help="Results folder, or an fsspec address [default: runs/NAME].")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from what the folder holds; nothing is done twice.")
    ] = False,
    overwrite: Overwrite = False,
    address: Annotated[
        str | None,
        typer.Option(help="Ray cluster: auto, host:port or ray://host:port [default: this machine]."),
    ] = None,
    cpus_per_trial: Annotated[
        float,
        typer.Option(help="Processors, and threads, per trial.", min=0.01),
    ] = 1,
    gpus_per_trial: Annotated[float, typer.Option(help="Devices per trial; 0.25 shares one.", min=0)] = 0,
    share_gpus: Annotated[
        bool,
        typer.Option("--share-gpus", help="As many trials on a device as their measured memory allows."),
    ] = False,
    resource: Annotated[
        list[str] | None,
        typer.Option(help="Resource of one's own that a trial takes: NAME=AMOUNT.", show_default=False),
    ] = None,
    memory_per_trial: Annotated[
        float | None, typer.Option(help="MiB per trial [default: measured before the first].", min=1)
    ] = None,
    max_concurrent: Annotated[
        int | None, typer.Option(help="Trials side by side at most [default: as many as fit].", min=1)
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs", "-j", min=1, help="Processes of this machine side by side, without Ray; mode: curve."
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check everything, show trials, time and memory; train nothing."),
    ] = False,
    log: Log = "text",
    allow_code: AllowCode = None,
    imports: Imports = None,
) -> None:
    """Run a sweep, then show its table; `cl-forget sweep FILE` is the same.

    Methods share what they can: one fine-tune serves every strength of a post-hoc method, and streams that begin
    alike fork from one checkpoint. Killed at any instant, it goes on with --resume.
    """
    from cl_forget.config.reading import placed
    from cl_forget.config.sweep import Sweep, load_sweep
    from cl_forget.sweeps.cluster import Resources, custom_resources

    asked = load_sweep(file, overrides or [])
    folder = output or str(below(Path("runs"), asked.name, file))
    custom = custom_resources(resource or [])
    resources = Resources(
        address, cpus_per_trial, gpus_per_trial, memory_per_trial, max_concurrent, share_gpus, custom
    )
    quiet_libraries()
    with placed(file, Sweep, overrides or []):
        if dry_run:
            with begin(f"{asked.name}: rehearsing one trial of each method"):
                from cl_forget.sweeps.preview import preview
                from cl_forget.sweeps.starting import check_runtime, checked

                start = checked(asked, folder, resume, resources, typer.echo, overwrite, jobs, dry=True)
                check_runtime(start, jobs, typer.echo)
                found = preview(start.asked, typer.echo)
            print_table(found)
            return
        with begin(f"{asked.name}: {asked.mode} of {len(asked.arms)} methods on {asked.model}"):
            from cl_forget.sweeps.runner import sweep
            from cl_forget.sweeps.storage import is_local

            live = watched()
            trials = sweep(
                asked, folder, resume, resources, tell=say, live=live, overwrite=overwrite, jobs=jobs
            )
    with begin(f"{asked.name}: report"):
        from cl_forget.comparison.analysis import sweep_summary
        from cl_forget.reporting import specify_folders, write_report
        from cl_forget.sweeps.tables import failure_lines, final_table

        summary = sweep_summary(trials, asked.protocol)
        place = Path(folder.partition("://")[2] or folder)
        page = write_report(specify_folders([place]), place).page if is_local(folder) else None
    print_table(final_table(summary))
    for line in failure_lines(summary):
        complain(f"  {redact(line)}")
    if page is not None:
        typer.echo(f"  {page}")
    typer.echo(f"  {folder}/trials.csv\n  {folder}/trials.parquet\n  {folder}/final.md")
    if not any(trial.status == "finished" for trial in trials):
        raise UserError(
            "no trial finished; mend what the lines above say, then the same command with --resume."
        )


def sweep_status(
    place: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER", help="The sweep's folder, or its address on the machine that drives it."
        ),
    ],
    follow: Annotated[bool, typer.Option("--follow", help="Keep showing it until it is complete.")] = False,
) -> None:
    """Show how far a sweep is, from any terminal."""
    from cl_forget.ground import clock
    from cl_forget.sweeps.heartbeat import heartbeat
    from cl_forget.sweeps.live import LiveView, driver_line, load_state, screen
    from cl_forget.sweeps.storage import is_local, local_folder

    folder = local_folder(place)
    if not is_local(place) and not folder.exists():
        raise UserError(
            f"this machine has no copy of the sweep at {place}; ask on the machine that drives it, which keeps one "
            f"in {folder}."
        )
    clock.follow(folder)
    if not follow:
        print_table(screen(folder))
        return
    with LiveView(folder):
        while not (state := load_state(folder)).finished:
            sign = heartbeat(folder)
            if sign is None or sign.state(clock.now()) == "dead":
                break
            time.sleep(1)
    if not state.finished:
        raise UserError(f"{folder} is not complete: {driver_line(folder, state, clock.now())}.")


sweeps = typer.Typer(
    cls=_RunByDefault,
    help="Run many settings as Ray Tune trials.\n\n`cl-forget sweep FILE` is short for `cl-forget sweep run FILE`: "
    "`cl-forget sweep run --help` shows its options.",
    no_args_is_help=True,
)


sweeps.command(name="run")(sweep_run)
sweeps.command(name="status")(sweep_status)
