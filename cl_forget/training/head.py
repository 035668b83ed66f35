"""Heads fitted on frozen features: the linear probe, and the start of LP-FT and FLOW."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cl_forget.errors import UserError
from cl_forget.evaluation.probes import fit_linear_probe
from cl_forget.models.base import Prepared, evaluating
from cl_forget.training.context import Task

if TYPE_CHECKING:
    from cl_forget.mitigations.base import State


KEPT = "head/"  # of a state, before the names of the heads


def start_from_probe(task: Task, state: State) -> None:
    """Start the task from probed heads; `state` keeps them, so that a resumed task has the same anchors."""
    fit_heads(task)
    state.update({KEPT + name: head for name, head in task.heads.items()})


def resume_from_probe(task: Task, state: State) -> None:
    """Tell a resumed task which heads it started from; its model has them in its checkpoint, trained on."""
    kept = {name: head for name, head in state.items() if name.startswith(KEPT)}
    task.heads = {name.removeprefix(KEPT): head.to(task.model.device) for name, head in kept.items()}


def fit_heads(task: Task, anchor: str = "previous") -> None:
    """Set every head of the stage to the linear probe on a trunk's embeddings of all data that it answers.

    Args:
        task: the stage; its model's heads are changed in place.
        anchor: whose embeddings: "previous" is the trunk as it stands at the start of the task, "current"
            the trunk as it is now.

    Raises:
        UserError: the model has no head (a language model).
    """
    by_head: dict[tuple[str, ...], list[Prepared]] = {}
    for source in task.sources:
        by_head.setdefault(tuple(task.model.head_parameters(source.experience)), []).append(source)
    for names, sources in by_head.items():
        labels = sources[0].experience.labels
        targets = [source.targets for source in sources if source.targets is not None]
        if not names or labels is None or len(targets) < len(sources):
            raise UserError(
                f"'{task.model.spec}' has no classification head to fit on '{sources[0].experience.name}'; "
                "linear_probe and lp_ft are for models with one."
            )
        embedding = torch.cat([_embeddings(task, source.plain(), anchor) for source in sources])
        probe = fit_linear_probe(embedding, torch.cat(targets), len(labels.classes))
        present = torch.cat(targets).unique()  # a shared head keeps its rows for classes this task lacks
        with torch.no_grad():
            for name, fitted in zip(names, (probe.weight, probe.bias), strict=True):
                parameter = task.model.get_parameter(name)
                parameter[present] = fitted[present].to(parameter)
                task.heads[name] = parameter.detach().clone()


def _embeddings(task: Task, samples: Prepared, anchor: str) -> Tensor:
    """(samples, width) of a frozen model, or of the task's model as it is, in eval mode."""
    if anchor != "current":
        return task.frozen.whole(samples, anchor, "embedding")
    task.cost.forward_samples += len(samples)
    with torch.no_grad(), evaluating(task.model):
        found = [task.model(replace(batch, headless=True)).embedding.cpu() for batch in samples.batches(256)]
    return torch.cat(found)
