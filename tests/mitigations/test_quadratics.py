"""EWC and MAS: every task's penalty written out under autograd, their importances, the optimum of quadratics."""

from __future__ import annotations

import copy

import pytest
import torch
from drive import TASKS, TRAIN, Bigrams, assert_close, clip, distance, naive, resumed, sentences, task_of
from drive import weights as weights_of
from penalties import bowl_task, copied, descend, sequence
from pydantic import ValidationError
from torch.nn import functional as F

from cl_forget.ground.records import Cost
from cl_forget.mitigations import Chain
from cl_forget.mitigations.ewc import EWC
from cl_forget.mitigations.mas import MAS
from cl_forget.mitigations.shared.quadratic import merge
from cl_forget.training.loop import fine_tune, restore_state


def squared_gradient(forward):
    """What EWC takes the gradient of, and what it makes of a sample's gradient."""
    return forward.unit_losses().sum(), torch.square


def size_of_gradient(forward):
    """The same of MAS."""
    return forward.logits.square().sum(), torch.abs


def importance(of, model, source, names):
    """Mean over samples of a statistic of single-sample gradients."""
    total = dict.fromkeys(names, 0.0)
    for index in range(len(source)):
        parameters = [model.get_parameter(n).requires_grad_(True) for n in names]
        value, statistic = of(model(source.batch(torch.tensor([index]))))
        for name, grad in zip(names, torch.autograd.grad(value, parameters), strict=True):
            total[name] = total[name] + statistic(grad) / len(source)
    model.requires_grad_(False)
    return total


BOTH = [
    pytest.param(EWC(strength=50.0, samples=None), squared_gradient, id="ewc"),
    pytest.param(MAS(strength=0.5, samples=None), size_of_gradient, id="mas"),
]


@pytest.mark.parametrize("centre", ["each", "latest"])
@pytest.mark.parametrize(("method", "of"), BOTH)
def test_two_past_tasks_equal_their_penalties_under_autograd(method, of, centre: str) -> None:
    model = clip()
    twin = copy.deepcopy(model)
    found, chain = sequence(model, method.model_copy(update={"centre": centre}), tasks=3)

    past: list[tuple[dict, dict]] = []
    for index, experience in enumerate(TASKS):
        task = task_of(twin, [experience], past=TASKS[:index])

        def loss(images, targets, indices, number, head=experience.name):
            embedding = F.normalize(twin.encode(images)[0], dim=-1)
            total = F.cross_entropy(twin.heads[head](embedding), targets)
            own = dict(twin.named_parameters())
            for weight, star in past:
                star = past[-1][1] if centre == "latest" else star
                for name, value in weight.items():
                    total = total + method.strength * (value * (own[name] - star[name]).square()).sum()
            return total

        assert_close(found[index], naive(task, loss), atol=1e-6)
        twin.requires_grad_(False).eval()
        past.append((importance(of, twin, task.sources[0], twin.tunable(experience)), weights_of(twin)))
    # One pair of tensors for each parameter of the trunk, however many tasks.
    trunk = [key for key in chain.state[method.name] if "visual" in key]
    assert len(trunk) == 2 * sum(name.startswith("clip.visual") for name in model.tunable(TASKS[0]))


@pytest.mark.parametrize("kind", [EWC, MAS])
def test_the_first_task_is_free_unless_a_prior_is_given(kind) -> None:
    plain, _ = sequence(clip(), tasks=1)
    free, _ = sequence(clip(), kind(strength=100.0), tasks=1)
    prior, _ = sequence(clip(), kind(strength=100.0, prior="task"), tasks=1)
    assert distance(plain[0], free[0]) == 0
    assert distance(plain[0], prior[0]) > 1e-4
    suite, _ = sequence(clip(), kind(strength=100.0, prior="colours"), tasks=1)
    assert distance(plain[0], suite[0]) > 1e-4 and distance(prior[0], suite[0]) > 1e-4


def test_merged_quadratic_is_the_sum_over_tasks_and_does_not_grow() -> None:
    generator = torch.Generator().manual_seed(0)
    state, parts, sizes = EWC.keeps(), [], []
    for _ in range(10):
        fisher = torch.rand(5, generator=generator, dtype=torch.float64)
        star = torch.randn(5, generator=generator, dtype=torch.float64)
        merge(state, {"theta": fisher}, {"theta": star}, "each")
        parts.append((fisher, star))
        sizes.append(len(state))
    theta = torch.randn(5, generator=generator, dtype=torch.float64, requires_grad=True)
    sum((f * (theta - s).square()).sum() for f, s in parts).backward()
    merged = 2 * (state["importance/theta"] * theta - state["pull/theta"])
    torch.testing.assert_close(merged, theta.grad)
    assert sizes[0] == sizes[-1] == 2


