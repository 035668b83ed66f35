"""Weights & Biases: everything a run measures, online or as offline files that `wandb sync` uploads.

W&B's own process writes every record to disk before it sends anything, so nothing is lost when the server is
slow or away. Waiting is bounded: `track.timeout` seconds at the start, as long at the end, none in between.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import wraps
from pathlib import Path
from typing import Any, Literal

from cl_forget.config import Run
from cl_forget.environment import describe
from cl_forget.redact import redact
from cl_forget.result import Result, Row
from cl_forget.tracking import names

log = logging.getLogger(__name__)


def _harmless(method: Any) -> Any:
    """A method after whose failure the tracker says so, once, and follows the run no longer."""

    @wraps(method)
    def guarded(self: WandbTracker, *arguments: Any) -> None:
        if self.run is None:
            return
        try:
            method(self, *arguments)
        except Exception as error:  # whatever W&B raises must not reach the run
            self.run = None
            log.warning("W&B stopped following this run: %s. The run goes on; its files are complete.", error)

    return guarded


class WandbTracker:
    """One run in Weights & Biases."""

    samples_kl = True

    def __init__(self, run: Any, tasks: Sequence[str], suites: Sequence[str], probes: Sequence[str]) -> None:
        self.run, self.url = run, run.url if not run.offline else None
        self.tasks, self.suites, self.probes = list(tasks), list(suites), list(probes)
        self.files = Path(run.settings.sync_dir)
        run.define_metric(names.STEP, hidden=True)
        run.define_metric("train/*", step_metric=names.STEP)
        run.define_metric(names.EXPERIENCE, hidden=True)
        for section in names.SECTIONS:
            run.define_metric(f"{section}/*", step_metric=names.EXPERIENCE)

    @classmethod
    def start(
        cls,
        run: Run,
        mode: Literal["online", "offline"],
        folder: Path,
        identity: str,
        tasks: Sequence[str],
        suites: Sequence[str],
        probes: Sequence[str],
    ) -> WandbTracker | None:
        """The tracker; None, and one line that says why, if W&B cannot be started at all."""
        try:
            return cls(_init(run, mode, folder, identity), tasks, suites, probes)
        except Exception as error:  # whatever W&B raises must not reach the run
            log.warning("W&B cannot be started: %s. The run goes on without it.", _one_line(error))
            return None

    @_harmless
    def step(self, at: int, number: int, record: dict[str, Any]) -> None:
        """Loss, penalties by name, learning rate, throughput, and now and then the KL to base."""
        self.run.log(names.step_values(number, record), step=at)

    @_harmless
    def row(self, at: int, rows: Sequence[Row]) -> None:
        """The line of the R matrix, forgetting, transfer, generality, Δ_LP and cost so far."""
        self.run.log(names.row_values(rows, self.tasks, self.suites, self.probes), step=at)

    @_harmless
    def finish(self, at: int, result: Result, folder: Path) -> None:
        """The summary, R matrix and knob curves as tables, pictures, and the checkpoints if asked for."""
        import wandb

        run, self.run = self.run, None
        for split in ("test", "validation"):
            run.summary[split] = result.metrics[split]
        tables = {
            f"tables/accuracy_{split}": names.accuracy_table(result.rows, split)
            for split in ("test", "validation")
        }
        if result.curves:
            tables["tables/curves"] = names.curve_table(result.curves, self.tasks, self.suites)
        media: dict[str, Any] = {
            name: wandb.Table(columns=[*columns], data=lines) for name, (columns, lines) in tables.items()
        }
        run.log(media | _pictures(result, folder), step=at + 1)
        if result.run["track"]["artifacts"]:
            _upload(run, folder)
        _finish(run, exit_code=0)

    @_harmless
    def failed(self, error: BaseException) -> None:
        """The run is marked as failed, with the reason; resuming it goes on in the same W&B run."""
        run, self.run = self.run, None
        run.summary["error"] = redact(_one_line(error))
        _finish(run, exit_code=1)


def _init(run: Run, mode: Literal["online", "offline"], folder: Path, identity: str) -> Any:
    import wandb

    track = run.track
    settings = wandb.Settings(
        mode=mode,
        console="off",  # the terminal is the user's, and may show what must not be uploaded
        silent=True,
        disable_git=True,
        disable_code=True,
        save_code=False,
        x_save_requirements=False,
        init_timeout=track.timeout,
        finish_timeout=track.timeout,
        finish_timeout_raises=True,
        reinit="create_new",  # other runs of this process, of a sweep or the user's own, stay untouched
    )
    return wandb.init(
        project=track.project,
        entity=track.entity,
        group=track.group,
        job_type=track.job_type,
        tags=track.tags,
        name=f"{run.method}, seed {run.seed}",
        id=identity,
        resume="allow",
        dir=folder,
        config=_configuration(run),
        settings=settings,
    )


def _configuration(run: Run) -> dict[str, Any]:
    """The resolved configuration, and each mitigation's fields by name, so that knobs are columns."""
    plain = run.model_dump(mode="json", exclude={"track"})
    return redact(
        {
            **plain,
            "mitigation": {m.name: m.model_dump(mode="json") for m in run.mitigations},
            "key": run.key(),
            "environment": describe(),
        }
    )


def _pictures(result: Result, folder: Path) -> dict[str, Any]:
    """The run's trade-off curve, and whatever pictures stand in its folder."""
    import wandb

    from cl_forget.reporting import specify
    from cl_forget.reporting.pictures import tradeoff_png

    found = {path.stem: wandb.Image(str(path)) for path in sorted(folder.glob("*.png"))}
    drawn = tradeoff_png(specify([result]))
    if drawn is not None:
        file = folder / "tradeoff.png"
        file.write_bytes(drawn)
        found["tradeoff"] = wandb.Image(str(file))
    return {f"pictures/{name}": picture for name, picture in found.items()}


def _upload(run: Any, folder: Path) -> None:
    """The checkpoints after every stage, the exported model and the result, as one artifact."""
    import wandb

    artifact = wandb.Artifact(f"run-{run.id}", type="model")
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        inside = file.relative_to(folder)
        if inside.parts[0] != "wandb" and not file.name.startswith("."):
            artifact.add_file(str(file), name=str(inside))
    run.log_artifact(artifact)


def _finish(run: Any, exit_code: int) -> None:
    folder = Path(run.settings.sync_dir)
    try:
        run.finish(exit_code=exit_code)
    except TimeoutError:
        log.warning(
            "W&B did not take everything within %g s; nothing is lost: `wandb sync %s` uploads the rest.",
            run.settings.finish_timeout,
            folder,
        )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
