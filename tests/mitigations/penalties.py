"""Sequences of tasks, and a quadratic bowl in the place of a model for penalties whose optimum is known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from drive import TASKS, TRAIN, task_of, weights
from torch import Tensor, nn

from cl_forget.ground.records import Cost
from cl_forget.mitigations import Chain, Mitigation
from cl_forget.models.base import FoundationModel
from cl_forget.training.context import Trainable, Update
from cl_forget.training.loop import fine_tune
from cl_forget.training.options import Training


def sequence(
    model: FoundationModel, *mitigations: Mitigation, train: Training = TRAIN, tasks: int = 2
) -> tuple[list[dict[str, Tensor]], Chain]:
    """The tuned weights after each task of a sequence through the real loop, and the chain."""
    chain, found = Chain(mitigations), []
    for index in range(tasks):
        task = task_of(model, [TASKS[index]], past=TASKS[:index], train=train)
        fine_tune(task, chain, train, Cost())
        found.append(weights(model))
    return found, chain


def copied(groups: dict[str, dict[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
    """A checkpoint as it was when it was taken."""
    return {g: {n: t.detach().clone() for n, t in tensors.items()} for g, tensors in groups.items()}


def bowl_task(
    index: int = 0, start: Tensor | None = None, pretrained: Tensor | None = None
) -> tuple[Any, Tensor]:
    """(a task whose loss is ½‖θ-c‖², c); θ starts at `start`."""
    generator = torch.Generator().manual_seed(11 + index)
    theta0, target = torch.randn(2, 5, generator=generator, dtype=torch.float64)
    start = theta0 if start is None else start
    model = nn.Module()
    model.theta = nn.Parameter(start.clone())
    model.device = torch.device("cpu")
    anchors = {"pretrained": theta0 if pretrained is None else pretrained, "previous": start.clone()}
    task = SimpleNamespace(
        model=model,
        index=index,
        resumed=False,
        start={"theta": start.clone()},
        pretrained={"theta": anchors["pretrained"]},
        anchor=lambda which: {"theta": anchors[which]},
        target=target,
    )
    return task, target


def descend(
    task: Any, *mitigations: Mitigation, steps: int = 600, rate: float = 0.05, chain: Any = None
) -> Tensor:
    """Plain gradient descent on the bowl through the chain's hooks, in the order of the loop's calls."""
    chain = chain or Chain(mitigations)
    chain.start(task)
    theta = task.model.theta
    parameters = Trainable(["theta"], [theta])
    for number in range(steps):
        update = Update(task, parameters, None, number)
        theta.grad = theta.detach() - task.target
        chain.each("add_gradient", update)
        with torch.no_grad():
            chain.around("around_update", update, lambda: theta.sub_(rate * theta.grad))
            chain.each("after_step", update)
    return theta.detach().clone()
