"""The loss landscape of a finished run: how flat it lies before and after, on each task and suite."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from cl_forget.config import Run
from cl_forget.errors import UserError
from cl_forget.evaluation.landscape import flatness, loss_landscape, plot, sam_gap
from cl_forget.models import load_model
from cl_forget.result import Result
from cl_forget.streams import load_stream, load_suite
from cl_forget.training.checkpoints import RunFolder, write_text

if TYPE_CHECKING:
    from torch import Tensor

    from cl_forget.models.base import FoundationModel
    from cl_forget.streams.base import Experience


def landscape(
    folder: Path,
    on: str | None = None,
    radius: float = 0.5,
    points: int = 9,
    samples: int = 256,
    rho: float = 0.05,
) -> dict[str, dict[str, Any]]:
    """Loss landscapes of a run's model before and after training, on validation data.

    Writes `landscape-pretrained.png`, `landscape-tuned.png` and `landscape.json` into the run's folder. Both
    planes are spanned by the same random directions, filter-normalised at each model, so they compare.

    Args:
        folder: of a finished run.
        on: a task or suite of the run; its first suite (or task) if not given.
        radius: half the side of the plane; at 1 every filter has moved by its own norm.
        points: grid points per side.
        samples: validation samples the loss is averaged over.
        rho: radius of the one-step ascent for the SAM gap.

    Returns:
        "pretrained" and "tuned" -> loss, SC, AG, MAG and the SAM gap.

    Raises:
        UserError: no finished run there, or no such task.
    """
    result = Result.load(folder)
    run_folder = RunFolder(folder)
    fields = {key: value for key, value in result.run.items() if key in Run.model_fields}
    run = Run.parse(fields)
    tasks, suites = load_stream(run.stream), [load_suite(spec) for spec in run.suites]
    experience = _chosen([*suites, *tasks], on)
    model = load_model(run.model, run.text)
    for task in tasks:
        model.add_task(task)
    loss = _loss(model, experience, samples)
    measured = {"pretrained": _measure(model, loss, folder / "landscape-pretrained.png", radius, points, rho)}
    model.load_state_dict(run_folder.load(run_folder.state["stages"][-1])["model"])
    measured["tuned"] = _measure(model, loss, folder / "landscape-tuned.png", radius, points, rho)
    about = {"on": experience.name, "radius": radius, "points": points, "samples": samples, "rho": rho}
    write_text(folder / "landscape.json", json.dumps({**about, **measured}, indent=1))
    return measured


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
    batch = prepared.batch(torch.arange(min(samples, len(prepared))))
    return lambda: model.eval()(batch).unit_losses().mean()


def _measure(
    model: FoundationModel, loss: Callable[[], Tensor], picture: Path, radius: float, points: int, rho: float
) -> dict[str, Any]:
    trunk = [(n, p) for n, p in model.named_parameters() if model.block_of(n) is not None]
    plane = loss_landscape(loss, trunk, seed=0, radius=radius, points=points)
    plot(plane, picture, title=f"{picture.stem.removeprefix('landscape-')} model")
    measures = flatness(plane)
    return {
        "loss": plane.centre,
        "surface_curvature": measures.surface_curvature,
        "average_gradient": measures.average_gradient,
        "mean_absolute_gradient": measures.mean_absolute_gradient,
        "sam_gap": sam_gap(loss, trunk, rho),
    }
