"""What every method promises, each promise one function."""

from __future__ import annotations

import functools
import inspect
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from cl_forget.ground.errors import TrainingDiverged, UserError
from cl_forget.ground.records import Cost
from cl_forget.mitigations import MITIGATIONS, Chain, Mitigation
from cl_forget.mitigations.claim import Claim
from cl_forget.models.base import Batch
from cl_forget.testing.driving import TRAIN, Outcome, copied, finite, task_of, train
from cl_forget.testing.sharding import one_worker
from cl_forget.testing.worlds import World, language, vision
from cl_forget.training.context import Task
from cl_forget.training.loop import fine_tune
from cl_forget.training.state import State

Loss = Callable[[Batch, int], Tensor]
Reference = Callable[[Task, State], Loss]

PARTNERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("derpp", {"memory": 6}), ("eaft", {}), ("er", {"memory": 6}), ("ewc", {"samples": 6}),
    ("fewer_steps", {"share": 0.75}),
    ("freeze", {"blocks": 1}), ("kd", {}), ("l2_sp", {"strength": 0.1}), ("layer_decay", {}), ("ldifs", {}),
    ("lines", {}), ("lora", {"rank": 2}), ("lp_ft", {}), ("mofo", {}), ("sam", {}), ("wise_ft", {}),
)  # fmt: skip
"""Methods that others are combined with: of every place and cheap. A new method is not added here, so that the
combinations of the others stay what they are."""
WITHOUT_TEXTS = frozenset({"lp_ft"})
"""Those among them that have no meaning for a language model."""


@dataclass
class Report:
    """What the checks found; they raise where a promise is broken.

    Attributes:
        name: of the method.
        combined: the combinations that were tried.
        resumed: after how many steps of the last stage a run was continued; None where it takes no steps.
        sharded: why it is not trained sharded; None where it is.
        vision, language: why it has no meaning for a CLIP model, or a language model; None where it has one. The
            other checks are made with the first of the two for which it has.
    """

    name: str
    combined: list[list[str]] = field(default_factory=list)
    resumed: int | None = None
    sharded: str | None = None
    vision: str | None = None
    language: str | None = None


def check_method(
    method: type[Mitigation],
    fields: Mapping[str, Any] | None = None,
    *,
    language_fields: Mapping[str, Any] | None = None,
    reference: Reference | None = None,
    combinations: int = 1,
) -> Report:
    """Hold a method to what every method promises, on models that train in a fraction of a second.

    It is described; it runs on two tasks of a CLIP model and of a language model, or is refused by one of them in one
    line; a run continued from a checkpoint is the run itself, to the bit; its `absent` value is absence, to the bit;
    random legal partners, drawn from the method's name, may be listed in any order; one sharded worker gives what a
    plain process gives.

    Args:
        method: the class.
        fields: what it needs beyond its defaults on a tiny model (a small memory, a low rank).
        language_fields: the same for the language model; `fields` unless given.
        reference: the method written out plainly: given the second task and the state after the first one, the
            loss of a batch in step `number`, whose minimisation by AdamW must end at the same weights.
        combinations: how many random combinations to run.

    Returns:
        What was checked how.

    Raises:
        AssertionError: names the promise that is broken, and where.
    """
    report = Report(method.name)
    _describes_itself(method)
    given = {"vision": fields or {}, "language": language_fields or fields or {}}
    homes: list[tuple[World, Callable[[], Mitigation], Outcome]] = []
    for world in (vision(), language()):
        there = functools.partial(method, **given[world.name])
        found = _runs(there(), world)
        setattr(report, world.name, found if isinstance(found, str) else None)
        if isinstance(found, Outcome):
            homes.append((world, there, found))
    assert homes, f"{method.name} is refused on both models: {report.vision} {report.language}"
    world, make, alone = homes[0]
    report.resumed = _resumes(make(), world, alone)
    _absent_is_absent(make(), world)
    for partners in _partners(
        make(), combinations, WITHOUT_TEXTS if world.name == "language" else frozenset()
    ):
        _order_does_not_matter([make(), *partners], world)
        report.combined.append([method.name, *(partner.name for partner in partners)])
    report.sharded = _shards(make(), world, alone)
    if reference is not None:
        _agrees_with(make(), world, reference)
    return report


def _runs(method: Mitigation, world: World) -> Outcome | str:
    """Two tasks end at finite weights, or the method has no meaning for the model and says so in one line."""
    name = method.name
    assert not method.is_absent, f"{name} does nothing at these fields; give `fields` at which it acts."
    try:
        outcome = train(world, [method], keep=True)
    except TrainingDiverged as error:
        raise AssertionError(f"{name}: {error}") from error
    except UserError as error:
        assert "\n" not in str(error), f"a refusal is one line: {error}"
        return str(error)
    assert finite(outcome.weights), (
        f"{name}: a weight of the {world.name} model is not finite after two tasks."
    )
    return outcome


def _describes_itself(method: type[Mitigation]) -> None:
    """For the documentation, which is made from the class."""
    said = inspect.cleandoc(method.__doc__ or "")
    idea, _, listed = said.partition("Attributes:")
    assert idea.strip() and method.__doc__ != Mitigation.__doc__, (
        f"{method.name} has no docstring: say its idea."
    )
    for name, described in method.model_fields.items():
        assert re.search(rf"^\s+{name}: \S", listed, re.MULTILINE), (
            f"{method.name}.{name} is not in the docstring: add `{name}: ...` below `Attributes:`."
        )
        assert described.description, f"{method.name}.{name} has no description: Field(..., description=...)."
    for text in (method.title, method.formula, method.cost, method.source):
        assert "\n" not in text, f"{method.name}: {text!r} is more than one line."
    for other in method.conflicts:
        assert other in MITIGATIONS, f"{method.name} conflicts with '{other}', which is no method."


