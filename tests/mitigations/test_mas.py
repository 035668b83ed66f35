"""MAS against its penalty written out under autograd."""

from __future__ import annotations

import copy

import pytest
import torch
from drive import TASKS, assert_close, clip, distance, naive, resumed, task_of
from drive import weights as weights_of
from penalties import sequence
from pydantic import ValidationError
from torch.nn import functional as F

from cl_forget.mitigations.mas import MAS
from cl_forget.run.simulate import simulate


def naive_importance(model, source, names):
    """Mean of absolute single-sample gradients of the squared norm of the logits."""
    total = dict.fromkeys(names, 0.0)
    for index in range(len(source)):
        parameters = [model.get_parameter(n).requires_grad_(True) for n in names]
        norm = model(source.batch(torch.tensor([index]))).logits.square().sum()
        for name, grad in zip(names, torch.autograd.grad(norm, parameters), strict=True):
            total[name] = total[name] + grad.abs() / len(source)
    model.requires_grad_(False)
    return total


@pytest.mark.parametrize("centre", ["latest", "each"])
def test_two_past_tasks_equal_their_penalties_under_autograd(centre: str) -> None:
    model = clip()
    twin = copy.deepcopy(model)
    found, chain = sequence(model, MAS(strength=0.5, samples=None, centre=centre), tasks=3)
    past: list[tuple[dict, dict]] = []
    for index, experience in enumerate(TASKS):
        task = task_of(twin, [experience], past=TASKS[:index])

        def loss(images, targets, indices, number, head=experience.name):
            embedding = F.normalize(twin.encode(images)[0], dim=-1)
            total = F.cross_entropy(twin.heads[head](embedding), targets)
            own = dict(twin.named_parameters())
            for importance, star in past:
                star = past[-1][1] if centre == "latest" else star
                for name, value in importance.items():
                    total = total + 0.5 * (value * (own[name] - star[name]).square()).sum()
            return total

        assert_close(found[index], naive(task, loss), atol=1e-6)
        twin.requires_grad_(False).eval()
        names = twin.tunable(experience)
        past.append((naive_importance(twin, task.sources[0], names), weights_of(twin)))
    # One pair of tensors for each parameter of the trunk, however many tasks.
    trunk = [key for key in chain.state["mas"] if "visual" in key]
    assert len(trunk) == 2 * sum(name.startswith("clip.visual") for name in model.tunable(TASKS[0]))


def test_the_mean_gradient_is_another_importance() -> None:
    """The trap: absolute values of a batch-mean gradient cancel between samples."""
    model = clip(TASKS[:1])
    task = task_of(model, TASKS[:1])
    state = MAS.keeps()
    MAS(samples=None).end_task(task, state)
    parameter = model.clip.visual.proj.requires_grad_(True)
    logits = model(task.sources[0].batch(torch.arange(len(task.sources[0])))).logits
    wrong = torch.autograd.grad(logits.square().sum(-1).mean(), parameter)[0].abs()
    assert wrong.sum() < 0.99 * state["importance/clip.visual.proj"].sum()


def test_prior_protects_the_first_task_and_resumes() -> None:
    plain, _ = sequence(clip(), tasks=1)
    free, _ = sequence(clip(), MAS(strength=1.0), tasks=1)
    prior, _ = sequence(clip(), MAS(strength=1.0, prior="task"), tasks=1)
    assert distance(plain[0], free[0]) == 0 and distance(plain[0], prior[0]) > 1e-4
    resumed(lambda: task_of(clip(), TASKS[:1]), MAS(strength=1.0, prior="task", samples=5))


def test_simulates_a_sequence(tiny_run) -> None:
    run = tiny_run(mitigations=[{"mas": {"strength": 100.0}}], suites=[], probes=[])
    assert len(simulate(run).rows) == 4


@pytest.mark.parametrize("fields", [{"strength": -1}, {"samples": 0}, {"centre": "mean"}])
def test_bad_settings_are_refused(fields: dict) -> None:
    with pytest.raises(ValidationError):
        MAS(**fields)
