"""The command line: cl-forget init | run | sweep | report | figures | audit | repair | landscape | list | ..."""

from __future__ import annotations

import contextlib
import errno
import sys
import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
import typer.core

from cl_forget.ground.environment import quiet_libraries
from cl_forget.ground.errors import UserError
from cl_forget.ground.failures import (
    describe_failure,
    failure_of_machine,
    flush_output,
    nothing_more_printed,
    one_line,
    open_standard_streams,
)
from cl_forget.ground.files import below
from cl_forget.ground.redact import redact

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


Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Fields to change, as field=value: train.lr=1e-4 train.epochs=2 'stream=[digits]'"),
]


def _allow(places: list[str] | None) -> list[str] | None:
    from cl_forget.config.recorded import allow_code

    allow_code(*places or [])
    return places


AllowCode = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-code",
        help="Code named by a recorded run that you trust: module:function, as the refusal says it; repeatable.",
        callback=_allow,
    ),
]


Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite", help="Replace what an earlier command has left there, once this one can begin."
    ),
]


@app.command()
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
    allow_code: AllowCode = None,
) -> None:
    """Fine-tune on the stream with every method and seed of an experiment, then report.

    Writes one folder per run (configuration, events, checkpoints, result.json, matrices as CSV) and, for all
    of them, report.html, tradeoff.png and table.csv. A run killed at any instant goes on with --resume; with
    --resume and --overwrite, runs of other settings are replaced.
    """
    from cl_forget.config.experiment import load_experiment

    experiment = load_experiment(file, [*(overrides or []), *([f"seeds={seed}"] if seed else [])])
    folder = output or below(Path("runs"), experiment.name, file)
    if dry_run:
        from cl_forget.run.dry_run import plan

        _print(plan(experiment, folder, typer.echo))
        return
    quiet_libraries()
    from cl_forget.reporting import report as render
    from cl_forget.reporting import terminal_table
    from cl_forget.run.experiment import run_experiment

    results = run_experiment(experiment, folder, resume, partial(_announce, folder), jobs, overwrite)
    rendered = render(results, folder, title=experiment.name)
    _show(terminal_table(results), rendered)


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


sweeps = typer.Typer(
    cls=_RunByDefault,
    help="Run many settings as Ray Tune trials: `cl-forget sweep FILE`, `cl-forget sweep status FOLDER`.",
    no_args_is_help=True,
)
app.add_typer(sweeps, name="sweep")


@sweeps.command(name="run")
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
    memory_per_trial: Annotated[
        float | None, typer.Option(help="MiB per trial [default: measured before the first].", min=1)
    ] = None,
    max_concurrent: Annotated[
        int | None, typer.Option(help="Trials side by side at most [default: as many as fit].", min=1)
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check everything, show trials, time and memory; train nothing."),
    ] = False,
    allow_code: AllowCode = None,
) -> None:
    """Run a sweep, then show its table.

    Methods share what they can: one fine-tune serves every strength of a post-hoc method, and streams that begin
    alike fork from one checkpoint. Killed at any instant, it goes on with --resume.
    """
    from cl_forget.config.sweep import load_sweep

    asked = load_sweep(file, overrides or [])
    quiet_libraries()
    if dry_run:
        from cl_forget.sweeps.preview import preview

        _print(preview(asked, typer.echo))
        return
    from cl_forget.comparison.analysis import sweep_summary
    from cl_forget.reporting import specify_folders, write_report
    from cl_forget.sweeps.cluster import Resources
    from cl_forget.sweeps.runner import sweep
    from cl_forget.sweeps.storage import is_local
    from cl_forget.sweeps.tables import failure_lines, final_table

    folder = output or str(below(Path("runs"), asked.name, file))
    resources = Resources(address, cpus_per_trial, gpus_per_trial, memory_per_trial, max_concurrent)
    live = sys.stderr.isatty()

    def tell(line: str) -> None:
        typer.echo(redact(line), err=True)

    trials = sweep(asked, folder, resume, resources, tell=tell, live=live, overwrite=overwrite)
    summary = sweep_summary(trials, asked.protocol)
    _print(final_table(summary))
    for line in failure_lines(summary):
        typer.secho(f"  {redact(line)}", fg="red", err=True)
    if is_local(folder):
        place = Path(folder.partition("://")[2] or folder)
        typer.echo(f"  {write_report(specify_folders([place]), place).page}")
    typer.echo(f"  {folder}/trials.csv\n  {folder}/trials.parquet\n  {folder}/final.md")
    if not any(trial.status == "finished" for trial in trials):
        raise UserError(
            "no trial finished; mend what the lines above say, then the same command with --resume."
        )


