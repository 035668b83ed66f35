"""Early stopping against a loop that looks at every check with hindsight."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from drive import TASKS, TRAIN, clip, resumed, task_of, tuned, weights
from pydantic import ValidationError
from test_sam import resnet
from torch.nn import functional as F

from cl_forget.ground.records import Cost
from cl_forget.mitigations import Chain
from cl_forget.mitigations.early_stopping import EarlyStopping
from cl_forget.mitigations.lora import LoRA
from cl_forget.training.loop import fine_tune

# Fast enough to overshoot; BatchNorm's statistics move with every step.
FAST = TRAIN.model_copy(update={"epochs": 6, "lr": 2e-2, "batch_norm": "update"})


def world(make=clip, train=FAST, validate=None):
    task = task_of(make(), TASKS[:1], train=train)
    experience = validate or TASKS[0]
    task.validation = [task.model.prepare(experience.validation, TASKS[0], "validation")]
    return task


def history(train, make=clip):
    """(accuracy, loss, weights) on validation after every step of plain training, and the number of steps."""
    task, rows = world(make, train), []
    batch = task.validation[0].batch(torch.arange(len(task.validation[0])))
    parameters = [task.model.get_parameter(n).requires_grad_(True) for n in task.model.tunable(TASKS[0])]
    optimizer = torch.optim.AdamW(parameters, lr=train.lr, weight_decay=0)
    for epoch in range(train.epochs):
        order = torch.randperm(len(task.sources[0]), generator=task.generator("order", epoch))
        for indices in order.split(train.batch_size):
            new = task.sources[0].batch(indices)
            task.model.train()
            optimizer.zero_grad()
            F.cross_entropy(task.model(new).logits, new.targets).backward()
            optimizer.step()
            task.model.eval()
            with torch.no_grad():
                logits = task.model(batch).logits
                right = float((logits.argmax(1) == batch.targets).double().mean())
                rows.append((right, float(F.cross_entropy(logits, batch.targets)), weights(task.model)))
    return rows


def with_hindsight(rows, every, patience, measure):
    """(the step the best check is at, steps taken)."""
    best, stale, at = None, 0, None
    for step in range(1, len(rows) + 1):
        if step % every and step < len(rows):
            continue
        score = rows[step - 1][0] if measure == "accuracy" else -rows[step - 1][1]
        if best is None or score > best:
            best, stale, at = score, 0, step
        else:
            stale += 1
        if stale >= patience:
            return at, step
    return at, len(rows)


@pytest.mark.parametrize("measure", ["accuracy", "loss"])
@pytest.mark.parametrize(("every", "patience"), [(1, 2), (2, 1), (None, 2), (5, 100)])
def test_stops_when_a_look_back_would_and_keeps_the_best(every, patience, measure) -> None:
    rows = _rows()
    at, steps = with_hindsight(rows, every or 3, patience, measure)
    cost, task = Cost(), world()
    fine_tune(task, Chain([EarlyStopping(patience=patience, every=every, measure=measure)]), FAST, cost)
    assert cost.steps == steps
    for name, tensor in weights(task.model).items():
        torch.testing.assert_close(tensor, rows[at - 1][2][name], atol=1e-6, rtol=0)
    checks = steps // (every or 3) + bool(steps % (every or 3))
    assert cost.forward_samples == cost.samples_seen + 12 * checks  # 12 validation images
    assert cost.backward_samples == cost.samples_seen


_known = {}


def _rows():
    if not _known:
        _known["rows"] = history(FAST)
    return _known["rows"]


def test_reads_validation_and_neither_test_nor_training_data() -> None:
    wrong = dataclasses.replace(TASKS[0], test=TASKS[1].validation)
    task = world(validate=wrong)
    ours = tuned(task, EarlyStopping(every=1), train=FAST)
    same = tuned(world(), EarlyStopping(every=1), train=FAST)
    assert all(torch.equal(ours[name], same[name]) for name in same)
    task = world()
    task.sources[0].plain  # noqa: B018  (training data is there, but only the step reads it)
    labels = 2 - torch.from_numpy(TASKS[0].validation.labels)
    task.validation[0].targets = labels
    other = tuned(task, EarlyStopping(every=1, measure="loss"), train=FAST)
    plain = tuned(world(), EarlyStopping(every=1, measure="loss"), train=FAST)
    assert any(not torch.equal(other[name], plain[name]) for name in plain)


def test_batch_norm_statistics_come_back_with_the_weights() -> None:
    rows = history(FAST, resnet)
    at, _ = with_hindsight(rows, 1, 2, "loss")
    ours = tuned(world(resnet), EarlyStopping(every=1, patience=2, measure="loss"), train=FAST)
    assert int(ours["clip.visual.bn1.num_batches_tracked"]) == at


def test_works_on_adapters() -> None:
    ours = tuned(world(), LoRA(rank=4), EarlyStopping(every=2, patience=1, measure="loss"), train=FAST)
    assert list(ours) == list(weights(clip()))


@pytest.mark.parametrize("at", [1, 3])
def test_resumes_to_the_same_bits_and_counts(at) -> None:
    resumed(world, EarlyStopping(every=2, patience=2, measure="loss"), at=at, train=FAST)
    resumed(lambda: world(resnet), EarlyStopping(every=1, patience=2, measure="loss"), at=at, train=FAST)


def test_without_a_stop_nothing_but_the_choice_of_weights_changes() -> None:
    one = world()
    fine_tune(one, Chain([EarlyStopping(every=1, patience=10_000, measure="loss")]), FAST, Cost())
    at, steps = with_hindsight(_rows(), 1, 10_000, "loss")
    assert steps == len(_rows())
    best = _rows()[at - 1][2]
    assert max(float((weights(one.model)[n] - best[n]).abs().max()) for n in best) < 1e-6


@pytest.mark.parametrize("fields", [{"patience": 0}, {"every": 0}, {"measure": "test"}])
def test_bad_values_are_refused(fields) -> None:
    with pytest.raises(ValidationError):
        EarlyStopping(**fields)


def test_runs_over_a_sequence(tiny_run) -> None:
    from cl_forget.run.simulate import simulate

    result = simulate(tiny_run(mitigations=[{"early_stopping": {"every": 1, "patience": 1}}]))
    assert result.rows[-1].cost.steps < 18
