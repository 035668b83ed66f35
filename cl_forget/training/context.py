"""What the hooks of a mitigation are given: the task, the step, the trainable parameters, the edit."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from cl_forget.ground.records import Cost
from cl_forget.ground.seeds import generator
from cl_forget.models.base import Batch, Forward, FoundationModel, Prepared
from cl_forget.streams import load_suite
from cl_forget.streams.base import Experience
from cl_forget.training.frozen import FrozenOutputs
from cl_forget.training.workers import Workers

Weights = dict[str, Tensor]


@dataclass
class Task:
    """One training stage of a simulation.

    Attributes:
        model: the model being tuned.
        stage: the experiences trained together (one, unless `joint`).
        index: 0 for the first stage.
        sources: the training data, one `Prepared` per experience of the stage.
        validation: their validation data, in the same order.
        past: the training data of all earlier stages (rehearsal draws from it).
        pretrained: θ0, every tensor of the model's state by name; read-only.
        start: the weights at the start of this task; read-only.
        frozen: outputs of the frozen models ("pretrained", "previous") on any batch, cached.
        seed: the run's seed.
        steps: optimiser steps this task will take.
        batch_size: samples per optimiser step.
        label_smoothing: of the task's cross-entropy, for methods that compute it themselves.
        micro_batch_size: samples per forward pass; None for a whole batch at once.
        cost: what training has cost so far; a hook that runs the tuned model itself adds its passes.
        heads: the heads that a probe set when the task began, by name; empty where training starts from `start`.
        probed: θ0's heads as probes set them, those of earlier tasks and of this one.
        resumed: whether the task goes on from a checkpoint taken inside it.
        workers: the processes that train it together.
    """

    model: FoundationModel
    stage: tuple[Experience, ...]
    index: int
    sources: list[Prepared]
    validation: list[Prepared]
    past: list[Prepared]
    pretrained: Weights
    start: Weights
    frozen: FrozenOutputs
    seed: int
    steps: int
    batch_size: int
    label_smoothing: float = 0.0
    micro_batch_size: int | None = None
    cost: Cost = field(default_factory=Cost)
    heads: Weights = field(default_factory=dict)
    probed: Weights = field(default_factory=dict)
    resumed: bool = False
    workers: Workers = field(default_factory=Workers)
    _references: dict[str, Prepared] = field(default_factory=dict, repr=False)

    def reference(self, spec: str | dict[str, Any]) -> Prepared:
        """Data from outside the stream, prepared for the model once per task and not augmented.

        Its training data, or its validation data where it has none (a suite): then it should not be a suite
        that the run measures generality on.

        Args:
            spec: a suite or a stream of one task, as an experiment file names it.

        Raises:
            UserError: there is no such source, or the model cannot read it.
        """
        key = json.dumps(spec, sort_keys=True)
        if key not in self._references:
            experience = load_suite(spec)
            split = "train" if experience.train is not None else "validation"
            self._references[key] = self.model.prepare(experience.splits()[split], experience, split)
        return self._references[key]

    def anchor(self, which: str) -> Weights:
        """θ* by name: "pretrained" or "previous" (the weights at the start of this task).

        A head that a probe set has its starting point there: pulled to where it was before, it would be trained
        away from its probe, and its penalty would dwarf everything else.
        """
        if which == "pretrained":
            return {**self.pretrained, **self.probed}
        return {**self.start, **self.heads}

    def probes(self) -> dict[str, Weights]:
        """What a checkpoint holds of probed heads, by group; nothing where there are none."""
        return {name: heads for name, heads in (("heads", self.heads), ("probed", self.probed)) if heads}

    def generator(self, purpose: str, number: int = 0) -> torch.Generator:
        """A random generator of its own for (seed, task, purpose, number).

        Nothing that draws from it moves any other random stream, so adding a method to a chain never
        changes the order of the data, and a resumed run draws the same numbers.
        """
        return generator(self.seed, self.index, purpose, number)


@dataclass
class Step:
    """One forward pass of the student inside step `number` of a task.

    Attributes:
        task: the task.
        batch: the samples; of a batch that several workers take together, this worker's.
        forward: what the model says of them.
        number: 0 for the first step of the task.
        workers: those who take the batch together; this one alone where each runs all of it (`extra_batches`).
        idle: whether the sample is a stand-in for none (`Workers.rows`).
    """

    task: Task
    batch: Batch
    forward: Forward
    number: int
    workers: Workers = field(default_factory=Workers)
    idle: bool = False

    def rows(self, own: Tensor) -> tuple[Tensor, slice]:
        """The rows of the whole (micro-)batch, of which `own` are this worker's, and which those are.

        A loss that compares samples reads the others' rows here and returns the losses of its own. A method that
        asks says `compares`.

        Args:
            own: (rows, ...), a row for each sample or unit of `batch`; gradients flow back to whose row it is.
        """
        return self.workers.rows(own, self.idle)


@dataclass
class Extra:
    """A batch of other data in a step, and the term it adds to the loss.

    Attributes:
        batch: replayed or reference samples.
        factor: the term's factor in the total loss.
        loss: what the term is; None for the mean cross-entropy on the batch's own targets.
        method: whose term it is; set by the chain.
    """

    batch: Batch
    factor: float = 1.0
    loss: Callable[[Step], Tensor] | None = None
    method: str = ""


@dataclass
class Trainable:
    """The parameters being trained, as aligned lists for `torch._foreach_*`.

    Attributes:
        names: parameter names as in the model's state dict.
        tensors: the parameters, in the same order.
    """

    names: list[str]
    tensors: list[Tensor]
    _kept: list[Tensor] = field(default_factory=list, repr=False)

    @property
    def values(self) -> list[Tensor]:
        """The parameters detached from autograd: same memory, safe for in-place arithmetic."""
        return [tensor.detach() for tensor in self.tensors]

    @property
    def gradients(self) -> list[Tensor]:
        """Their gradients, aligned; a parameter that got none contributes zeros (and keeps them)."""
        for tensor in self.tensors:
            if tensor.grad is None:
                tensor.grad = torch.zeros_like(tensor)
        return [tensor.grad for tensor in self.tensors if tensor.grad is not None]

    def copies(self) -> list[Tensor]:
        """Copies of the values, good until the next call.

        On a processor they stay in memory from step to step, where getting it anew takes longer than copying; the
        allocator of a GPU keeps what was given back by itself.
        """
        values = self.values
        if not all(value.is_cpu for value in values):
            return [value.clone() for value in values]
        if not self._kept:
            self._kept = [torch.empty_like(value) for value in values]
        copy_parts(self._kept, values)
        return self._kept

    def align(self, tensors: Weights) -> list[Tensor]:
        """The entries of `tensors` (an anchor, a Fisher) for these parameters, in the same order.

        Of a sharded parameter it is this worker's part.
        """
        pairs = zip(self.names, self.tensors, strict=True)
        return [part_like(tensors[name], parameter) for name, parameter in pairs]

    def own(self, kept: MutableMapping[str, Tensor]) -> list[Tensor]:
        """As `align`, of what a method goes on to change in place: from here on this worker's parts are what is kept.

        A checkpoint and the end of the task have them whole again.
        """
        parts = self.align(dict(kept))
        kept.update(zip(self.names, parts, strict=True))
        return parts


def part_like(full: Tensor, parameter: Tensor) -> Tensor:
    """`full` laid out as `parameter`: this worker's part of it where the parameter is sharded.

    Nothing is sent: every worker cuts its part out of the tensor that it has in full.
    """
    placements = getattr(parameter, "placements", None)
    if placements is None or hasattr(full, "placements"):
        return full
    from torch.distributed.tensor import distribute_tensor

    mesh: Any = parameter.device_mesh  # type: ignore[attr-defined]
    return distribute_tensor(full.to(parameter.device), mesh, placements, src_data_rank=None)


def beside(full: Tensor, parameter: Tensor) -> Tensor:
    """`full` as a factor in products with `parameter`: whole on every worker where the parameter is sharded."""
    if not hasattr(parameter, "placements"):
        return full
    from torch.distributed.tensor import DTensor

    mesh: Any = parameter.device_mesh  # type: ignore[attr-defined]
    return DTensor.from_local(full.to(parameter.device), mesh, run_check=False)


def local(tensor: Tensor) -> Tensor:
    """This worker's part of a tensor as a plain one, in the same memory; the tensor itself where it is whole."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def copy_parts(to: list[Tensor], of: list[Tensor]) -> None:
    """Copy tensors into others of the same layout; of sharded ones, this worker's parts."""
    torch._foreach_copy_([local(tensor) for tensor in to], [local(tensor) for tensor in of])