@sweeps.command(name="status")
def sweep_status(
    folder: Annotated[Path, typer.Argument(help="The sweep's folder.")],
    follow: Annotated[bool, typer.Option("--follow", help="Keep showing it until it is complete.")] = False,
) -> None:
    """Show how far a sweep is, from any terminal."""
    from cl_forget.sweeps.live import LiveView, load_state, screen

    if not follow:
        _print(screen(folder))
        return
    with LiveView(folder):
        while not load_state(folder).finished:
            time.sleep(1)


@app.command()
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
    from cl_forget.ground.outputs import refuse_report_over_others
    from cl_forget.reporting import specify_folders, write_report
    from cl_forget.reporting.terminal.table import render_table

    if output is not None and output not in folders:
        refuse_report_over_others(output, overwrite)
    specification = specify_folders(folders, title)
    _show(render_table(specification), write_report(specification, output or _folder_of(folders[0])))
    if wandb is not None:
        _publish(specification, wandb)


Base = Annotated[
    str | None,
    typer.Option(
        help="The model before fine-tuning: a name as in an experiment file, or a path [default: the run's own]."
    ),
]
Tuned = Annotated[
    str,
    typer.Option(
        help="The fine-tuned model: a file or folder of weights, a LoRA adapter's folder, or a finished run's.",
        show_default=False,
    ),
]
Streams = Annotated[
    list[str] | None,
    typer.Option(
        "--stream",
        help="A task it was tuned for; repeatable. 'folder: {path: data/defects}' is your own data.",
    ),
]
Suites = Annotated[
    list[str] | None, typer.Option("--suite", help="What must not be lost; repeatable, written likewise.")
]
Limit = Annotated[int | None, typer.Option(help="Samples per data set at most [default: all].", min=1)]
BatchSize = Annotated[
    int | None, typer.Option(help="Samples per forward pass [default: the run's own, or 64].", min=1)
]
Text = Annotated[
    str | None,
    typer.Option(help="How a language model reads texts, as `text` of an experiment: '{max_length: 512}'."),
]


@app.command()
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
) -> None:
    """Show what a fine-tuned model lost against its base, and where in the model it was lost.

    Writes audit.json, losses.csv, parts.csv, audit.png and report.html. Without --stream and --suite only the
    weights are compared.
    """
    from cl_forget.auditing import audit as measure
    from cl_forget.ground.outputs import make_way

    make_way(output, ("audit.json", "losses.csv", "parts.csv", "audit.png", "report.html"), overwrite)
    quiet_libraries()
    found = measure(
        base, tuned, _specs(stream), _specs(suite), output=output, limit=limit, by_part=by_part,
        part_samples=part_samples, batch_size=batch_size, text=_text_options(text),
    )  # fmt: skip
    from cl_forget.auditing.tables import audit_tables

    for table in audit_tables(found):
        _print(table)
    for name in ("report.html", "audit.png", "audit.json", "losses.csv", "parts.csv"):
        typer.echo(f"  {output / name}")


@app.command()
def repair(
    tuned: Tuned,
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
        typer.Option(help="wise_ft, lines, hma or restore; repeatable [default: all of them]."),
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
    allow_code: AllowCode = None,
    overwrite: Overwrite = False,
) -> None:
    """Bring back what fine-tuning lost, without training: search edits of the weights, write the best model.

    Edits are chosen on the validation data of the streams and suites; the report is on their test data. Writes
    the model to model/ in the format it came in, and repair.json, candidates.csv, tradeoff.png and report.html.
    """
    from cl_forget.auditing import repair as search
    from cl_forget.auditing.repair import METHODS
    from cl_forget.ground.outputs import make_way, set_aside

    make_way(output, ("repair.json", "candidates.csv", "tradeoff.png", "report.html"), overwrite)
    quiet_libraries()
    with set_aside(output / "model", overwrite):
        found = search(
            base, tuned, _specs(stream), _specs(suite), output=output, keep=keep, methods=method or METHODS,
            limit=limit, samples=samples, merge_adapter=merge_adapter, batch_size=batch_size,
            text=_text_options(text), anyway=anyway,
        )  # fmt: skip
    from cl_forget.auditing.tables import repair_tables

    for table in repair_tables(found):
        _print(table)
    model = ["model"] if found.written else []
    for name in (*model, "report.html", "tradeoff.png", "repair.json", "candidates.csv"):
        typer.echo(f"  {output / name}")


