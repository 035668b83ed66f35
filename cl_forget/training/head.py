"""Heads fitted on frozen features: the linear probe, and the start of LP-FT and FLOW."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from cl_forget.errors import UserError
from cl_forget.evaluation.probes import fit_linear_probe
from cl_forget.models.base import FoundationModel, Prepared
from cl_forget.training.context import Task


def fit_heads(task: Task, anchor: str = "previous") -> None:
    """Set the head of each experience of the stage to the linear probe on a trunk's embeddings.

    Args:
        task: the stage; its model's heads are changed in place.
        anchor: whose embeddings: "previous" is the trunk as it stands at the start of the task, "current"
            the trunk as it is now.

    Raises:
        UserError: the model has no head (a language model).
    """
    for source in task.sources:
        names = task.model.head_parameters(source.experience)
        labels = source.experience.labels
        if not names or labels is None or source.targets is None:
            raise UserError(
                f"'{task.model.spec}' has no classification head to fit on '{source.experience.name}'; "
                "linear_probe and lp_ft are for models with one."
            )
        if anchor == "current":
            embedding = _embeddings(task.model, source.plain())
            task.cost.forward_samples += len(source)
        else:
            embedding = task.frozen.whole(source.plain(), anchor, "embedding")
        probe = fit_linear_probe(embedding, source.targets, len(labels.classes))
        present = source.targets.unique()  # a shared head keeps its rows for classes this task lacks
        with torch.no_grad():
            for name, fitted in zip(names, (probe.weight, probe.bias), strict=True):
                parameter = task.model.get_parameter(name)
                parameter[present] = fitted[present].to(parameter)


def _embeddings(model: FoundationModel, samples: Prepared) -> Tensor:
    """(samples, width) of the model as it is, in eval mode."""
    was = model.training
    model.eval()
    with torch.no_grad():
        found = [model(replace(batch, headless=True)).embedding.cpu() for batch in samples.batches(256)]
    model.train(was)
    return torch.cat(found)
