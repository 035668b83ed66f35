"""The ridge head against least squares written out, whatever the order of the stream."""

from __future__ import annotations

import copy
from pathlib import Path

import classifiers  # noqa: F401, its stream of one head
import numpy as np
import pytest
import torch
from drive import Bigrams, clip, shared_head, task_of, weights
from safetensors.torch import load_file
from torch import Tensor

from cl_forget.auditing import audit
from cl_forget.config.run import Run
from cl_forget.ground.errors import UserError
from cl_forget.ground.records import Cost
from cl_forget.mitigations import Chain
from cl_forget.mitigations.ridge_head import HELD_OUT, PENALTIES, Ridge, RidgeHead
from cl_forget.models.random_features import RandomFeatureHead
from cl_forget.run.simulate import simulate
from cl_forget.streams.base import Experience
from cl_forget.training.checkpoints import RunFolder, State
from cl_forget.training.loop import fine_tune
from cl_forget.training.options import Training

TRAIN = Training(epochs=1, batch_size=10, lr=1e-3)


FEATURES = 40


def projection(task: Experience) -> np.ndarray:
    """(features, width) as the first task of a run draws it."""
    generator = task_of(clip([task]), [task]).generator("ridge head features heads.shared.weight")
    return torch.randn(FEATURES, clip([task]).heads["shared"].in_features, generator=generator).numpy()


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


# -- random features (RanPAC) --------------------------------------------------------------------------


def test_with_random_features_it_is_the_regression_on_them_in_any_order() -> None:
    first, second = shared_head()
    x, y = data(first, second)
    drawn = projection(first)
    hidden = np.maximum(x @ drawn.T, 0)
    rows = np.concatenate([hidden, np.sqrt(0.1) * np.eye(FEATURES)])
    expected = 10 * np.linalg.lstsq(rows, np.concatenate([y, np.zeros((FEATURES, 4))]), rcond=None)[0].T
    for stages in ([[first], [second]], [[second], [first]], [[first, second]]):
        found = through(RidgeHead(ridge=0.1, scale=10.0, features=FEATURES), *stages)
        np.testing.assert_allclose(found["heads.shared.projection"].numpy(), drawn)
        np.testing.assert_allclose(found["heads.shared.random_weight"].numpy(), expected, atol=1e-7)
        assert not found["heads.shared.weight"].any() and not found["heads.shared.bias"].any()


def test_the_model_answers_by_them_and_by_what_it_knew_of_other_classes() -> None:
    first, _ = shared_head()
    before, after = clip([first]), clip([first])
    fine_tune(task_of(after, [first]), Chain([RidgeHead(ridge=0.1, features=FEATURES)]), TRAIN, Cost())
    batch = before.prepare(first.train, first, "train").batch(torch.arange(8))
    x, _ = data(first)
    hidden = np.maximum(x[:8] @ projection(first).T, 0)
    found = after(batch).logits.detach()
    seen = hidden @ after.heads["shared"].random_weight[:2].numpy().T
    np.testing.assert_allclose(found[:, :2].numpy(), seen, atol=1e-8)
    known = before(batch).logits.detach()[:, 2:]
    torch.testing.assert_close(found[:, 2:], known, atol=1e-12, rtol=0)


def test_four_points_that_no_linear_map_tells_apart() -> None:
    """A corner and its opposite are one class: least squares of φ says ½ of all, random features say which."""
    corners = torch.tensor([[1.0, 1.0, 1.0], [-1.0, -1.0, 1.0], [1.0, -1.0, 1.0], [-1.0, 1.0, 1.0]]).double()
    x, y = torch.nn.functional.normalize(corners, dim=1), torch.eye(2).double()[[0, 0, 1, 1]]
    drawn = torch.randn(64, 3, generator=torch.Generator().manual_seed(0)).double()
    head = RandomFeatureHead(torch.nn.Linear(3, 2).double(), drawn)
    plain, hidden = x @ Ridge(x.T @ x, y.T @ x).solve(1e-6).T, head.features(x)
    torch.testing.assert_close(plain, torch.full((4, 2), 0.5).double(), atol=1e-5, rtol=0)
    random = hidden @ Ridge(hidden.T @ hidden, y.T @ hidden).solve(1e-6).T
    torch.testing.assert_close(random, y, atol=1e-3, rtol=0)


def test_a_model_takes_the_heads_of_what_it_loads() -> None:
    first, _ = shared_head()
    widened = clip([first])
    widened.add_random_features(first, torch.randn(FEATURES, widened.heads["shared"].in_features))
    torch.nn.init.normal_(widened.heads["shared"].random_weight)
    twin = clip([first])
    for source in (widened, copy.deepcopy(widened), clip([first]), widened):
        twin.load_state_dict(source.state_dict())
        assert list(twin.state_dict()) == list(source.state_dict())
        batch = twin.prepare(first.train, first, "train").batch(torch.arange(3))
        assert torch.equal(twin(batch).logits, source(batch).logits)


def test_a_class_incremental_stream_goes_on_where_it_was_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(
        model="tiny-clip", stream="halves", suites=["colours"], evaluate={"curves": False},
        train={"epochs": 1, "batch_size": 8}, mitigations=[{"ridge_head": {"features": FEATURES}}],
    )  # fmt: skip
    whole = simulate(run, tmp_path / "whole")
    commit = RunFolder.commit

    def cut(self: RunFolder, state: State) -> None:
        commit(self, state)
        if len(state.stages) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(RunFolder, "commit", cut)
    with pytest.raises(KeyboardInterrupt):
        simulate(run, tmp_path / "cut")
    monkeypatch.setattr(RunFolder, "commit", commit)
    again = simulate(run, tmp_path / "cut", resume=True)
    assert [row.tasks for row in again.rows] == [row.tasks for row in whole.rows]
    ends = [load_file(tmp_path / name / "heads.safetensors") for name in ("whole", "cut")]
    assert "all.random_weight" in ends[0] and ends[0].keys() == ends[1].keys()
    assert all(torch.equal(tensor, ends[1][name]) for name, tensor in ends[0].items())


@pytest.mark.slow
def test_an_audit_answers_with_the_random_features_of_the_run(tmp_path: Path) -> None:
    run = Run(
        model="emoji-clip", stream="dice", suites=["emoji"], evaluate={"limit": 60},
        mitigations=[{"ridge_head": {"features": 300}}],
    )  # fmt: skip
    row = simulate(run, tmp_path / "run").rows[-1]
    found = audit(None, str(tmp_path / "run"), limit=60, by_part=False)
    (task,) = [loss for loss in found.losses if loss.name == "dice"]
    assert task.tuned.accuracy == row.tasks["dice"].test.accuracy > 0.6


def test_a_model_whose_heads_read_the_embedding_alone_is_refused() -> None:
    with pytest.raises(UserError, match="leave random features out"):
        Bigrams().add_random_features(shared_head()[0], torch.zeros(2, 2))