def _text_options(given: str | None) -> Any:
    """`--text` as an experiment file's `text`."""
    if given is None:
        return None
    from pydantic import ValidationError

    from cl_forget.config.explaining import explain
    from cl_forget.models.options import TextOptions

    (fields,) = _specs([given])
    if not isinstance(fields, dict):
        raise UserError(f"--text is options with values, such as '{{max_length: 512}}', not {given!r}.")
    try:
        return TextOptions(**fields)
    except ValidationError as error:
        field, message = explain(error, TextOptions)
        raise UserError(f"--text: {field}: {message}") from None


def _specs(given: list[str] | None) -> list[Any]:
    """Streams or suites as an experiment file would say them: a name, or a name with options as YAML."""
    from cl_forget.ground.documents import parse_yaml

    cure = "write name, or 'name: {option: value}'."
    return [parse_yaml(text, f"'{text}'", cure).value for text in given or []]


@app.command()
def figures(
    folders: Annotated[list[Path], typer.Argument(help="Run folders, folders that hold some, or sweeps.")],
    style: Annotated[str, typer.Option(help="paper (two columns) or slides.")] = "paper",
    output: Annotated[
        Path | None, typer.Option(help="Where to write [default: figures/ in the first folder].")
    ] = None,
) -> None:
    """Draw runs or a sweep for print: vector PDFs, one per figure, and the table as LaTeX and Markdown."""
    from cl_forget.reporting import specify_folders
    from cl_forget.reporting.print.paper import write_figures

    written = write_figures(specify_folders(folders), output or _folder_of(folders[0]) / "figures", style)
    for path in written:
        typer.echo(f"  {path}")


@app.command()
def landscape(
    folders: Annotated[list[Path], typer.Argument(help="Folders of finished runs of one experiment.")],
    on: Annotated[str | None, typer.Option(help="Task or suite [default: the first suite].")] = None,
    radius: Annotated[float, typer.Option(help="Half the side of the plane, in filter norms.")] = 0.5,
    points: Annotated[int, typer.Option(help="Grid points per side, odd.", min=3)] = 9,
    samples: Annotated[int, typer.Option(help="Validation samples of the loss.", min=1)] = 256,
    output: Annotated[Path | None, typer.Option(help="Where to write [default: the first folder].")] = None,
    allow_code: AllowCode = None,
    overwrite: Overwrite = False,
) -> None:
    """Draw loss landscapes before and after runs, side by side, and measure flatness (SC, AG, MAG, SAM gap)."""
    from cl_forget.cli.catalogue import flatness_table
    from cl_forget.ground.outputs import make_way
    from cl_forget.run.flatness import PICTURE
    from cl_forget.run.flatness import landscape as measure

    make_way(output or folders[0], (PICTURE, "landscape.json"), overwrite)
    quiet_libraries()
    _print(flatness_table(measure(folders, on, radius, points, samples, output=output)))
    typer.echo(f"  {(output or folders[0]) / PICTURE}\n  {(output or folders[0]) / 'landscape.json'}")


@app.command()
def init(
    kind: Annotated[str, typer.Argument(help="What the model is: clip or lm.")] = "clip",
    output: Annotated[
        Path | None, typer.Option(help="The file to write [default: clip.yaml or lm.yaml].")
    ] = None,
) -> None:
    """Write a commented experiment file to start from; it runs as it is, with an embedded model and data."""
    from cl_forget.cli.starting import write_experiment

    file = write_experiment(kind, output)
    typer.echo(f"  {file}\nEdit it, check it with `cl-forget run {file} --dry-run`, then run it.")


@app.command(name="list")
def list_(
    what: Annotated[
        str | None, typer.Argument(help="models, streams, mitigations or suites [default: all of them]")
    ] = None,
) -> None:
    """List models, streams, mitigations with their knobs, and suites."""
    from cl_forget.cli.catalogue import tables

    for table in tables(what):
        _print(table)


