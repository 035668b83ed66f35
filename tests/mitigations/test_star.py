"""STAR against its divergence at the worst move, written out."""

from __future__ import annotations

import math

import torch
from drive import TASKS, TRAIN, clip, moved, task_of
from torch.func import functional_call
from torch.nn import functional as F

from cl_forget.ground.records import Cost
from cl_forget.mitigations import Chain
from cl_forget.mitigations.er import ExperienceReplay
from cl_forget.mitigations.sam import SAM
from cl_forget.mitigations.star import NOISE, STAR
from cl_forget.testing import check_method
from cl_forget.training.loop import fine_tune

FIELDS = {"memory": 6, "strength": 2.0, "gamma": 0.1}


def written_out(task, state):
    """Cross-entropy plus λ·KL(p_θ‖p_{θ+δ}) over the old samples that are answered rightly."""
    model, head = task.model, task.past[0].experience.name
    kept = task.past[0].batch(
        state.indices[head][torch.randperm(6, generator=task.generator("star samples", 0))]
    )

    def loss(batch, number):
        order = torch.randperm(6, generator=task.generator("star samples", number))[: TRAIN.batch_size]
        old = task.past[0].batch(state.indices[head][order])
        own = {name: p for name, p in model.named_parameters() if p.requires_grad}
        before = model(old).logits.detach()
        right = before.argmax(1) == old.targets
        if not right.any():
            return model(batch).unit_losses().mean()

        def divergence(at):
            logits = functional_call(model, {name: p + at[name] for name, p in own.items()}, (old,)).logits
            return F.kl_div(logits.log_softmax(1), before.softmax(1), reduction="none").sum(1)[right].mean()

        def length(value, like, size):
            return size * like.norm() * value / (value.norm() + 1e-12) if like.ndim > 1 else 0 * value

        draw = task.generator("star", number)
        noise = {n: torch.randn(p.shape, generator=draw, dtype=torch.float64) for n, p in own.items()}
        start = {n: length(noise[n], p.detach(), NOISE * 0.1) for n, p in own.items()}
        found = torch.autograd.grad(divergence(start), list(own.values()), allow_unused=True)
        worst = {
            n: start[n] + length(torch.zeros_like(p) if g is None else g, p.detach(), 0.1)
            for (n, p), g in zip(own.items(), found, strict=True)
        }
        return model(batch).unit_losses().mean() + 2.0 * divergence(worst)

    assert len(kept) == 6
    return loss


def test_keeps_the_promises_of_all_methods_and_agrees_with_its_formula() -> None:
    report = check_method(STAR, FIELDS, reference=written_out)
    assert report.resumed is not None and report.language is None


def test_its_term_stands_in_the_log_and_in_the_loss_with_sam_too() -> None:
    for more in ([], [SAM(rho=0.1)], [ExperienceReplay(memory=6)]):
        model, chain, records = clip(), Chain([STAR(**FIELDS), *more]), []
        moved(model)
        chain.each("end_task", task_of(model, TASKS[:1]))
        fine_tune(task_of(model, TASKS[1:2], past=TASKS[:1]), chain, TRAIN, Cost(), log=records.append)
        assert any(record["terms"].get("star", 0) > 0 for record in records)
        for record in records:
            assert math.isclose(sum(record["terms"].values()), record["loss"], rel_tol=1e-6)