@dataclass
class Update:
    """One optimiser step.

    Attributes:
        task: the task it belongs to.
        parameters: what it moves.
        optimizer: the optimiser that will apply it (AdamW, with one group per learning-rate factor).
        number: 0 for the first step of the task.
        terms: what methods add to the loss in `around_gradient`, by method; scalars, for the log.
    """

    task: Task
    parameters: Trainable
    optimizer: torch.optim.Optimizer
    number: int
    terms: Weights = field(default_factory=dict)


@dataclass
class Edit:
    """What an edit of weights after a task may use.

    Attributes:
        model: the model, for the depth of a parameter; its own weights are those being edited.
        pretrained: θ0, with the heads that it came with.
        start: the weights at the start of the task, before a probe set any head.
        history: the tuned weights of each stage so far, this one included (task arithmetic, soups); each
            entry opens its tensors when called; of a run they are read from disk one by one.
        starts: the weights each of these stages started from, probed heads included, in the same way.
        task: the task just trained (data for Fisher weights or for fitting α); None in offline edits.
    """

    model: FoundationModel
    pretrained: Weights
    start: Weights
    history: list[Callable[[], Mapping[str, Tensor]]] = field(default_factory=list)
    starts: list[Callable[[], Mapping[str, Tensor]]] = field(default_factory=list)
    task: Task | None = None
    _known: list[tuple[str, Weights, Weights]] = field(default_factory=list, repr=False)

    def anchor(self, which: str) -> Weights:
        """The end that averages start from: "pretrained" or "previous" (the weights at the start of the task).

        A head that a probe set has the probe's values there, as in `Task.anchor`: the average of a model that
        was tuned from a probe is the one with its linear probe.
        """
        if self.task is None:
            return self.pretrained if which == "pretrained" else self.start
        if which == "pretrained":
            return {**self.pretrained, **self.task.probed}
        return {**self.start, **self.task.heads}

    def once(self, what: str, at: Weights, make: Callable[[], Weights]) -> Weights:
        """`make()`, computed once per task: a curve asks again at every value of its knob.

        Args:
            what: a name for the result that holds every setting it depends on.
            at: the weights it depends on.
            make: computes it.
        """
        for name, weights, result in self._known:
            if name == what and all(torch.equal(weights[key], tensor) for key, tensor in at.items()):
                return result
        self._known.append((what, at, make()))
        return self._known[-1][2]
