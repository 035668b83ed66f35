"""`cl-forget run`: an experiment, then its report."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from cl_forget.cli.shared import AllowCode, Imports, Log, Overrides, Overwrite, print_table, show_report
from cl_forget.ground.environment import quiet_libraries
from cl_forget.ground.files import below
from cl_forget.ground.progress import begin, say


def run(
    file: Annotated[Path, typer.Argument(help="The experiment, a YAML file.", show_default=False)],
    overrides: Overrides = None,
    seed: Annotated[
        list[int] | None, typer.Option(help="Run these seeds instead of the file's; repeatable.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Results folder [default: runs/NAME].")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from what the results folder holds.")
    ] = False,
    overwrite: Overwrite = False,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, help="Runs side by side, each with train.threads threads.")
    ] = 1,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check everything, estimate steps, time and memory; train nothing."),
    ] = False,
    log: Log = "text",
    allow_code: AllowCode = None,
    imports: Imports = None,
) -> None:
    """Fine-tune on the stream with every method and seed of an experiment, then report.

    Writes one folder per run (configuration, events, checkpoints, result.json, matrices as CSV) and, for all
    of them, report.html, tradeoff.png and table.csv. A run killed at any instant goes on with --resume; with
    --resume and --overwrite, runs of other settings are replaced.
    """
    from cl_forget.config.experiment import Experiment, load_experiment
    from cl_forget.config.reading import placed

    overrides = [*(overrides or []), *([f"seeds={seed}"] if seed else [])]
    experiment = load_experiment(file, overrides)
    folder = output or below(Path("runs"), experiment.name, file)
    quiet_libraries()
    with placed(file, Experiment, overrides):
        if dry_run:
            with begin(f"{experiment.name}: two steps of each method"):
                from cl_forget.ground.outputs import mode
                from cl_forget.run.dry_run import plan
                from cl_forget.run.experiment import check_folders

                check_folders(experiment, folder, mode(resume, overwrite))
                found = plan(experiment, folder, typer.echo)
            print_table(found)
            return
        with begin(f"{experiment.name}: {len(experiment.runs())} runs of {experiment.model}"):
            from cl_forget.run.experiment import run_experiment, run_folder

            results = run_experiment(experiment, folder, resume, partial(_announce, folder), jobs, overwrite)
    with begin(f"{experiment.name}: report"):
        from cl_forget.reporting import report as render

        folders = {(one.method, one.seed): folder / run_folder(one) for one in experiment.runs()}
        rendered = render(results, folder, folders=folders)
    show_report(rendered)


def _announce(output: Path, run: Any, number: int, total: int) -> None:
    from cl_forget.run.experiment import run_folder

    folder = output / run_folder(run)
    say(
        f"[{number}/{total}] {run.method}, seed {run.seed} · {folder}",
        arm=run.method,
        seed=run.seed,
        run=number,
        runs=total,
        folder=str(folder),
    )
