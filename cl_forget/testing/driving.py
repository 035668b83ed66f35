"""A short sequence of tasks through the real loop, as a simulation takes it, without evaluation and folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from cl_forget.ground.records import Cost
from cl_forget.mitigations import Chain, Mitigation
from cl_forget.models.base import FoundationModel, Prepared
from cl_forget.streams.base import Experience
from cl_forget.testing.worlds import World
from cl_forget.training.context import Edit, Task, Weights
from cl_forget.training.frozen import FrozenCache, FrozenModel, FrozenOutputs
from cl_forget.training.loop import fine_tune, steps_of
from cl_forget.training.options import Training
from cl_forget.training.workers import Workers

TRAIN = Training(epochs=1, batch_size=6, lr=1e-3, warmup=0, schedule="constant", clip=None)

Groups = dict[str, dict[str, Tensor]]


@dataclass
class Outcome:
    """What a sequence of tasks ends with.

    Attributes:
        weights: as evaluated, after the chain's edits.
        state: of each method, by name.
        log: the record of every step.
        checkpoints: inside the last stage, by the steps done.
        stages: how many stages were trained.
    """

    weights: Weights
    state: dict[str, Weights]
    log: list[dict[str, Any]] = field(default_factory=list)
    checkpoints: dict[int, Groups] = field(default_factory=dict)
    stages: int = 0

    def difference(self, other: Outcome) -> str | None:
        """The first tensor in which two outcomes differ by a bit; None where they are equal."""
        pairs = {"": (self.weights, other.weights)}
        for name in {**self.state, **other.state}:
            pairs[f"state of {name}: "] = (self.state.get(name, {}), other.state.get(name, {}))
        for where, (one, two) in pairs.items():
            if one.keys() != two.keys():
                return f"{where}{sorted(one.keys() ^ two.keys())[0]}"
            for name, tensor in one.items():
                if not torch.equal(tensor, two[name]):
                    return f"{where}{name}"
        return None


def train(
    world: World,
    methods: Sequence[Mitigation],
    options: Training = TRAIN,
    resume: Groups | None = None,
    keep: bool = False,
    workers: Workers | None = None,
) -> Outcome:
    """Tune the world's model on its tasks with a chain of methods.

    Args:
        world: the model and its tasks.
        methods: the chain.
        options: how each stage is trained.
        resume: a checkpoint inside the last stage to go on from, as `Outcome.checkpoints` has it.
        keep: whether to keep a checkpoint after each step of the last stage.
        workers: as for `fine_tune`.
    """
    chain, model = Chain(methods), world.model()
    for experience in world.tasks:
        model.add_task(experience)
    base, pretrained, cost = FrozenModel(model), copied(model), Cost()
    outcome = Outcome({}, {})
    past: list[Experience] = []
    probed: Weights = {}
    history: list[Any] = []
    starts: list[Any] = []
    stages = chain.arrange(world.tasks)
    often = options.model_copy(update={"checkpoint_seconds": 1e-9})

    def save(done: int, groups: Groups) -> None:
        outcome.checkpoints[done] = {
            g: {n: t.detach().clone() for n, t in ts.items()} for g, ts in groups.items()
        }

    for index, stage in enumerate(stages):
        last = index == len(stages) - 1
        task = task_of(model, stage, past, options, base, pretrained, chain.steps)
        task.probed = dict(probed)
        if last and resume:
            chain.restore(resume)
        fine_tune(
            task, chain, often if last and keep else options, cost, resume if last else None,
            save if last and keep else None, outcome.log.append, workers,
        )  # fmt: skip
        probed = task.probed
        past += stage
        tuned, start = copied(model), {**task.start, **task.heads}
        history.append(partial(dict, tuned))
        starts.append(partial(dict, start))
        edit = Edit(model, pretrained, task.start, list(history), list(starts), task)
        with torch.no_grad():
            outcome.weights = {n: t.clone() for n, t in chain.edit_weights(edit, tuned).items()}
            if not last:
                model.load_state_dict(chain.next_start(edit, tuned))
    outcome.state = {name: dict(state) for name, state in chain.state.items()}
    outcome.stages = len(stages)
    return outcome


def task_of(
    model: FoundationModel,
    stage: Sequence[Experience],
    past: Sequence[Experience] = (),
    options: Training = TRAIN,
    base: FrozenModel | None = None,
    pretrained: Weights | None = None,
    steps: Any = int,
) -> Task:
    """A task on `stage` that starts from the model as it is.

    Args:
        model: what is tuned.
        stage, past: the experiences of this stage and of earlier ones.
        options: how it is trained.
        base, pretrained: the pre-trained model and its weights; the model itself unless given.
        steps: what a chain makes of the planned number of steps.
    """
    previous = FrozenModel(model)
    base = base or previous
    sources = [_prepared(model, experience, "train", options.augment) for experience in stage]
    return Task(
        model=model,
        stage=tuple(stage),
        index=len(past),
        sources=sources,
        validation=[_prepared(model, experience, "validation") for experience in stage],
        past=[_prepared(model, experience, "train") for experience in past],
        pretrained=copied(base.model) if pretrained is None else pretrained,
        start=copied(model),
        frozen=FrozenOutputs(FrozenCache(None), {"pretrained": base, "previous": previous}),
        seed=0,
        steps=steps(steps_of(sources, options)),
        batch_size=options.batch_size,
        label_smoothing=options.label_smoothing,
        micro_batch_size=options.micro_batch_size,
    )


def _prepared(model: FoundationModel, experience: Experience, split: str, augment: str = "none") -> Prepared:
    data = experience.splits()[split]
    return model.prepare(data, experience, split, augment)


def copied(model: nn.Module) -> Weights:
    """Every tensor of a model by name."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def finite(weights: Mapping[str, Tensor]) -> bool:
    """Whether no weight is infinite or NaN."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in weights.values())
