"""HMA: the constraint, the search, what it may read."""

from __future__ import annotations

import pytest
import torch
from drive import Bigrams, assert_close, clip, weights
from edits import apply, edit_of
from pydantic import ValidationError

from cl_forget.ground.errors import UserError
from cl_forget.mitigations.hma import HeterogeneousAveraging
from cl_forget.run.simulate import simulate
from cl_forget.training.context import Edit


def validation_loss(edit, tensors) -> float:
    (data,) = edit.task.validation
    tuned = weights(edit.model)
    edit.model.load_state_dict(tensors)
    loss = edit.model(data.batch(torch.arange(len(data)))).unit_losses().mean().item()
    edit.model.load_state_dict(tuned)
    return loss


def test_one_share_for_each_group_with_their_mean_fixed() -> None:
    edit = edit_of()
    method = HeterogeneousAveraging(alpha=0.4, groups=2)
    tuned = weights(edit.model)
    with torch.no_grad():
        shares = method.fit(edit, tuned)
    assert sum(shares) / 2 == pytest.approx(0.4) and all(0 <= share <= 1 for share in shares)
    found = apply(edit, method)
    for name, tensor in tuned.items():
        block = edit.model.block_of(name)
        share = 0.4 if block is None else shares[block]
        expected = (1 - share) * edit.pretrained[name] + share * tensor
        torch.testing.assert_close(found[name], expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("alpha", [0.3, 0.5])
def test_comes_close_to_an_exhaustive_search(alpha: float) -> None:
    edit = edit_of()
    method = HeterogeneousAveraging(alpha=alpha, groups=2)
    tuned = weights(edit.model)
    grid = [(2 * alpha - share, share) for share in torch.arange(0, 1.0001, 0.025).tolist()]
    losses = [
        validation_loss(edit, method.mix(edit, tuned, s))
        for s in grid
        if all(-1e-9 <= x <= 1 + 1e-9 for x in s)
    ]
    same = validation_loss(edit, method.mix(edit, tuned, (alpha, alpha)))
    found = validation_loss(edit, apply(edit, method))
    assert found <= same + 1e-12
    assert found <= min(losses) + 0.05 * (max(losses) - min(losses))


def test_reads_validation_data_only() -> None:
    edit = edit_of()
    expected = apply(edit, HeterogeneousAveraging(groups=2))
    edit.task.sources = edit.task.past = None
    assert_close(apply(edit, HeterogeneousAveraging(groups=2)), expected, atol=0)


def test_ends_need_no_search() -> None:
    edit = edit_of(clip().float())
    found = apply(edit, HeterogeneousAveraging(alpha=0.0, groups=2))
    assert all(torch.equal(found[name], tensor) for name, tensor in edit.pretrained.items())


def test_needs_blocks_and_a_task() -> None:
    edit = edit_of()
    with torch.no_grad():  # two blocks: two groups
        assert len(HeterogeneousAveraging().fit(edit, weights(edit.model))) == 2
    without = Edit(Bigrams(), {}, {}, task=edit.task)
    with pytest.raises(UserError, match="has none"):
        HeterogeneousAveraging().edit_weights(without, {})
    edit.task = None
    with pytest.raises(UserError, match="wise_ft"):
        apply(edit, HeterogeneousAveraging(groups=2))


def test_simulates_a_sequence(tiny_run) -> None:
    run = tiny_run(mitigations=[{"hma": {"groups": 2, "samples": 6}}], suites=[], probes=[])
    assert len(simulate(run).rows) == 4


@pytest.mark.parametrize("fields", [{"alpha": 1.1}, {"groups": 0}, {"samples": 0}, {"step": 0}])
def test_bad_settings_are_refused(fields: dict) -> None:
    with pytest.raises(ValidationError):
        HeterogeneousAveraging(**fields)