def _resumes(method: Mitigation, world: World, whole: Outcome) -> int | None:
    """A run that goes on from a checkpoint inside a task is the run itself."""
    if not whole.checkpoints:
        return None
    done = sorted(whole.checkpoints)[len(whole.checkpoints) // 2]
    again = train(world, [method], resume=whole.checkpoints[done])
    where = whole.difference(again)
    assert where is None, (
        f"{method.name}: continued after step {done} of the last stage, {where} differs from the uninterrupted run: "
        "what changes while training belongs into the state, and random numbers are drawn from task.generator."
    )
    return done


def _absent_is_absent(method: Mitigation, world: World) -> None:
    """Where the knob stands at `absent`, the method is left out, to the bit."""
    if method.absent is None or method.knob is None:
        return
    absent = method.with_knob(method.absent)
    assert absent.is_absent, (
        f"{method.name}: {method.knob} = {method.absent} is `absent`, and is_absent says no."
    )
    where = _plain(world.name).difference(train(world, [absent]))
    assert where is None, (
        f"{method.name} at {method.knob} = {method.absent} is not plain fine-tuning: {where} differs."
    )


@functools.cache
def _plain(name: str) -> Outcome:
    """Full fine-tuning of a world."""
    return train({"vision": vision, "language": language}[name](), [])


def _partners(
    method: Mitigation, combinations: int, without: frozenset[str] = frozenset()
) -> list[list[Mitigation]]:
    """Random legal partners, the same ones for a name whatever other methods there are."""
    chance = random.Random(method.name)
    found: list[list[Mitigation]] = []
    for _ in range(200):
        if len(found) == combinations:
            break
        drawn = chance.sample(PARTNERS, chance.randint(1, 3))
        partners = [
            MITIGATIONS.get(name)(**fields)
            for name, fields in drawn
            if name != method.name and name not in without
        ]
        if partners and _legal([method, *partners]):
            found.append(partners)
    return found


def _legal(methods: Sequence[Mitigation]) -> bool:
    try:
        Chain(methods)
    except UserError as error:
        assert "\n" not in str(error), f"a refusal is one line: {error}"
        return False
    return True


def _order_does_not_matter(methods: list[Mitigation], world: World) -> None:
    one, two = train(world, methods), train(world, methods[::-1])
    where, names = one.difference(two), " + ".join(m.name for m in methods)
    assert finite(one.weights), f"{names}: a weight is not finite after two tasks."
    assert where is None, f"{names}: listed the other way round, {where} differs."


def _shards(method: Mitigation, world: World, alone: Outcome) -> str | None:
    """A worker that holds its parts of the weights ends where a plain process does, or the method says why not."""
    if method.whole_only or Claim.TRAINING_LOOP in method.claims:
        return method.whole_only or "it runs a training loop of its own"
    with one_worker() as workers:
        sharded = train(world, [method], workers=workers)
    for name, tensor in alone.weights.items():
        assert torch.allclose(sharded.weights[name], tensor, atol=1e-6, rtol=0), (
            f"{method.name}: sharded, {name} differs. Use parameters.align and part_like for what is laid out like a "
            "parameter, or say in `whole_only` why it needs whole weights."
        )
    return None


def _agrees_with(method: Mitigation, world: World, reference: Reference) -> None:
    """The second task ends at the weights that AdamW gives on the loss written out."""

    def second() -> tuple[Task, Chain]:
        chain, model = Chain([method]), world.model()
        for experience in world.tasks:
            model.add_task(experience)
        fine_tune(task_of(model, world.tasks[:1]), chain, TRAIN, Cost())
        return task_of(model, world.tasks[1:], world.tasks[:1]), chain

    task, chain = second()
    fine_tune(task, chain, TRAIN, Cost())
    ours = copied(task.model)
    task, chain = second()
    theirs = _by_adamw(task, method, chain, reference(task, chain.state[method.name]))
    for name, tensor in ours.items():
        assert torch.allclose(
            _determined(name, tensor), _determined(name, theirs[name]), atol=1e-6, rtol=0
        ), (
            f"{method.name} differs from its reference in {name} by {float((tensor - theirs[name]).abs().max()):.2g}."
        )


def _by_adamw(task: Task, method: Mitigation, chain: Chain, loss: Loss) -> dict[str, Tensor]:
    chain.start(task)
    for name, parameter in task.model.named_parameters():
        parameter.requires_grad_(name in task.model.tunable(task.stage[0]))
    method.shape_parameters(task, chain.state[method.name])
    trained = [parameter for parameter in task.model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=TRAIN.lr, betas=TRAIN.betas, weight_decay=TRAIN.weight_decay)
    (samples,) = task.sources
    task.model.train()
    order = torch.randperm(len(samples), generator=task.generator("order", 0))
    for number, indices in enumerate(order.split(TRAIN.batch_size)):
        optimizer.zero_grad()
        loss(samples.batch(indices), number).backward()
        optimizer.step()
    return copied(task.model)


def _determined(name: str, tensor: Tensor) -> Tensor:
    """Without the biases of attention's keys: their gradient is rounding alone, which AdamW turns into steps."""
    if not name.endswith("in_proj_bias"):
        return tensor
    query, _, value = tensor.chunk(3)
    return torch.cat([query, value])
