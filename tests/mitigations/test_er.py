"""ER: one batch of new and old samples written out, the memory, generic data."""

from __future__ import annotations

import pytest
import torch
from drive import (
    TASKS,
    TRAIN,
    Bigrams,
    Texts,
    assert_close,
    clip,
    distance,
    sentences,
    task_of,
    tuned,
    weights,
)
from drive import resumed as resume
from pydantic import ValidationError
from torch.nn import functional as F

from cl_forget.ground.records import Cost
from cl_forget.mitigations import Chain
from cl_forget.mitigations.er import ExperienceReplay
from cl_forget.mitigations.joint import Joint
from cl_forget.mitigations.shared import memory as _memory
from cl_forget.training.loop import fine_tune


def third_task():
    return task_of(clip(), TASKS[2:3], TASKS[:2])


def memory_of(size):
    """The state after two tasks."""
    state = ExperienceReplay.keeps()
    method = ExperienceReplay(memory=size)
    for number in (0, 1):
        method.end_task(task_of(clip(), TASKS[number : number + 1], TASKS[:number]), state)
    return state


def by_the_book(task, state, share, weigh_evenly=False):
    """The mean cross-entropy over the union of a batch and what is drawn for it."""
    model = task.model
    names = {n for e in (*TASKS[:2], TASKS[2]) for n in model.tunable(e)}
    parameters = [p.requires_grad_(True) for n, p in model.named_parameters() if n in names]
    optimizer = torch.optim.AdamW(parameters, lr=TRAIN.lr, weight_decay=0)
    number = 0
    for epoch in range(TRAIN.epochs):
        order = torch.randperm(len(task.sources[0]), generator=task.generator("order", epoch))
        for indices in order.split(TRAIN.batch_size):
            new = task.sources[0].batch(indices)
            mine = F.cross_entropy(model(new).logits, new.targets)
            old = []
            for draw in _memory.recall(task, round(share * TRAIN.batch_size), "er", number, state):
                batch = draw.source.batch(draw.indices)
                old.append(F.cross_entropy(model(batch).logits, batch.targets, reduction="none"))
            old = torch.cat(old)
            count = TRAIN.batch_size
            loss = (count * mine + old.sum()) / (count + len(old))
            if weigh_evenly:
                loss = mine + old.mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            number += 1
    return weights(model)


def ours(task, share, state):
    chain = Chain([ExperienceReplay(share=share, memory=10)])
    chain.state["er"] = {name: tensor.clone() for name, tensor in state.items()}
    fine_tune(task, chain, TRAIN, Cost())
    return weights(task.model)


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_agrees_with_the_mean_over_the_union(share) -> None:
    state = memory_of(10)
    book = by_the_book(third_task(), state, share)
    found = ours(third_task(), share, state)
    assert_close(found, book)
    assert distance(found, tuned(third_task())) > 1e-5
    if share == 0.3:
        assert distance(found, by_the_book(third_task(), state, share, weigh_evenly=True)) > 1e-5


def test_the_memory_is_of_a_fixed_size_and_even() -> None:
    state = memory_of(11)
    assert {name: len(indices) for name, indices in state.items()} == {
        "indices/squares-1": 5,
        "indices/squares-2": 5,
    }
    first = ExperienceReplay.keeps()
    ExperienceReplay(memory=11).end_task(task_of(clip(), TASKS[:1]), first)
    assert len(first["indices/squares-1"]) == 11
    assert torch.equal(first["indices/squares-1"][:5], state["indices/squares-1"])


