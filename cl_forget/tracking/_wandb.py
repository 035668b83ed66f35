"""The calls into the wandb package."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from cl_forget.comparison.records import Result
from cl_forget.config.run import Run
from cl_forget.config.tracking import Tracking
from cl_forget.ground.environment import describe
from cl_forget.ground.files import write_bytes
from cl_forget.ground.redact import redact
from cl_forget.tracking import names, transaction_log
from cl_forget.tracking.item_media import Lost, item_table

START_SECONDS = 20.0
"""A start of W&B that takes longer than this, or `track.timeout`, has failed. No run waits for it, but the exit of
the process does."""


def start(run: Run, mode: Literal["online", "offline"], folder: Path, identity: str) -> Any:
    """A W&B run beside whatever runs this process has, or the continuation of the one with this identity.

    Raises:
        Exception: whatever wandb raises.
    """
    # wandb reports on itself to its server, and its exporter holds up the exit of the process when that is away.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    track = run.track.resolved()
    settings = wandb.Settings(
        mode=mode,
        console="off",  # the terminal is the user's, and may show what must not be uploaded
        silent=True,
        disable_git=True,
        disable_code=True,
        save_code=False,
        x_save_requirements=False,
        x_disable_meta=redact(sys.argv) != sys.argv,  # wandb would write the command as it is
        init_timeout=max(track.timeout, START_SECONDS),
        finish_timeout=track.timeout,
        finish_timeout_raises=True,
        reinit="create_new",  # other runs of this process, of a sweep or the user's own, stay untouched
    )
    started = wandb.init(
        **_labels(run, track),
        id=identity,
        resume="allow",
        dir=folder,
        config=configuration(run),
        settings=settings,
    )
    started.define_metric(names.STEP, hidden=True)
    started.define_metric("train/*", step_metric=names.STEP)
    started.define_metric(names.EXPERIENCE, hidden=True)
    for section in names.SECTIONS:
        started.define_metric(f"{section}/*", step_metric=names.EXPERIENCE)
    return started


def _labels(run: Run, track: Tracking) -> dict[str, Any]:
    """What W&B shows of a run in its lists, and writes into its own logs."""
    return redact(
        {
            "project": track.project,
            "entity": track.entity,
            "group": track.group,
            "job_type": track.job_type,
            "tags": list(dict.fromkeys(redact(track.tags))),
            "name": os.environ.get("WANDB_NAME") or f"{run.method}, seed {run.seed}",
        }
    )


def configuration(run: Run) -> dict[str, Any]:
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


def files(run: Any) -> Path:
    """The folder of W&B's own files of a run."""
    return Path(run.settings.sync_dir)


def logged_steps(folder: Path, identity: str) -> set[int]:
    """The records that earlier parts of a run have left on this disk, by number.

    Args:
        folder: the one below which W&B keeps its files.
        identity: of the W&B run.
    """
    found: set[int] = set()
    for file in (folder / "wandb").glob(f"*run-*-{identity}*/run-{identity}*.wandb"):
        found |= transaction_log.steps(file)
    return found


def log_media(
    run: Any, at: int, result: Result, folder: Path, draw: Callable[[Result], bytes | None]
) -> None:
    """R matrix and knob curves as tables, and the pictures, as record `at`."""
    import wandb

    tables = {
        f"tables/accuracy_{split}": names.accuracy_table(result.rows, split)
        for split in ("test", "validation")
    }
    if result.curves:
        tables["tables/curves"] = names.curve_table(result.curves, result.tasks, result.suites)
    if (items := item_table(result, folder)) is not None:
        tables["tables/items"] = items[0], redact(items[1])
    media: dict[str, Any] = _pictures(result, folder, draw)
    for name, (columns, lines) in tables.items():
        media[name] = wandb.Table(columns=[*columns], data=lines)
        # A table that is bound already is logged as a file alone, not as an artifact as well, for which the
        # server would have to be asked first.
        media[name].bind_to_run(run, name, at)
    run.log(media, step=at)


def log_experience(run: Any, at: int, result: Result, number: int, lost: Sequence[Lost]) -> None:
    """What there is to look at of one experience, as record `at`: the accuracies so far, and what was lost by then.

    Args:
        run: W&B's.
        at: number of the record.
        result: of the run.
        number: of the experience; 0 is the pre-trained model.
        lost: items that are shown.
    """
    import wandb
    from PIL import Image

    from cl_forget.tracking.heat_map import heat_map_png

    so_far = result.model_copy(update={"rows": result.rows[: number + 1]})
    with Image.open(io.BytesIO(heat_map_png(so_far))) as matrix:
        media: dict[str, Any] = {"media/accuracy_matrix": wandb.Image(matrix)}
    if lost:
        opened = [(Image.open(io.BytesIO(one.picture)), one.caption) for one in lost]
        media["media/lost"] = [wandb.Image(picture, caption=redact(caption)) for picture, caption in opened]
    run.log({names.EXPERIENCE: number, **media}, step=at)


def _pictures(result: Result, folder: Path, draw: Callable[[Result], bytes | None]) -> dict[str, Any]:
    """The accuracy matrix, the trade-off curve, and whatever pictures stand in the run's folder."""
    import wandb

    from cl_forget.tracking.heat_map import heat_map_png

    drawn = {"accuracy_matrix": heat_map_png(result), "tradeoff": draw(result)}
    for name, picture in drawn.items():
        if picture is not None:
            write_bytes(folder / f"{name}.png", picture)  # whole: the process may end before this thread
    return {f"pictures/{path.stem}": wandb.Image(str(path)) for path in sorted(folder.glob("*.png"))}


def log_artifact(run: Any, folder: Path) -> None:
    """The checkpoints after every stage, the exported model and the result, as one artifact."""
    import wandb

    artifact = wandb.Artifact(f"run-{run.id}", type="model")
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        inside = file.relative_to(folder)
        if inside.parts[0] != "wandb" and not file.name.startswith("."):
            artifact.add_file(str(file), name=str(inside))
    run.log_artifact(artifact)


def refused(run: Any) -> str | None:
    """The HTTP status with which the server refused a finished run's data for good; None if it did not.

    wandb itself only prints that it happened; its log on disk says what.
    """
    try:
        lines = Path(run.settings.log_internal).read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        try:
            message = str(json.loads(line).get("msg"))
        except ValueError:
            continue
        if message.startswith("filestream: fatal error"):
            status = re.search(r"\b[45]\d\d\b", message)
            return status[0] if status else "unknown"
    return None
