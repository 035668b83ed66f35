"""SAM against two passes written out, and each way of getting it wrong."""

from __future__ import annotations

import copy

import pytest
import torch
from drive import TASKS, TRAIN, assert_close, clip, distance, moved, resumed, task_of, tuned, weights
from pydantic import ValidationError
from tiny import tiny_clip
from torch import nn
from torch.nn import functional as F

from cl_forget.ground.errors import UserError
from cl_forget.ground.records import Cost
from cl_forget.mitigations import Chain
from cl_forget.mitigations.asam import ASAM
from cl_forget.mitigations.l2_sp import L2SP
from cl_forget.mitigations.looksam import LookSAM
from cl_forget.mitigations.sam import SAM
from cl_forget.models.clip import ClipModel
from cl_forget.training.frozen import FrozenModel
from cl_forget.training.loop import fine_tune
from cl_forget.training.options import Training


def two_passes(task, rho, train=TRAIN, penalty=0.0, per_tensor=False, micro=None):
    """SAM by the book: collect g, move, collect again, move back, step."""
    model = task.model
    parameters = [model.get_parameter(name) for name in model.tunable(task.stage[0])]
    for parameter in parameters:
        parameter.requires_grad_(True)
    model.train()
    start = [task.pretrained[name] for name in model.tunable(task.stage[0])]
    optimizer = torch.optim.AdamW(parameters, lr=train.lr, weight_decay=train.weight_decay)

    def gradients(indices, number):
        torch.manual_seed(task.generator("dropout", number).initial_seed())
        optimizer.zero_grad()
        for part in indices.split(micro or len(indices)):
            batch = task.sources[0].batch(part)
            loss = F.cross_entropy(model(batch).logits, batch.targets) * len(part) / len(indices)
            loss.backward()
        if penalty:
            sum(((p - s) ** 2).sum() for p, s in zip(parameters, start, strict=True)).mul(penalty).backward()
        return [parameter.grad.clone() for parameter in parameters]

    number = 0
    for epoch in range(train.epochs):
        order = torch.randperm(len(task.sources[0]), generator=task.generator("order", epoch))
        for indices in order.split(train.batch_size):
            g = gradients(indices, number)
            length = torch.sqrt(sum((x**2).sum() for x in g))
            before = [parameter.detach().clone() for parameter in parameters]
            with torch.no_grad():
                for parameter, x in zip(parameters, g, strict=True):
                    parameter += rho * x / (x.norm() + 1e-30 if per_tensor else length)
            gradients(indices, number)
            with torch.no_grad():
                for parameter, value in zip(parameters, before, strict=True):
                    parameter.copy_(value)
            optimizer.step()
            number += 1
    return weights(model)


def test_agrees_with_two_passes_and_not_with_norms_per_tensor() -> None:
    ours = tuned(task_of(clip(), TASKS[:1]), SAM(rho=0.1))
    assert_close(ours, two_passes(task_of(clip(), TASKS[:1]), 0.1))
    assert distance(ours, two_passes(task_of(clip(), TASKS[:1]), 0.1, per_tensor=True)) > 1e-5


def test_the_perturbation_sees_every_micro_batch() -> None:
    train = TRAIN.model_copy(update={"micro_batch_size": 5})
    ours = tuned(task_of(clip(), TASKS[:1], train=train), SAM(rho=0.1), train=train)
    assert_close(ours, two_passes(task_of(clip(), TASKS[:1]), 0.1, micro=5))
    assert_close(ours, tuned(task_of(clip(), TASKS[:1]), SAM(rho=0.1)))


def test_both_passes_include_closed_form_penalties() -> None:
    def task():
        model = clip()
        base = FrozenModel(model)
        moved(model)  # so that no gradient is zero but for rounding, which Adam would blow up
        return task_of(model, TASKS[:1], base=base)

    ours = tuned(task(), SAM(rho=0.1), L2SP(strength=3.0))
    assert_close(ours, two_passes(task(), 0.1, penalty=3.0))
    assert distance(ours, two_passes(task(), 0.1)) > 1e-5


def test_both_passes_draw_the_same_dropout_masks() -> None:
    def task():
        model = clip()
        model.clip.visual.ln_post = nn.Sequential(model.clip.visual.ln_post, nn.Dropout(0.4))
        return task_of(model, TASKS[:1])

    assert_close(tuned(task(), SAM(rho=0.1)), two_passes(task(), 0.1))


