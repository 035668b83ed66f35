"""The ridge head against least squares written out, whatever the order of the stream."""

from __future__ import annotations

import numpy as np
import torch
from drive import clip, shared_head, task_of, weights
from torch import Tensor

from cl_forget.ground.records import Cost
from cl_forget.mitigations import Chain
from cl_forget.mitigations.ridge_head import HELD_OUT, PENALTIES, RidgeHead
from cl_forget.streams.base import Experience
from cl_forget.training.loop import fine_tune
from cl_forget.training.options import Training

TRAIN = Training(epochs=1, batch_size=10, lr=1e-3)


def data(*tasks: Experience) -> tuple[np.ndarray, np.ndarray]:
    """(samples, width) unit embeddings and (samples, 4) one-hot targets."""
    model, found = clip([tasks[0]]).eval(), []
    for task in tasks:
        samples = model.prepare(task.train, task, "train")
        with torch.no_grad():
            x = model.encode(samples.batch(torch.arange(len(samples))).inputs)[0].numpy()
        found.append((x / np.linalg.norm(x, axis=1, keepdims=True), np.eye(4)[samples.targets.numpy()]))
    return np.concatenate([x for x, _ in found]), np.concatenate([y for _, y in found])


def by_hand(x: np.ndarray, y: np.ndarray, penalty: float) -> np.ndarray:
    """(4, width) least squares with √λ rows that pull to zero."""
    width = x.shape[1]
    rows = np.concatenate([x, np.sqrt(penalty) * np.eye(width)])
    return np.linalg.lstsq(rows, np.concatenate([y, np.zeros((width, 4))]), rcond=None)[0].T


def through(method: RidgeHead, *stages: list[Experience]) -> dict[str, Tensor]:
    model, chain, past = clip([stages[0][0]]), Chain([method]), []
    for stage in stages:
        fine_tune(task_of(model, stage, past), chain, TRAIN, Cost())
        past += stage
    return weights(model)


def test_a_sequence_in_any_order_and_all_at_once_are_the_regression_on_everything() -> None:
    first, second = shared_head()
    expected = 10 * by_hand(*data(first, second), 0.1)
    for stages in ([[first], [second]], [[second], [first]], [[first, second]]):
        found = through(RidgeHead(ridge=0.1, scale=10.0), *stages)["heads.shared.weight"]
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-8)


def test_classes_that_no_task_has_shown_keep_their_rows_and_the_trunk_stays() -> None:
    first, _ = shared_head()
    before, after = weights(clip([first])), through(RidgeHead(ridge=0.1), [first])
    changed = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    assert changed <= {"heads.shared.weight", "heads.shared.bias"}
    assert torch.equal(before["heads.shared.weight"][2:], after["heads.shared.weight"][2:])


def test_the_penalty_is_the_one_with_the_smallest_error_on_a_fifth() -> None:
    first, _ = shared_head()
    x, y = data(first)
    order = torch.randperm(len(x), generator=task_of(clip([first]), [first]).generator("ridge head")).numpy()
    held_out = order[::HELD_OUT]
    rest = np.setdiff1d(order, held_out)
    errors = [((x[held_out] @ by_hand(x[rest], y[rest], p).T - y[held_out]) ** 2).mean() for p in PENALTIES]
    best = PENALTIES[int(np.argmin(errors))]
    found = through(RidgeHead(), [first])["heads.shared.weight"][:2]
    np.testing.assert_allclose(found.numpy(), 100 * by_hand(x, y, best)[:2], rtol=1e-4, atol=1e-4)
