"""Drives one task through the real loop, and beside it through a naive loop that knows one method only."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from tiny import experience, tiny_clip
from torch import Tensor, nn

from cl_forget.ground.records import Cost
from cl_forget.mitigations import Chain, Mitigation
from cl_forget.models.base import Batch, Forward, FoundationModel, Prepared
from cl_forget.models.clip import ClipModel
from cl_forget.streams.base import Experience, LabelSpace
from cl_forget.training.context import Step, Task
from cl_forget.training.frozen import FrozenCache, FrozenModel, FrozenOutputs
from cl_forget.training.loop import fine_tune, steps_of
from cl_forget.training.options import Training

TRAIN = Training(epochs=2, batch_size=10, lr=1e-3, warmup=0, schedule="constant", clip=None)
TASKS = [experience(f"squares-{i + 1}", seed=100 * (i + 1)) for i in range(3)]


_tiny_clip = functools.cache(tiny_clip)  # reading the vocabulary takes longer than any test


def quick_clip() -> ClipModel:
    """The tiny CLIP model, without reading the vocabulary again."""
    return copy.deepcopy(_tiny_clip())


def clip(tasks: Sequence[Experience] = TASKS) -> ClipModel:
    """The tiny CLIP model in float64, with a head for each task."""
    model = quick_clip().double()
    for task in tasks:
        model.add_task(task)
    return model


def moved(model: FoundationModel, seed: int = 3, by: float = 0.02) -> None:
    """Move every weight a little, as earlier tasks would have."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(by * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def task_of(
    model: FoundationModel,
    stage: Sequence[Experience],
    past: Sequence[Experience] = (),
    train: Training = TRAIN,
    base: FrozenModel | None = None,
    sources: list[Prepared] | None = None,
) -> Task:
    """A task on `stage` that starts from the model as it is; `base` is the pre-trained model."""
    prepare = [model.prepare(e.train, e, "train", train.augment) for e in stage]
    sources = prepare if sources is None else sources
    previous = FrozenModel(model)
    pretrained = base or previous
    return Task(
        model=model,
        stage=tuple(stage),
        index=len(past),
        sources=sources,
        validation=[],
        past=[model.prepare(e.train, e, "train") for e in past],
        pretrained=weights(pretrained.model),
        start=weights(model),
        frozen=FrozenOutputs(FrozenCache(None), {"pretrained": pretrained, "previous": previous}),
        seed=0,
        steps=steps_of(sources, train),
        batch_size=train.batch_size,
        label_smoothing=train.label_smoothing,
        micro_batch_size=train.micro_batch_size,
    )


def tuned(task: Task, *mitigations: Mitigation, train: Training = TRAIN, **options: Any) -> dict[str, Tensor]:
    """The weights that the real loop gives."""
    fine_tune(task, Chain(mitigations), train, Cost(), **options)
    return weights(task.model)


def naive(
    task: Task,
    loss: Callable[[Tensor, Tensor, Tensor, int], Tensor],
    train: Training = TRAIN,
    extra: Sequence[str] = (),
    frozen: Sequence[str] = (),
) -> dict[str, Tensor]:
    """AdamW on `loss(images, targets, indices, step number)`, written out; one experience a stage."""
    (samples,) = task.sources
    names = {*task.model.tunable(task.stage[0]), *extra} - set(frozen)
    parameters = [p for n, p in task.model.named_parameters() if n in names]
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(parameters, lr=train.lr, weight_decay=train.weight_decay)
    number = 0
    for epoch in range(train.epochs):
        order = torch.randperm(len(samples), generator=task.generator("order", epoch))
        for indices in order.split(train.batch_size):
            batch = samples.batch(indices)
            optimizer.zero_grad()
            loss(batch.inputs, batch.targets, indices, number).backward()
            optimizer.step()
            number += 1
    return weights(task.model)


