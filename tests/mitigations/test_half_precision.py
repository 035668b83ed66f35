"""Under bfloat16 autocast the student is rounded; what it is compared with is not."""

from __future__ import annotations

import torch
from drive import TASKS, clip, moved, task_of
from torch.nn.functional import normalize

from cl_forget.mitigations.flyp import FLYP
from cl_forget.mitigations.flyp_ce import FLYPCrossEntropy
from cl_forget.mitigations.lwf import LearningWithoutForgetting
from cl_forget.mitigations.zscl import ZSCL
from cl_forget.training.context import Step
from cl_forget.training.frozen import FrozenModel


def second_task():
    """A task whose model has moved on from its frozen copies, in single precision."""
    model = clip().float()
    task = task_of(model, TASKS[1:2], past=TASKS[:1], base=FrozenModel(model))
    moved(model)
    return task


def step_under_autocast(task, batch) -> Step:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return Step(task, batch, task.model(batch), 0)


def test_the_old_heads_of_lwf_answer_in_full_precision() -> None:
    task, method, state = second_task(), LearningWithoutForgetting(), LearningWithoutForgetting.keeps()
    method.start_task(task, state)
    batch = task.sources[0].batch(torch.arange(8))
    step = step_under_autocast(task, batch)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        found = method.penalty(step, state)
        student = task.model.head_logits(TASKS[0], step.forward.embedding)
        rounded = task.model.heads[TASKS[0].name](normalize(step.forward.embedding, dim=-1))
    with torch.no_grad():
        before = (task.frozen.models["previous"].model(batch).embedding).float()
        teacher = task.frozen.models["previous"].model.head_logits(TASKS[0], before)
    assert rounded.dtype == torch.bfloat16 and torch.equal(student, rounded.float())
    log_p, log_q = (teacher / 2).log_softmax(1), (student / 2).log_softmax(1)
    torch.testing.assert_close(found, (log_p.exp() * (log_p - log_q)).sum(1).mean(), rtol=1e-5, atol=0)


def test_so_does_the_teacher_of_zscl() -> None:
    task, method, state = second_task(), ZSCL(reference="colours"), ZSCL.keeps()
    method.start_task(task, state)
    (extra,) = method.extra_batches(task, 0, state)
    step = step_under_autocast(task, extra.batch)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        found = extra.loss(step)
        now = (normalize(step.forward.embedding, dim=-1) @ state["head"].T).float() / 2
    with torch.no_grad():
        base = (
            normalize(task.frozen.models["pretrained"].model(extra.batch).embedding, dim=-1)
            @ state["head"].T
            / 2
        )
    expected = -4 * sum((base.softmax(d) * now.log_softmax(d)).sum(d).mean() for d in (0, 1))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)


def test_losses_of_images_are_taken_in_single_precision() -> None:
    """bfloat16 has three digits: a cross-entropy or a divergence between near distributions would be noise."""
    task = second_task()
    batch = task.sources[0].batch(torch.arange(8))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        forward = task.model(batch)
        assert forward.logits.dtype == torch.float32
        assert forward.unit_losses().dtype == torch.float32
        for method in (FLYP(), FLYPCrossEntropy()):
            assert method.objective(Step(task, batch, forward, 0), {}).dtype == torch.float32