def test_reaches_the_optimum_of_quadratics() -> None:
    """min ½‖θ-c‖² + λ ΣF_t(θ-θ*_t)² lies at (c + 2λΣF_tθ*_t) / (1 + 2λΣF_t)."""
    task, target = bowl_task()
    chain = Chain([EWC(strength=2.0)])
    stars, fishers = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    fishers = fishers.square()
    for fisher, star in zip(fishers, stars, strict=True):
        merge(chain.state["ewc"], {"theta": fisher}, {"theta": star}, "each")
    found = descend(task, chain=chain, steps=4000, rate=0.01)
    expected = (target + 4 * (fishers * stars).sum(0)) / (1 + 4 * fishers.sum(0))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_strength_means_the_same_at_every_batch_size() -> None:
    """F does not see the batch size; the squared gradient of a batch mean does."""
    model = clip(TASKS[:1])
    importance = []
    for size in (4, 24):
        task = task_of(model, TASKS[:1], train=TRAIN.model_copy(update={"batch_size": size}))
        state = EWC.keeps()
        EWC(samples=None).end_task(task, state)
        importance.append(state["importance/clip.visual.conv1.weight"])
        wrong = []
        parameter = model.clip.visual.conv1.weight.requires_grad_(True)
        order = torch.randperm(24, generator=torch.Generator().manual_seed(0))
        for indices in order.split(size):
            loss = model(task.sources[0].batch(indices)).unit_losses().mean()
            wrong.append(torch.autograd.grad(loss, parameter)[0].square())
        parameter.requires_grad_(False)
        assert torch.stack(wrong).mean(0).sum() < 0.9 * importance[-1].sum()
    assert torch.equal(importance[0], importance[1])


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


def test_works_on_units_of_a_sample() -> None:
    """A sequence counts by the mean over its tokens; no head is needed."""
    model = Bigrams()
    task = task_of(model, [sentences()])
    state = EWC.keeps()
    EWC(samples=None, fisher="empirical").end_task(task, state)
    total = torch.zeros_like(model.table.weight)
    parameter = model.table.weight.requires_grad_(True)
    for index in range(len(task.sources[0])):
        loss = model(task.sources[0].batch(torch.tensor([index]))).unit_losses().mean()
        total += torch.autograd.grad(loss, parameter)[0].square() / len(task.sources[0])
    torch.testing.assert_close(state["importance/table.weight"], total)


@pytest.mark.parametrize("kind", [EWC, MAS])
def test_resumes_to_the_same_bits(kind) -> None:
    model = clip()
    _, chain = sequence(model, kind(strength=50.0), tasks=1)
    kept = dict(chain.state[kind.name])

    def make():
        return task_of(copy.deepcopy(model), [TASKS[1]], past=TASKS[:1])

    whole = Chain([kind(strength=50.0)])
    whole.state[kind.name] = dict(kept)
    saved = {}
    often = TRAIN.model_copy(update={"checkpoint_seconds": 1e-9})
    one = make()
    fine_tune(one, whole, often, Cost(), save=lambda done, groups: saved.setdefault(done, copied(groups)))
    again, two = Chain([kind(strength=50.0)]), make()
    restore_state(again, saved[3])
    fine_tune(two, again, TRAIN, Cost(), resume=saved[3])
    assert distance(weights_of(one.model), weights_of(two.model)) == 0
    assert distance(whole.state[kind.name], again.state[kind.name]) == 0
    resumed(lambda: task_of(clip(), TASKS[:1]), kind(strength=50.0, prior="task", samples=5))


@pytest.mark.parametrize("kind", [EWC, MAS])
@pytest.mark.parametrize("fields", [{"strength": -1}, {"samples": 0}, {"centre": "mean"}, {"lambda": 1}])
def test_bad_settings_are_refused(kind, fields: dict) -> None:
    with pytest.raises(ValidationError):
        kind(**fields)


def test_labels_of_the_fisher_information_are_the_datas_or_the_models() -> None:
    state = {}
    for fisher in ("empirical", "true"):
        state[fisher] = EWC.keeps()
        EWC(fisher=fisher, samples=None).end_task(task_of(clip(TASKS[:1]), TASKS[:1]), state[fisher])
    assert distance(state["empirical"], state["true"]) > 0
    with pytest.raises(ValidationError):
        EWC(fisher="guess")