def resumed(make: Callable[[], Task], *mitigations: Mitigation, at: int = 2, train: Training = TRAIN) -> None:
    """Asserts that a task continued from a checkpoint inside it ends with the same bits."""
    from cl_forget.training.loop import restore_state

    often = train.model_copy(update={"checkpoint_seconds": 1e-9})
    saved: dict[int, Any] = {}

    def save(done: int, groups: Any) -> None:
        saved[done] = {g: {n: t.detach().clone() for n, t in ts.items()} for g, ts in groups.items()}

    whole = tuned(make(), *mitigations, train=often, save=save)
    task, chain = make(), Chain(mitigations)
    restore_state(chain, saved[at])
    fine_tune(task, chain, train, Cost(), resume=saved[at])
    now = weights(task.model)
    assert all(torch.equal(now[name], tensor) for name, tensor in whole.items())


def assert_close(one: dict[str, Tensor], two: dict[str, Tensor], atol: float = 1e-6) -> None:
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(one[name], two[name], atol=atol, rtol=0, msg=lambda m, n=name: f"{n}: {m}")


def distance(one: dict[str, Tensor], two: dict[str, Tensor]) -> float:
    return max(float((one[name] - two[name]).abs().max()) for name in one)


class Texts(Prepared):
    """Sequences of five tokens; sample i answers for its last 1 + i % 4 tokens."""

    def __init__(self, experience: Experience, samples: int = 23) -> None:
        self.experience, self.split, self.key = experience, "train", "texts"
        self.tokens = torch.randint(0, 11, (samples, 5), generator=torch.Generator().manual_seed(0))

    def __len__(self) -> int:
        return len(self.tokens)

    def batch(self, indices: Tensor, generator: torch.Generator | None = None) -> Batch:
        tokens = self.tokens[indices]
        asked = torch.arange(5) >= 4 - indices[:, None] % 4
        rows, columns = asked.nonzero(as_tuple=True)
        previous = tokens.roll(1, 1)[rows, columns]
        return Batch(previous, tokens[rows, columns], indices, self, rows)


class Bigrams(FoundationModel):
    """A language model that sees one token back; it has no heads and no text tower of CLIP's kind."""

    spec, depths, default_depths, blocks = "bigrams", (), (), 0

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            self.table = nn.Embedding(11, 11).double()

    def prepare(self, data: Any, experience: Experience, split: str, augment: str = "none") -> Texts:
        return Texts(experience)

    def add_task(self, experience: Experience) -> None: ...

    def forward(self, batch: Batch, depths: Sequence[str] = (), embedding: Tensor | None = None) -> Forward:
        embedding = self.table.weight[:1].expand(len(batch), -1)
        return Forward(self.table(batch.inputs), batch.targets, embedding, {}, batch.sample_of_unit)

    def tunable(self, experience: Experience) -> list[str]:
        return ["table.weight"]

    def head_parameters(self, experience: Experience) -> list[str]:
        return []

    def block_of(self, parameter: str) -> int | None:
        return None


def sentences() -> Experience:
    data = TASKS[0].train
    return Experience("sentences", None, data, data, data)


def step_of(task: Task, size: int = 10, number: int = 0) -> Step:
    """The student on the first samples of the task."""
    batch = task.sources[0].batch(torch.arange(size))
    return Step(task, batch, task.model(batch, task.model.default_depths), number)


def shared_head() -> list[Experience]:
    """A class-incremental stream: four classes in one head, two new ones a task."""
    from tiny import COLOURS, images

    labels = LabelSpace("shared", tuple(COLOURS), ("a {} square.",))
    data = [images(4, 8, seed) for seed in (1, 2, 3)]
    parts = []
    for number, classes in enumerate(((0, 1), (2, 3))):
        split = [d.subset([i for i, y in enumerate(d.labels) if y in classes]) for d in data]
        parts.append(Experience(f"part-{number + 1}", labels, *split))
    return parts


def without_key_bias(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights but for the biases of attention's keys.

    A key's bias shifts all scores of a query alike, so its gradient is zero but for rounding, and AdamW turns
    rounding into steps: two ways to write one method need not agree there.
    """
    kept = {}
    for name, tensor in tensors.items():
        if name.endswith("in_proj_bias"):
            query, _, value = tensor.chunk(3)
            tensor = torch.cat([query, value])
        kept[name] = tensor
    return kept
