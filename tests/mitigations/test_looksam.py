"""LookSAM against its algorithm written out on one flat vector."""

from __future__ import annotations

import pytest
import torch
from drive import TASKS, TRAIN, assert_close, clip, distance, resumed, task_of, tuned, weights
from pydantic import ValidationError
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from cl_forget.ground.records import Cost
from cl_forget.mitigations import Chain
from cl_forget.mitigations.looksam import LookSAM
from cl_forget.mitigations.sam import SAM
from cl_forget.training.loop import fine_tune


def by_the_book(task, rho, every, alpha):
    model = task.model
    parameters = [model.get_parameter(n).requires_grad_(True) for n in model.tunable(task.stage[0])]
    optimizer = torch.optim.AdamW(parameters, lr=TRAIN.lr, weight_decay=0)
    number = 0
    for epoch in range(TRAIN.epochs):
        order = torch.randperm(len(task.sources[0]), generator=task.generator("order", epoch))
        for indices in order.split(TRAIN.batch_size):
            batch = task.sources[0].batch(indices)

            def gradient(batch=batch):
                loss = F.cross_entropy(model(batch).logits, batch.targets)
                return torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)])

            g = gradient()
            if number % every == 0:
                theta = parameters_to_vector(parameters).detach().clone()
                vector_to_parameters(theta + rho * g / g.norm(), parameters)
                g_s = gradient()
                vector_to_parameters(theta, parameters)
                cosine = g @ g_s / (g.norm() * g_s.norm())
                g_v = g_s - g_s.norm() * cosine * g / g.norm()
                assert abs(float(g_v @ g)) < 1e-8 * float(g.norm() ** 2)
            else:
                g_s = g + alpha * g.norm() / g_v.norm() * g_v
            position = 0
            for parameter in parameters:
                parameter.grad = g_s[position : position + parameter.numel()].view_as(parameter).clone()
                position += parameter.numel()
            optimizer.step()
            number += 1
    return weights(model)


def test_agrees_with_the_algorithm() -> None:
    method = LookSAM(rho=0.2, every=3, alpha=0.7)
    ours = tuned(task_of(clip(), TASKS[:1]), method)
    assert_close(ours, by_the_book(task_of(clip(), TASKS[:1]), 0.2, 3, 0.7))
    assert distance(ours, tuned(task_of(clip(), TASKS[:1]), SAM(rho=0.2))) > 1e-5


def test_every_first_step_is_sam() -> None:
    one = tuned(task_of(clip(), TASKS[:1]), LookSAM(rho=0.2, every=1))
    two = tuned(task_of(clip(), TASKS[:1]), SAM(rho=0.2))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_costs_a_second_pass_every_k_steps_only() -> None:
    cost = Cost()
    fine_tune(task_of(clip(), TASKS[:1]), Chain([LookSAM(every=3)]), TRAIN, cost)
    assert cost.steps == 6
    assert cost.forward_samples == 48 + 10 + 10  # steps 0 and 3 see ten samples twice


@pytest.mark.parametrize("at", [1, 2, 4])
def test_resumes_to_the_same_bits_between_sam_steps(at) -> None:
    resumed(lambda: task_of(clip(), TASKS[:1]), LookSAM(every=3), at=at)


@pytest.mark.parametrize("fields", [{"every": 0}, {"alpha": -1}, {"rho": -1}])
def test_bad_values_are_refused(fields) -> None:
    with pytest.raises(ValidationError):
        LookSAM(**fields)
