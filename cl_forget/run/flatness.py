"""Loss landscapes of finished runs: how flat the model lies before and after, on a task or suite."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from cl_forget.comparison.recorded import recorded_run
from cl_forget.evaluation.landscape import Landscape, flatness, loss_landscape, plot_together, sam_gap
from cl_forget.ground.environment import device as default_device
from cl_forget.ground.errors import UserError
from cl_forget.ground.files import StrPath, as_paths, write_text
from cl_forget.models import load_model
from cl_forget.streams import load_stream, load_suites
from cl_forget.training.checkpoints import FollowedFolder

if TYPE_CHECKING:
    from torch import Tensor

    from cl_forget.config.run import Run
    from cl_forget.models.base import FoundationModel
    from cl_forget.streams.base import Experience


PICTURE = "landscape.png"
_TITLES = {"pretrained": "pre-trained"}
BATCH = 64
"""Samples per forward pass."""


def landscape(
    folders: StrPath | Sequence[StrPath],
    on: str | None = None,
    radius: float = 0.5,
    points: int = 9,
    samples: int = 256,
    rho: float = 0.05,
    output: StrPath | None = None,
) -> dict[str, dict[str, Any]]:
    """Loss landscapes of a model before training and after each of some runs, on validation data.

    The directions lie in the transformer blocks' matrices and are random, the same for every model, and
    filter-normalised at each (by output row), so the planes compare. Runs are taken as they were tuned, without
    edits of weights after the task. Writes `landscape.png`, all planes with one scale, and `landscape.json`.

    Args:
        folders: of finished runs of one model, such as with and without SAM.
        on: a task or suite of the first run; its first suite (or task) if not given.
        radius: half the side of the plane; at 1 every filter has moved by its own norm.
        points: grid points per side, odd.
        samples: validation samples the loss is averaged over.
        rho: radius of the one-step ascent for the SAM gap.
        output: where to write; the first run's folder by default.

    Returns:
        "pretrained", then "tuned", or the methods' names if there are several runs -> loss, SC, AG, MAG and
        the SAM gap.

    Raises:
        UserError: no finished run there, no such task, runs of different models, or a grid that is none.
    """
    if points < 3 or points % 2 == 0:
        raise UserError(
            f"points is odd and 3 or more, so that the model itself is one of them, not {points}."
        )
    for name, value in (("radius", radius), ("rho", rho)):
        if not 0 < value < math.inf:
            raise UserError(f"{name} is a length above 0, not {value}.")
    if samples < 1:
        raise UserError(f"samples is how many the loss is averaged over, 1 or more, not {samples}.")
    folders = as_paths(folders)
    runs = _runs(folders)
    first = next(iter(runs.values()))[0]
    tasks, suites = load_stream(first.stream), load_suites(first.suites)
    experience = _chosen([*suites, *tasks], on)
    model = load_model(first.model, first.text)
    for task in tasks:
        model.add_task(task)
    model.to(default_device())
    loss = _loss(model, experience, samples)
    planes, measured = {}, {}
    planes["pretrained"], measured["pretrained"] = _measure(model, loss, radius, points, rho)
    for name, (_, folder) in runs.items():
        _set_to_tuned(model, folder)
        planes[name], measured[name] = _measure(model, loss, radius, points, rho)
    output = Path(output or folders[0])
    output.mkdir(parents=True, exist_ok=True)
    plot_together(
        {f"{_TITLES.get(name, name)}, loss on {experience.name}": plane for name, plane in planes.items()},
        output / PICTURE,
    )
    about = {"on": experience.name, "radius": radius, "points": points, "samples": samples, "rho": rho}
    write_text(output / "landscape.json", json.dumps({**about, "models": measured}, indent=1))
    return measured


def gap(folder: StrPath, on: str | None = None, samples: int = 256, rho: float = 0.05) -> float | None:
    """The SAM gap of a finished run's model, as `landscape` gives it, without the planes, which cost most.

    Args:
        folder: of the run.
        on, samples, rho: as in `landscape`.

    Returns:
        Nats; None where the gradient gives no direction.

    Raises:
        UserError: no finished run there, or no such task.
    """
    [(run, path)] = _runs(as_paths(folder)).values()
    tasks, suites = load_stream(run.stream), load_suites(run.suites)
    experience = _chosen([*suites, *tasks], on)
    model = load_model(run.model, run.text)
    for task in tasks:
        model.add_task(task)
    model.to(default_device())
    _set_to_tuned(model, path)
    trunk = [(n, p) for n, p in model.named_parameters() if model.block_of(n) is not None]
    return sam_gap(_loss(model, experience, samples), trunk, rho)


def _set_to_tuned(model: FoundationModel, folder: Path) -> None:
    """The weights as they were tuned: of the last checkpoint, or, where none is kept, the exported ones."""
    run_folder = FollowedFolder(folder)
    state = run_folder.state
    if state is not None and state.stages:
        model.load_state_dict(run_folder.load(state.stages[-1])["model"])
    else:
        model.load_exported(folder)


def _runs(folders: Sequence[Path]) -> dict[str, tuple[Run, Path]]:
    """The runs by the name they are shown under.

    Raises:
        UserError: a run has not finished, or they are not of one model and stream.
    """
    found: dict[str, tuple[Run, Path]] = {}
    for folder in folders:
        run = recorded_run(folder)
        name = "tuned" if len(folders) == 1 else run.method
        found[f"{name}, {folder}" if name in found else name] = (run, folder)
    first = next(iter(found.values()))[0]
    for run, folder in found.values():
        if (run.model, run.stream) != (first.model, first.stream):
            raise UserError(
                f"{folder} is a run of another model or stream than {folders[0]}; compare runs of one experiment."
            )
    return found


def _chosen(experiences: list[Experience], name: str | None) -> Experience:
    for experience in experiences:
        if name in (None, experience.name):
            return experience
    raise UserError(
        f"the run has no task or suite '{name}'; it has {', '.join(e.name for e in experiences)}."
    )


def _loss(model: FoundationModel, experience: Experience, samples: int) -> Callable[[], Tensor]:
    """The mean loss on the first validation samples, in evaluation mode, as the landscape asks for it."""
    prepared = model.prepare(experience.validation, experience, "validation")
    chosen = torch.arange(min(samples, len(prepared)))
    batches = [prepared.batch(part) for part in chosen.split(BATCH)]

    def loss() -> Tensor:
        model.eval()
        forwards = [model(batch) for batch in batches]
        return torch.cat([f.per_sample(f.unit_losses()) for f in forwards]).mean()

    return loss


def _measure(
    model: FoundationModel, loss: Callable[[], Tensor], radius: float, points: int, rho: float
) -> tuple[Landscape, dict[str, Any]]:
    trunk = [(n, p) for n, p in model.named_parameters() if model.block_of(n) is not None]
    plane = loss_landscape(loss, trunk, seed=0, radius=radius, points=points)
    measures = flatness(plane)
    return plane, {
        "loss": plane.centre,
        "surface_curvature": measures.surface_curvature,
        "average_gradient": measures.average_gradient,
        "mean_absolute_gradient": measures.mean_absolute_gradient,
        "sam_gap": sam_gap(loss, trunk, rho),
    }
