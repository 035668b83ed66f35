"""DER++ against its sum written out."""

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
    moved,
    resumed,
    sentences,
    task_of,
    tuned,
    weights,
)
from pydantic import ValidationError
from torch.nn import functional as F

from cl_forget.ground.errors import UserError
from cl_forget.ground.records import Cost
from cl_forget.mitigations import Chain
from cl_forget.mitigations.derpp import DarkExperienceReplayPlus as DERpp
from cl_forget.mitigations.derpp import _stored
from cl_forget.mitigations.joint import Joint
from cl_forget.mitigations.shared import memory as _memory
from cl_forget.training.loop import fine_tune


def remembered(memory=10):
    """The state after two tasks, the model of each having other weights."""
    state, method = DERpp.keeps(), DERpp(memory=memory)
    for number in (0, 1):
        model = clip()
        moved(model, seed=number)
        method.end_task(task_of(model, TASKS[number : number + 1], TASKS[:number]), state)
    return state


def third_task():
    return task_of(clip(), TASKS[2:3], TASKS[:2])


def by_the_book(task, state, alpha, beta, one_draw=False):
    model = task.model
    names = {n for e in TASKS for n in model.tunable(e)}
    parameters = [p.requires_grad_(True) for n, p in model.named_parameters() if n in names]
    optimizer = torch.optim.AdamW(parameters, lr=TRAIN.lr, weight_decay=0)
    teachers = {}
    for number in (0, 1):
        teachers[f"squares-{number + 1}"] = clip()
        moved(teachers[f"squares-{number + 1}"], seed=number)
    number = 0
    for epoch in range(TRAIN.epochs):
        order = torch.randperm(len(task.sources[0]), generator=task.generator("order", epoch))
        for indices in order.split(TRAIN.batch_size):
            new = task.sources[0].batch(indices)
            loss = F.cross_entropy(model(new).logits, new.targets)
            logit_terms, label_terms = [], []
            for draw in _memory.recall(task, 10, "derpp logits", number, state):
                for index in draw.indices.tolist():
                    batch = draw.source.batch(torch.tensor([index]))
                    with torch.no_grad():
                        then = teachers[draw.source.experience.name](batch).logits
                    logit_terms.append(((model(batch).logits - then) ** 2).mean())
            purpose = "derpp logits" if one_draw else "derpp labels"
            for draw in _memory.recall(task, 10, purpose, number, state):
                batch = draw.source.batch(draw.indices)
                label_terms.extend(F.cross_entropy(model(batch).logits, batch.targets, reduction="none"))
            loss = loss + alpha * sum(logit_terms) / len(logit_terms)
            loss = loss + beta * sum(label_terms) / len(label_terms)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            number += 1
    return weights(model)


def ours(task, state, **fields):
    chain = Chain([DERpp(memory=20, **fields)])
    chain.state["derpp"] = {name: tensor.clone() for name, tensor in state.items()}
    fine_tune(task, chain, TRAIN, Cost())
    return weights(task.model)


def test_agrees_with_the_sum_and_draws_twice() -> None:
    state = remembered(20)
    found = ours(third_task(), state, alpha=0.01, beta=0.7)
    assert_close(found, by_the_book(third_task(), state, 0.01, 0.7))
    assert distance(found, by_the_book(third_task(), state, 0.01, 0.7, one_draw=True)) > 1e-6


def test_the_memory_keeps_the_logits_of_what_stays() -> None:
    state = remembered(11)
    assert {name: len(t) for name, t in state.items() if "logits" in name} == {
        "logits/squares-1": 5,
        "logits/squares-2": 5,
    }
    teacher = clip()
    moved(teacher, seed=0)
    batch = third_task().past[0].batch(state["indices/squares-1"])
    torch.testing.assert_close(state["logits/squares-1"], teacher(batch).logits.detach())


def test_units_of_text_find_their_logits() -> None:
    task = task_of(Bigrams(), [sentences()], sources=[Texts(sentences())])
    moved(task.model, by=1.0)
    state = DERpp.keeps()
    DERpp(memory=9).end_task(task, state)
    source = task.sources[0]
    slots = torch.tensor([4, 0, 7])
    batch = source.batch(state["indices/sentences"][slots])
    found = _stored(source, slots, batch, state)
    torch.testing.assert_close(found.logits, task.model(batch).logits.detach())


def test_the_first_task_is_plain_training_and_both_at_zero_are_absence() -> None:
    plain = tuned(task_of(clip(), TASKS[:1]))
    for method in (DERpp(), DERpp(alpha=0, beta=0)):
        one = tuned(task_of(clip(), TASKS[:1]), method)
        assert all(torch.equal(one[name], plain[name]) for name in one)
    assert list(Chain([DERpp(alpha=0, beta=0)])) == []
    assert len(list(Chain([DERpp(alpha=0)]))) == 1


def test_resumes_to_the_same_bits() -> None:
    resumed(lambda: task_of(clip(), TASKS[:1]), DERpp())


def test_resumes_inside_a_later_task() -> None:
    state = remembered()
    often = TRAIN.model_copy(update={"checkpoint_seconds": 1e-9})
    saved = {}

    def save(done, groups):
        saved[done] = {g: {n: t.detach().clone() for n, t in ts.items()} for g, ts in groups.items()}

    results = []
    for resume in (False, True):
        chain, task = Chain([DERpp(memory=10)]), third_task()
        chain.state["derpp"] = {
            n: t.clone() for n, t in (saved[2]["state/derpp"] if resume else state).items()
        }
        fine_tune(task, chain, often, Cost(), resume=saved[2] if resume else None, save=save)
        results.append(weights(task.model))
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


def test_joint_training_leaves_nothing_to_replay() -> None:
    with pytest.raises(UserError, match="already sees every task"):
        Chain([DERpp(), Joint()])


@pytest.mark.parametrize("fields", [{"alpha": -1}, {"beta": -1}, {"share": 0}, {"memory": 0}])
def test_bad_values_are_refused(fields) -> None:
    with pytest.raises(ValidationError):
        DERpp(**fields)