def test_on_a_bowl_the_step_is_at_the_known_point() -> None:
    """L = ½θᵀHθ: the gradient at θ + ρ·g/‖g‖ is Hθ + ρ·H²θ/‖Hθ‖."""
    from types import SimpleNamespace

    from cl_forget.training.context import Trainable, Update
    from cl_forget.training.workers import Workers

    h = torch.tensor([1.0, 10.0], dtype=torch.float64)
    parts = [nn.Parameter(torch.tensor([x], dtype=torch.float64)) for x in (3.0, -0.5)]

    def gradient():
        for parameter, curvature in zip(parts, h, strict=True):
            parameter.grad = (curvature * parameter).detach()
        return sum((c * p**2 / 2).sum() for c, p in zip(h, parts, strict=True)).detach()

    task = SimpleNamespace(model=nn.Module(), workers=Workers())
    update = Update(task, Trainable(["a", "b"], parts), None, 0)
    loss = SAM(rho=0.3).around_gradient(update, gradient, {})
    theta = torch.tensor([3.0, -0.5], dtype=torch.float64)
    g = h * theta
    expected = g + 0.3 * h * g / g.norm()
    torch.testing.assert_close(torch.cat([p.grad for p in parts]), expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(loss, (h * theta**2 / 2).sum())
    assert torch.equal(torch.cat([p.detach() for p in parts]), theta)


def resnet() -> ClipModel:
    """open_clip's ModifiedResNet, four blocks of one, so that there is BatchNorm."""
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
    from open_clip.transform import image_transform

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        tower = CLIP(
            embed_dim=16,
            vision_cfg=CLIPVisionCfg(layers=(1, 1, 1, 1), width=4, head_width=16, image_size=32),
            text_cfg=CLIPTextCfg(context_length=16, width=32, heads=2, layers=1),
        )
    model = ClipModel(tower, image_transform(32, is_train=False), tiny_clip()._tokenizer)
    model.spec = "tiny-resnet"
    model.add_task(TASKS[0])
    return model.double()


def statistics(found):
    return {name: tensor for name, tensor in found.items() if "running" in name or "num_batches" in name}


@pytest.mark.parametrize("method", [SAM(rho=0.5), ASAM(rho=0.5), LookSAM(rho=0.5)])
def test_the_second_pass_leaves_batch_norm_statistics_alone(method) -> None:
    once = TRAIN.model_copy(update={"epochs": 1, "batch_size": 24, "batch_norm": "update"})
    task = task_of(resnet(), TASKS[:1], train=once)
    ours = statistics(tuned(task, method, train=once))
    plain = statistics(tuned(task_of(resnet(), TASKS[:1], train=once), train=once))
    assert plain
    assert all(torch.equal(ours[name], tensor) for name, tensor in plain.items())
    assert int(ours["clip.visual.bn1.num_batches_tracked"]) == 1

    wrong = resnet()  # two plain passes move them twice
    batch = task_of(wrong, TASKS[:1]).sources[0].batch(torch.arange(24))
    wrong.train()
    wrong(batch), wrong(batch)
    assert int(wrong.state_dict()["clip.visual.bn1.num_batches_tracked"]) == 2


def test_weights_come_back_to_the_bit_where_subtraction_would_round() -> None:
    model = clip().float()
    task = task_of(model, TASKS[:1])
    still = Training(**{**TRAIN.model_dump(), "lr": 1e-30, "epochs": 1})
    before = weights(model)
    after = tuned(task, SAM(rho=2.0), train=still)
    assert distance(before, after) <= 1e-29  # the step itself; any rounding would be far larger
    noise = {name: 1e-3 * torch.randn_like(x) for name, x in before.items() if x.is_floating_point()}
    assert any(not torch.equal(before[n] + e - e, before[n]) for n, e in noise.items())


def test_costs_two_steps_and_zero_costs_one_and_is_plain() -> None:
    cost, plain = Cost(), Cost()
    fine_tune(task_of(clip(), TASKS[:1]), Chain([SAM(rho=0.1)]), TRAIN, cost)
    task = task_of(clip(), TASKS[:1])
    fine_tune(task, Chain([SAM(rho=0)]), TRAIN, plain)
    assert (cost.forward_samples, cost.samples_seen) == (2 * plain.forward_samples, plain.samples_seen)
    untouched = tuned(task_of(clip(), TASKS[:1]))
    assert all(torch.equal(weights(task.model)[name], tensor) for name, tensor in untouched.items())


def test_resumes_to_the_same_bits() -> None:
    resumed(lambda: task_of(clip(), TASKS[:1]), SAM())


def test_the_three_exclude_each_other() -> None:
    for pair in ([SAM(), ASAM()], [SAM(), LookSAM()], [LookSAM(), ASAM()]):
        with pytest.raises(UserError, match="both decide the point of the gradient"):
            Chain(copy.deepcopy(pair))


@pytest.mark.parametrize("fields", [{"rho": -1}, {"rho": float("nan")}, {"rho": 1e9}, {"radius": 1}])
def test_bad_values_are_refused(fields) -> None:
    with pytest.raises(ValidationError):
        SAM(**fields)


def test_runs_over_a_sequence(tiny_run) -> None:
    from cl_forget.run.simulate import simulate

    result = simulate(tiny_run(mitigations=["sam"]))
    assert result.rows[-1].cost.forward_samples == 2 * result.rows[-1].cost.samples_seen
