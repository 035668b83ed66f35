"""Heads fitted on frozen features: the linear probe, and where the heads of a task start (`train.head`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from cl_forget.ground.errors import UserError
from cl_forget.models.base import FoundationModel, Prepared, evaluating
from cl_forget.streams.base import Experience
from cl_forget.training.context import Task
from cl_forget.training.frozen import FrozenCache, FrozenModel
from cl_forget.training.probes import fit_linear_probe


def starts_from_probe(head: str | None, model: FoundationModel, stage: Sequence[Experience]) -> bool:
    """Whether the heads of a stage start from a linear probe.

    Args:
        head: `train.head`; None leaves it to the model.
        model: says whether it can make heads from class names.
        stage: the experiences trained together.

    Raises:
        UserError: the model cannot start so.
    """
    without = next((e.name for e in stage if not model.head_parameters(e)), None)
    if head == "probe" and without is not None:
        raise UserError(
            f"'{model.spec}' has no classification head to fit on '{without}'; train.head: probe is for models "
            "with one, leave it out."
        )
    if head == "zero-shot" and without is None and not model.zero_shot:
        raise UserError(f"'{model.spec}' reads no class names to make a head from; set train.head: probe.")
    return head == "probe" or (head is None and without is None and not model.zero_shot)


def start_from_probe(task: Task) -> None:
    """Start the task from probed heads; nothing is done where it already does.

    Raises:
        UserError: the model has no head (a language model).
    """
    if task.heads:
        return
    for names, fitted, present in _probes(task, "previous"):
        with torch.no_grad():
            for name, rows in zip(names, fitted, strict=True):
                parameter = task.model.get_parameter(name)
                before = task.probed.get(name, task.pretrained[name]).clone()
                for head in (parameter, before):  # a shared head keeps its rows for classes this task lacks
                    head[present] = rows[present].to(head)
                task.heads[name], task.probed[name] = parameter.detach().clone(), before
    task.frozen.answer_with({"pretrained": task.probed, "previous": task.heads})


def resume_from_probe(task: Task, heads: dict[str, Tensor], probed: dict[str, Tensor]) -> None:
    """Tell a resumed task which heads it started from; its model has them in its checkpoint, trained on."""
    task.heads, task.probed = dict(heads), dict(probed)
    task.frozen.answer_with({"pretrained": task.probed, "previous": task.heads})


def fit_heads(task: Task, anchor: str = "previous") -> None:
    """Set every head of the stage to the linear probe on a trunk's embeddings of all data that it answers.

    Args:
        task: the stage; its model's heads are changed in place.
        anchor: whose embeddings: "previous" is the trunk as it stands at the start of the task, "current"
            the trunk as it is now.

    Raises:
        UserError: the model has no head (a language model).
    """
    with torch.no_grad():
        if anchor == "previous" and task.heads:
            for name, head in task.heads.items():
                task.model.get_parameter(name).copy_(head)
            return
        for names, fitted, present in _probes(task, anchor):
            for name, rows in zip(names, fitted, strict=True):
                parameter = task.model.get_parameter(name)
                parameter[present] = rows[present].to(parameter)


def _probes(task: Task, anchor: str) -> list[tuple[tuple[str, ...], tuple[Tensor, Tensor], Tensor]]:
    """For each head of the stage its parameters' names, their fitted values, and the classes there are data of."""
    found = []
    for names, embedding, targets, classes in embedded(task, anchor):
        probe = fit_linear_probe(embedding, targets, classes)
        found.append((names, (probe.weight, probe.bias), targets.unique()))
    return found


def embedded(task: Task, anchor: str) -> list[tuple[tuple[str, ...], Tensor, Tensor, int]]:
    """For each head of the stage what it can be fitted on: all training data that it answers, not augmented.

    Args:
        task: the stage.
        anchor: as of `fit_heads`.

    Returns:
        The names of the head's weight and bias, (samples, width) embeddings, (samples,) targets, and how many
        classes the head has.

    Raises:
        UserError: the model has no head (a language model).
    """
    by_head: dict[tuple[str, ...], list[Prepared]] = {}
    for source in task.sources:
        by_head.setdefault(tuple(task.model.head_parameters(source.experience)), []).append(source)
    found = []
    for names, sources in by_head.items():
        labels = sources[0].experience.labels
        known = [source.targets for source in sources if source.targets is not None]
        if not names or labels is None or len(known) < len(sources):
            raise UserError(
                f"'{task.model.spec}' has no classification head to fit on '{sources[0].experience.name}'; "
                "linear_probe, class_means, ridge_head and lp_ft are for models with one."
            )
        embedding = torch.cat([_embeddings(task, source.plain(), anchor) for source in sources])
        targets = torch.cat(known)
        found.append((names, embedding, targets, len(labels.classes)))
    return found


def _embeddings(task: Task, samples: Prepared, anchor: str) -> Tensor:
    """(samples, width) of a frozen model, or of the task's model as it is, in eval mode."""
    if anchor != "current":
        return task.frozen.whole(samples, anchor, "embedding")
    task.cost.forward_samples += len(samples)
    with torch.no_grad(), evaluating(task.model):
        found = [task.model(replace(batch, headless=True)).embedding.cpu() for batch in samples.batches(256)]
    return torch.cat(found)


def fit_first_heads(
    base: FrozenModel,
    cache: FrozenCache,
    experiences: Sequence[Experience],
    prepared: dict[tuple[str, str], Prepared],
) -> None:
    """Set the heads of a pre-trained model that makes none from class names, so that row 0 has every task.

    Each is the linear probe on the embeddings of the first task's training data that has this head; no head sees data
    that come later under the same one. A model with zero-shot heads, or with none, stays as it is.

    Args:
        base: the pre-trained model, with an empty head for every task.
        cache: where its outputs are kept.
        experiences: the tasks, in order.
        prepared: (experience, split) -> samples in the model's format; what is missing is added.
    """
    model, done = base.model, set()
    for experience in experiences if not model.zero_shot else ():
        names = tuple(model.head_parameters(experience))
        if not names or names in done or experience.train is None or experience.labels is None:
            continue
        done.add(names)
        key = (experience.name, "train")
        if key not in prepared:
            prepared[key] = model.prepare(experience.train, experience, "train")
        samples = prepared[key]
        assert samples.targets is not None
        if len(samples.targets.unique()) < 2:
            continue  # training says so
        embedding = cache.outputs(base, samples, ["embedding"])["embedding"]
        probe = fit_linear_probe(embedding, samples.targets, len(experience.labels.classes))
        with torch.no_grad():
            for name, value in zip(names, (probe.weight, probe.bias), strict=True):
                parameter = model.get_parameter(name)
                parameter.copy_(value.to(parameter))
