"""Merges: methods that make the weights anew from what the stages of a run, or several models, changed."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

from cl_forget.ground.lazy import torch
from cl_forget.mitigations.claim import Claim
from cl_forget.mitigations.protocol import Mitigation
from cl_forget.weights.changes import Changes, applied, change

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from cl_forget.mitigations.protocol import Weights
    from cl_forget.models.base import FoundationModel
    from cl_forget.training.context import Edit


class Merge(Mitigation, abstract=True):
    """`θ0 + λ·τ`, τ made of the changes of all models, each tensor by itself.

    `cl-forget repair` calls `merge` as well, on the files of several models, and gets the same bits.

    Class attributes:
        since: what a stage changed: from the weights that it started from, or from θ0.
    """

    place = "weights"
    order = -2
    claims = frozenset({Claim.STAGE_WEIGHTS})
    post_hoc = True
    since: ClassVar[Literal["start", "pretrained"]] = "pretrained"

    @abstractmethod
    def merge(self, changes: Changes) -> Callable[[str], Tensor]:
        """The merged change of a tensor by its name; what must be known of all tensors is read before.

        Args:
            changes: of the models; what is made of one tensor depends on their order only where the method says so.
        """

    @property
    def factor(self) -> float:
        """λ: the knob, or 1 where the method has none."""
        return 1.0 if self.knob is None else float(getattr(self, self.knob))

    def edit_weights(self, edit: Edit, weights: Weights) -> Weights:
        """θ0 and the scaled merged change; integers keep their value in `weights`."""
        settings = self.model_dump(exclude={self.knob} if self.knob else None)
        what = f"{self.name} {len(edit.history)} {settings}"
        vector = edit.once(what, {}, lambda: self._vector(edit))
        base, first = edit.anchor("pretrained"), first_names(edit.model)
        return {
            name: applied(base[name], vector[own], self.factor)
            if (own := first.get(name, name)) in vector
            else tensor
            for name, tensor in weights.items()
        }

    def _vector(self, edit: Edit) -> Weights:
        changes = changes_of(edit, self.since)
        merged = self.merge(changes)
        return {name: merged(name) for name in changes.names}


def changes_of(edit: Edit, since: Literal["start", "pretrained"]) -> Changes:
    """What each stage so far changed.

    Args:
        edit: its history is read.
        since: from the weights that the stage started from, or from θ0. Where every task is tuned from θ0
            (`restart`) they are the same. A tensor that still is what the pre-trained model has did not change,
            whatever a probe made of it in a later stage.
    """
    base, raw = edit.anchor("pretrained"), edit.pretrained
    starts, ends = [load() for load in edit.starts], [load() for load in edit.history]

    def load(name: str, stage: int) -> Tensor:
        tensor = ends[stage][name].to(raw[name].device)  # checkpoints are read on the CPU
        if since == "start":
            return change(tensor, starts[stage][name].to(tensor.device))
        return change(tensor, raw[name] if torch.equal(tensor, raw[name]) else base[name])

    first = first_names(edit.model)
    return Changes(
        names=[n for n, t in raw.items() if t.is_floating_point() and first.get(n, n) == n],
        count=len(ends),
        load=load,
        parameters=frozenset(name for name, _ in edit.model.named_parameters()),
        seed=edit.task.seed
        if edit.task
        else 0,  # offline there is none, and the same edit gives the same weights
    )


def first_names(model: FoundationModel) -> dict[str, str]:
    """Of each parameter by any of its names the first one: a tied parameter has two."""
    first: dict[int, str] = {}
    named = model.named_parameters(remove_duplicate=False)
    return {name: first.setdefault(id(parameter), name) for name, parameter in named}
