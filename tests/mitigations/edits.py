"""A tuned model and everything an edit of its weights may use."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from drive import TASKS, clip, moved, task_of, weights
from torch import Tensor

from cl_forget.mitigations import Chain, Mitigation
from cl_forget.models.base import FoundationModel
from cl_forget.training.context import Edit
from cl_forget.training.frozen import FrozenModel


def loaded(tensors: dict[str, Tensor]) -> Callable[[], dict[str, Tensor]]:
    return lambda: tensors


def edit_of(model: FoundationModel | None = None, stages: int = 1, restart: bool = False) -> Edit:
    """An edit after `stages` random moves of the model, as if each had been a task."""
    base = clip() if model is None else model
    base.eval()
    tuned, starts, history = copy.deepcopy(base), [], []
    pretrained = weights(base)
    for stage in range(stages):
        if restart:
            tuned.load_state_dict(pretrained)
        starts.append(weights(tuned))
        moved(tuned, seed=stage, by=0.05)
        history.append(weights(tuned))
    task = task_of(tuned, [TASKS[stages - 1]], base=FrozenModel(base))
    task.validation = [tuned.prepare(TASKS[stages - 1].validation, TASKS[stages - 1], "validation")]
    edit = Edit(tuned, pretrained, starts[-1], [*map(loaded, history)], [*map(loaded, starts)], task)
    return edit


def apply(edit: Edit, *mitigations: Mitigation) -> dict[str, Tensor]:
    """The weights after the chain's edits; nothing that it was given may change."""
    tuned = weights(edit.model)
    given = {"pretrained": edit.pretrained, "tuned": tuned, "start": edit.start}
    before = copy.deepcopy(given)
    with torch.no_grad():
        edited = Chain(mitigations).edit_weights(edit, tuned)
    for name, tensors in before.items():
        same_bits(given[name], tensors)
    same_bits(weights(edit.model), before["tuned"])
    return edited


def same_bits(one: dict[str, Any], two: dict[str, Any]) -> None:
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, two[name]), name