@app.command()
def pretrain(
    model: Annotated[
        str, typer.Argument(help="The model to make again: emoji-clip, emoji-clip-rn or pico-lm.")
    ],
    output: Annotated[Path, typer.Option(help="Folder for the model and its checkpoints.")] = Path("build"),
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the data [default: the recipe's].", min=1)
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of initial weights and data order.", min=0)] = 0,
    threads: Annotated[int | None, typer.Option(help="CPU threads [default: all].", min=1)] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last epoch in --output.")] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="A variant of under a minute, to see it work.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Pre-train an embedded model from its recipe."""
    from cl_forget.ground.outputs import make_way
    from cl_forget.models import RECIPES

    recipe = RECIPES.get(model)
    if not resume:
        make_way(
            output / model, ("recipe.json", "checkpoint.safetensors", "log.jsonl"), overwrite, delete=True
        )
    recipe(output / model, epochs=epochs, seed=seed, threads=threads, resume=resume, quick=quick)


def _folder_of(path: Path) -> Path:
    return path.parent if path.is_file() else path


def _serve(folders: list[Path], port: int, title: str | None, hosts: list[str]) -> None:
    from cl_forget.reporting.serve import serve

    server, address = serve(folders, port, title, hosts)
    typer.echo(f"  {address}  (Ctrl-C ends it)")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


def _show(table: Any, rendered: Any) -> None:
    _print(table)
    for path in filter(None, (rendered.page, rendered.picture, rendered.csv)):
        typer.echo(f"  {path}")


def _publish(specification: Any, where: str) -> None:
    from cl_forget.reporting.wandb.publish import publish

    quiet_libraries()
    published = publish(specification, where)
    typer.echo(f"  {published.report}\n  {published.workspace}")
    if published.missing:
        names = ", ".join(published.missing[:3]) + (", ..." if len(published.missing) > 3 else "")
        typer.echo(f"  {len(published.missing)} runs are not in {where} and missing there: {names}", err=True)


def _announce(output: Path, run: Any, number: int, total: int) -> None:
    from cl_forget.run.experiment import run_folder

    line = f"[{number}/{total}] {run.method}, seed {run.seed} · {output / run_folder(run)}"
    typer.secho(line, err=True, dim=True)


def _print(renderable: Any) -> None:
    from rich.console import Console

    # A table sent to a file keeps its columns; on a terminal it takes the width there is.
    Console(width=None if sys.stdout.isatty() else 160).print(renderable)


def main() -> None:
    """Entry point: a mistake of the user is one line and exit code 2, an interrupt leaves a resumable run."""
    open_standard_streams()
    sys.excepthook = _discreet
    with nothing_more_printed():
        try:
            code = app(prog_name="cl-forget", standalone_mode=False)
            flush_output()
        except UserError as error:
            _fail(str(error))
        except typer.TyperException as error:
            if not (message := _misused(error)):  # a bare `cl-forget` has shown its help
                sys.exit(2)
            _fail(message)
        except KeyboardInterrupt:
            code = _INTERRUPTED
        except SystemExit:  # how the command line's library answers a broken pipe
            _fail(describe_failure(errno.EPIPE))
        except Exception as error:
            if (line := failure_of_machine(error)) is None:
                raise
            _fail(line)
        if code == _INTERRUPTED:  # typer turns an interrupt inside a command into this code
            typer.echo(_after_interrupt(sys.argv[1:]), err=True)
    sys.exit(code if isinstance(code, int) else 0)


_INTERRUPTED = 130


def _discreet(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """What is no mistake of the user's is shown whole, but for secrets."""
    import traceback

    typer.echo(redact("".join(traceback.format_exception(kind, error, trace))), err=True, nl=False)


def _fail(message: str) -> NoReturn:
    try:
        line = one_line(redact(message))
    except OSError as error:  # no file can be opened any more, those of the redaction included
        line = describe_failure(error.errno or errno.EIO)
    with contextlib.suppress(OSError):  # nobody may be left to read it
        typer.secho(f"error: {line}", fg="red", err=True)
    sys.exit(2)


def _misused(error: typer.TyperException) -> str:
    """A mistake in the command itself as one line that says where help is."""
    context = getattr(error, "ctx", None)
    message = " ".join(error.format_message().split()).rstrip(".?")
    if context is None or not message:
        return message
    return f"{message}{'?' if 'Did you mean' in message else '.'} See `{context.command_path} --help`."


def _after_interrupt(arguments: list[str]) -> str:
    """What to do after Ctrl-C, by the command that was under way."""
    lasting = arguments[:1] in (["run"], ["sweep"], ["pretrain"])
    if not lasting or "--dry-run" in arguments or arguments[:2] == ["sweep", "status"]:
        return "interrupted; run the same command again."
    return "interrupted; the same command with --resume goes on from here."


if __name__ == "__main__":
    main()
