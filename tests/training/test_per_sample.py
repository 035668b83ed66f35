from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny import colours, experience, tiny_clip

from cl_forget.ground.records import Cost
from cl_forget.models.clip import ClipModel
from cl_forget.training.per_sample import PerSample, fisher, mean_per_sample

TASKS = [experience("one", 1, per_class=5), experience("two", 2, per_class=3)]


def setting() -> tuple[ClipModel, list, list[str]]:
    model = tiny_clip().double().eval()
    for task in TASKS:
        model.add_task(task)
    sources = [model.prepare(task.train, task, "train") for task in TASKS]
    names = model.tunable(TASKS[0]) + model.head_parameters(TASKS[1])
    return model, sources, names


def one_by_one(model, sources, names, statistic=torch.square):
    """Single-sample backward passes, written out."""
    total = {name: torch.zeros_like(model.get_parameter(name)) for name in names}
    count = 0
    for source in sources:
        for index in range(len(source)):
            for name in names:
                model.get_parameter(name).requires_grad_(True).grad = None
            model(source.batch(torch.tensor([index]))).unit_losses().sum().backward()
            for name in names:
                grad = model.get_parameter(name).grad
                total[name] += 0 if grad is None else statistic(grad)
            count += 1
    for parameter in model.parameters():
        parameter.requires_grad_(False).grad = None
    return {name: value / count for name, value in total.items()}


@pytest.mark.parametrize("vectorised", [True, False])
def test_fisher_equals_single_sample_backward_passes(vectorised: bool) -> None:
    model, sources, names = setting()
    expected = one_by_one(model, sources, names)
    cost = Cost()
    found = fisher(PerSample(model, sources, names, cost=cost, vectorised=vectorised))
    assert found.keys() == expected.keys()
    for name in names:
        torch.testing.assert_close(found[name], expected[name], atol=1e-10, rtol=1e-8)
    assert cost.forward_samples == cost.backward_samples == sum(map(len, sources))
    assert not model.training and all(p.grad is None and not p.requires_grad for p in model.parameters())


def test_the_size_of_chunks_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    model, sources, names = setting()
    whole = fisher(
        PerSample(model, sources, names, generator=torch.Generator().manual_seed(5)), labels="true"
    )
    monkeypatch.setattr("cl_forget.training.per_sample.CHUNK_SAMPLES", 4)
    parts = fisher(
        PerSample(model, sources, names, generator=torch.Generator().manual_seed(5)), labels="true"
    )
    for name in names:
        torch.testing.assert_close(whole[name], parts[name], atol=1e-10, rtol=1e-8)


def test_squaring_the_gradient_of_a_batch_mean_is_another_thing() -> None:
    """The trap: it shrinks with the batch size."""
    model, sources, _ = setting()
    name = "heads.one.weight"
    right = fisher(PerSample(model, sources[:1], [name]))[name].sum()
    wrong = []
    for size in (1, 3, 15):
        parts = torch.arange(15).split(size)
        squares = 0.0
        for part in parts:
            parameter = model.get_parameter(name).requires_grad_(True)
            loss = model(sources[0].batch(part)).unit_losses().mean()
            squares += torch.autograd.grad(loss, parameter)[0].square().sum().item() / len(parts)
        wrong.append(squares)
    assert wrong[0] == pytest.approx(right.item())
    assert wrong[0] > 1.05 * wrong[1] > 1.05 * wrong[2]


def test_true_fisher_of_a_softmax_head_in_closed_form() -> None:
    """For logits Wz the Fisher information of the bias is mean p(1-p); drawn labels come close to it."""
    model, sources, _ = setting()
    source, name = sources[0], "heads.one.bias"
    many = replace_length(source, 2000)
    found = fisher(
        PerSample(model, [many], [name], generator=torch.Generator().manual_seed(1)), labels="true"
    )[name]
    probabilities = model(source.batch(torch.arange(len(source)))).logits.softmax(-1)
    expected = (probabilities * (1 - probabilities)).mean(0)
    torch.testing.assert_close(found, expected, rtol=0.1, atol=0.01)


def replace_length(source, length: int):
    """The same samples again and again."""

    class Repeated(type(source)):
        def __init__(self) -> None:
            self.__dict__.update(source.__dict__)

        def __len__(self) -> int:
            return length

        def batch(self, indices, generator=None):
            return replace(source.batch(indices % len(source)), samples=self)

        def plain(self):
            return self

    return Repeated()


def test_a_sample_limit_draws_by_its_generator() -> None:
    model, sources, names = setting()
    draw = [
        fisher(PerSample(model, sources, names, samples=6, generator=torch.Generator().manual_seed(s)))
        for s in (0, 0, 1)
    ]
    assert all(torch.equal(draw[0][name], draw[1][name]) for name in names)
    assert any(not torch.equal(draw[0][name], draw[2][name]) for name in names)


def test_data_without_a_head_of_their_own_and_another_point() -> None:
    """A suite is answered by a classifier made on the fly; the model's own weights stay as they are."""
    model, _, _ = setting()
    suite = colours()
    source = model.prepare(suite.validation, suite, "validation")
    names = [name for name in model.tunable(TASKS[0]) if name.startswith("clip.")]
    point = {n: t + 0.01 if n in names else t.clone() for n, t in model.state_dict().items()}
    before = {n: t.clone() for n, t in model.state_dict().items()}
    found = mean_per_sample(
        PerSample(model, [source], names, weights=point), lambda f: f.unit_losses(), torch.square
    )
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    model.load_state_dict(point)
    expected = one_by_one(model, [source], names)
    for name in names:
        torch.testing.assert_close(found[name], expected[name], atol=1e-10, rtol=1e-8)
