"""SI against its path integral written out."""

from __future__ import annotations

import copy

import pytest
import torch
from drive import TASKS, TRAIN, assert_close, clip, distance, resumed, task_of
from drive import weights as weights_of
from penalties import bowl_task, copied, descend, sequence
from pydantic import ValidationError
from torch.nn import functional as F

from cl_forget.ground.records import Cost
from cl_forget.mitigations import Chain
from cl_forget.mitigations.si import SynapticIntelligence
from cl_forget.run.simulate import simulate
from cl_forget.training.loop import fine_tune, restore_state

CLIPPED = TRAIN.model_copy(update={"clip": 0.5})


def naive_sequence(model, strength: float, damping: float, tasks: int):
    """AdamW, clipping, the penalty under autograd, ω = -Σ g·Δθ with the gradient of the task loss alone."""
    omega: dict = {}
    star: dict = {}
    found = []
    for index, experience in enumerate(TASKS[:tasks]):
        task = task_of(model, [experience], past=TASKS[:index], train=CLIPPED)
        names = model.tunable(experience)
        own = {n: p.requires_grad_(True) for n, p in model.named_parameters() if n in set(names)}
        optimizer = torch.optim.AdamW(own.values(), lr=CLIPPED.lr, weight_decay=0.0)
        start = {n: p.detach().clone() for n, p in own.items()}
        path = {n: torch.zeros_like(p) for n, p in own.items()}
        for epoch in range(CLIPPED.epochs):
            order = torch.randperm(24, generator=task.generator("order", epoch))
            for indices in order.split(CLIPPED.batch_size):
                batch = task.sources[0].batch(indices)
                embedding = F.normalize(model.encode(batch.inputs)[0], dim=-1)
                loss = F.cross_entropy(model.heads[experience.name](embedding), batch.targets)
                alone = torch.autograd.grad(loss, list(own.values()), retain_graph=True)
                for n, value in omega.items():
                    if n in own:
                        loss = loss + strength * (value * (own[n] - star[n]).square()).sum()
                before = {n: p.detach().clone() for n, p in own.items()}
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(own.values(), CLIPPED.clip)
                optimizer.step()
                for (n, p), g in zip(own.items(), alone, strict=True):
                    path[n] -= g * (p.detach() - before[n])
        model.requires_grad_(False).eval()
        for n, p in own.items():
            value = path[n].clamp_min(0) / ((p.detach() - start[n]).square() + damping)
            omega[n] = omega.get(n, 0.0) + value
        star = weights_of(model)
        found.append(star)
    return found, omega


def test_three_tasks_equal_the_path_integral_written_out() -> None:
    model = clip()
    expected, omega = naive_sequence(copy.deepcopy(model), 3.0, 1e-3, 3)
    found, chain = sequence(model, SynapticIntelligence(strength=3.0), train=CLIPPED, tasks=3)
    for one, two in zip(found, expected, strict=True):
        assert_close(one, two, atol=1e-6)
    state = chain.state["si"]
    assert set(state) == {kind + n for n in omega for kind in ("importance/", "pull/")}
    for name, value in omega.items():
        torch.testing.assert_close(state["importance/" + name], value, atol=1e-6, rtol=1e-6)
    assert distance(found[1], sequence(clip(), train=CLIPPED, tasks=2)[0][1]) > 1e-4


def test_importance_on_a_bowl_in_closed_form() -> None:
    """Small steps from θ0 to c on ½‖θ-c‖²: ω is the loss that was lost, ½(θ0-c)² in each direction."""
    task, target = bowl_task()
    method = SynapticIntelligence(damping=1e-3)
    chain = Chain([method])
    descend(task, chain=chain, steps=4000, rate=0.005)
    away = task.start["theta"] - target
    torch.testing.assert_close(chain.state["si"]["path/theta"], 0.5 * away.square(), rtol=5e-3, atol=1e-9)
    task.model.state_dict()
    method.end_task(task, chain.state["si"])
    expected = 0.5 * away.square() / (away.square() + 1e-3)
    torch.testing.assert_close(chain.state["si"]["importance/theta"], expected, rtol=5e-3, atol=1e-9)


def test_reaches_the_optimum_of_quadratics() -> None:
    first, _ = bowl_task()
    chain = Chain([SynapticIntelligence(strength=2.0)])
    star = descend(first, chain=chain)
    chain.each("end_task", first)
    omega = chain.state["si"]["importance/theta"].clone()
    second, target = bowl_task(index=1, start=star)
    found = descend(second, chain=chain, steps=3000)
    torch.testing.assert_close(found, (target + 4 * omega * star) / (1 + 4 * omega), atol=1e-6, rtol=0)


def test_the_penalised_gradient_is_another_path_integral() -> None:
    """The trap: with the penalty's own gradient in it, resisting counts as importance."""
    first, _ = bowl_task()
    chain = Chain([SynapticIntelligence(strength=5.0)])
    star = descend(first, chain=chain)
    chain.each("end_task", first)
    held = dict(chain.state["si"])
    second, target = bowl_task(index=1, start=star)
    found = descend(second, chain=chain, steps=3000, rate=0.01)
    right = chain.state["si"]["path/theta"]
    alone = 0.5 * ((star - target).square() - (found - target).square())
    penalty = 5.0 * held["importance/theta"] * (found - star).square()
    torch.testing.assert_close(right, alone, rtol=0.1, atol=1e-3)
    assert ((alone - penalty) - right).abs().max() > 0.1


def test_resumes_to_the_same_bits_and_importances() -> None:
    resumed(lambda: task_of(clip(), TASKS[:1]), SynapticIntelligence())
    model = clip()
    _, chain = sequence(model, SynapticIntelligence(), tasks=1)
    kept, saved, ends = dict(chain.state["si"]), {}, []
    often = TRAIN.model_copy(update={"checkpoint_seconds": 1e-9})
    for resume_at in (None, 3):
        chain = Chain([SynapticIntelligence()])
        chain.state["si"] = dict(kept)
        if resume_at:
            restore_state(chain, saved[resume_at])
        task = task_of(copy.deepcopy(model), [TASKS[1]], past=TASKS[:1])
        fine_tune(
            task, chain, often, Cost(), resume=saved.get(resume_at),
            save=lambda done, groups: saved.setdefault(done, copied(groups)),
        )  # fmt: skip
        ends.append({**weights_of(task.model), **chain.state["si"]})
    assert distance(*ends) == 0


def test_simulates_a_sequence(tiny_run) -> None:
    run = tiny_run(mitigations=[{"si": {"strength": 100.0}}], suites=[], probes=[])
    assert len(simulate(run).rows) == 4


@pytest.mark.parametrize("fields", [{"strength": -1}, {"damping": 0}, {"centre": "mean"}])
def test_bad_settings_are_refused(fields: dict) -> None:
    with pytest.raises(ValidationError):
        SynapticIntelligence(**fields)