def test_draws_are_uniform_over_the_memory_distinct_and_repeatable() -> None:
    task, state = third_task(), memory_of(20)
    counts = torch.zeros(2, 24)
    for number in range(300):
        for draw in _memory.recall(task, 6, "er", number, state):
            which = int(draw.source.experience.name[-1]) - 1
            assert len(draw.indices.unique()) == len(draw.indices)
            counts[which, draw.indices] += 1
    assert counts.sum() == 1800
    kept = counts[counts > 0]
    assert len(kept) == 20 and kept.min() > 50 and kept.max() < 140
    again = _memory.recall(task, 6, "er", 7, state), _memory.recall(task, 6, "er", 7, state)
    assert all(torch.equal(a.indices, b.indices) for a, b in zip(*again, strict=True))


def test_the_first_task_is_plain_training_to_the_bit() -> None:
    one, two = tuned(task_of(clip(), TASKS[:1]), ExperienceReplay()), tuned(task_of(clip(), TASKS[:1]))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_old_heads_learn_along() -> None:
    before, after = weights(clip()), ours(third_task(), 1.0, memory_of(10))
    assert not torch.equal(before["heads.squares-1.weight"], after["heads.squares-1.weight"])


def test_generic_data_is_replayed_from_the_first_task_on() -> None:
    cost, task = Cost(), task_of(clip(), TASKS[:1])
    fine_tune(task, Chain([ExperienceReplay(share=0.5, replay="colours")]), TRAIN, cost)
    assert cost.forward_samples == 48 + 6 * 5
    assert distance(weights(task.model), tuned(task_of(clip(), TASKS[:1]))) > 1e-5


def test_generic_data_leave_the_heads_of_earlier_tasks_alone() -> None:
    """Nothing of theirs is replayed: trained along, weight decay would shrink them."""
    decaying = TRAIN.model_copy(update={"weight_decay": 0.5})
    task = task_of(clip(), TASKS[2:3], TASKS[:2], train=decaying)
    before = weights(task.model)
    after = tuned(task, ExperienceReplay(replay="colours", share=0.5), train=decaying)
    for name in (n for e in TASKS[:2] for n in task.model.head_parameters(e)):
        assert torch.equal(before[name], after[name]), name
    assert not torch.equal(before["heads.squares-3.weight"], after["heads.squares-3.weight"])


def test_replays_text() -> None:
    """The old task is the same text here, so a whole memory at share 1 doubles each sample's part."""
    task = task_of(Bigrams(), [sentences()], sources=[Texts(sentences())])
    chain = Chain([ExperienceReplay(memory=8)])
    fine_tune(task, chain, TRAIN, Cost())
    later = task_of(Bigrams(), [sentences()], sources=[Texts(sentences())])
    later.past = [Texts(sentences())]
    fine_tune(later, chain, TRAIN, Cost())
    assert distance(weights(task.model), weights(later.model)) > 1e-6


def test_resumes_to_the_same_bits() -> None:
    resume(lambda: task_of(clip(), TASKS[:1]), ExperienceReplay())

    often = TRAIN.model_copy(update={"checkpoint_seconds": 1e-9})
    saved, results = {}, []

    def save(done, groups):
        saved[done] = {g: {n: t.detach().clone() for n, t in ts.items()} for g, ts in groups.items()}

    for go_on in (False, True):
        chain, task = Chain([ExperienceReplay(memory=10)]), third_task()
        chain.state["er"] = dict(saved[2]["state/er"]) if go_on else memory_of(10)
        fine_tune(task, chain, often, Cost(), resume=saved[2] if go_on else None, save=save)
        results.append(weights(task.model))
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


def test_goes_with_joint_and_joint_is_the_union(tiny_run) -> None:
    from cl_forget.run.simulate import simulate

    result = simulate(tiny_run(mitigations=["joint", {"er": {"replay": "colours"}}]))
    assert len(result.rows) == 2
    assert Joint().arrange([(TASKS[0],), (TASKS[1],)]) == [(TASKS[0], TASKS[1])]


@pytest.mark.parametrize("fields", [{"share": -1}, {"memory": 0}])
def test_bad_values_are_refused(fields) -> None:
    with pytest.raises(ValidationError):
        ExperienceReplay(**fields)
