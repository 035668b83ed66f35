"""WiSE-FT: its ends, its formula, linear regression, Fisher weights."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from drive import assert_close, clip, distance, weights
from edits import apply, edit_of, same_bits
from pydantic import ValidationError
from torch import nn

from cl_forget.ground.errors import UserError
from cl_forget.mitigations import Chain
from cl_forget.mitigations.wise_ft import WiseFT
from cl_forget.run.simulate import simulate
from cl_forget.training.context import Edit
from cl_forget.training.per_sample import PerSample, fisher


@pytest.mark.parametrize("weighting", ["uniform", "fisher"])
def test_ends_are_the_two_models_to_the_bit(weighting: str) -> None:
    """α multiplies the tuned model; the other reading swaps the ends."""
    edit = edit_of(clip().float())
    same_bits(apply(edit, WiseFT(alpha=0.0, weighting=weighting)), edit.pretrained)
    same_bits(apply(edit, WiseFT(alpha=1.0, weighting=weighting)), weights(edit.model))
    with torch.no_grad():  # the chain leaves α = 1 out; the method itself gives the same
        same_bits(
            WiseFT(alpha=1.0, weighting=weighting).edit_weights(edit, weights(edit.model)),
            weights(edit.model),
        )


def test_formula_on_every_key_heads_included() -> None:
    edit = edit_of()
    tuned = weights(edit.model)
    expected = {name: 0.7 * edit.pretrained[name] + 0.3 * tuned[name] for name in tuned}
    found = apply(edit, WiseFT(alpha=0.3))
    assert_close(found, expected, atol=1e-12)
    assert any(name.startswith("heads.") for name in found)
    wrong = {name: 0.3 * edit.pretrained[name] + 0.7 * tuned[name] for name in tuned}
    assert distance(found, wrong) > 1e-2


def test_anchor_at_the_start_of_the_task() -> None:
    edit = edit_of(stages=2)
    tuned = weights(edit.model)
    expected = {name: 0.5 * (edit.start[name] + tuned[name]) for name in tuned}
    assert_close(apply(edit, WiseFT(anchor="previous")), expected, atol=1e-12)


def test_linear_regression_in_closed_form() -> None:
    """The averaged model predicts the average, and its risk is the parabola through both ends."""
    generator = torch.Generator().manual_seed(0)
    x, y = (
        torch.randn(40, 6, generator=generator, dtype=torch.float64),
        torch.randn(40, 1, generator=generator, dtype=torch.float64),
    )
    theta0 = torch.randn(6, 1, generator=generator, dtype=torch.float64)
    theta = torch.linalg.lstsq(x, y).solution
    model = nn.Linear(6, 1, bias=False).double()
    model.weight.data = theta.T.clone()
    edit = Edit(model, {"weight": theta0.T}, {"weight": theta0.T})
    best = ((x @ theta - y) ** 2).mean()
    rise = ((x @ (theta0 - theta)) ** 2).mean()
    for alpha in (0.0, 0.25, 0.5, 0.9):
        averaged = apply(edit, WiseFT(alpha=alpha))["weight"].T
        # θ is the least-squares solution, so the risk at θ(α) is its own plus (1-α)² times the rise to θ0.
        risk = ((x @ averaged - y) ** 2).mean()
        torch.testing.assert_close(risk, best + (1 - alpha) ** 2 * rise, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("labels", ["empirical", "true"])
def test_fisher_weights_as_written(labels: str) -> None:
    edit = edit_of()
    tuned, task = weights(edit.model), edit.task
    names = task.model.tunable(task.stage[0])
    found = apply(edit, WiseFT(alpha=0.3, weighting="fisher", samples=None, fisher=labels))

    def information() -> dict[str, torch.Tensor]:
        generator = task.generator("wise_ft fisher")
        return fisher(PerSample(edit.model, task.sources, names, generator=generator), labels)

    f1 = information()
    edit.model.load_state_dict(edit.pretrained)
    f0 = information()
    for name in tuned:
        expected = 0.7 * edit.pretrained[name] + 0.3 * tuned[name]
        if name in names:
            c0, c1 = 0.7 * f0[name].clamp_min(1e-8), 0.3 * f1[name].clamp_min(1e-8)
            expected = (c0 * edit.pretrained[name] + c1 * tuned[name]) / (c0 + c1)
        torch.testing.assert_close(found[name], expected, atol=1e-10, rtol=0)


def test_fisher_is_computed_once_for_a_whole_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(of, labels):
        calls.append(1)
        return {name: torch.ones_like(tensor) for name, tensor in of.point.items()}

    monkeypatch.setattr("cl_forget.training.per_sample.fisher", counted)
    edit = edit_of()
    tuned = weights(edit.model)
    for alpha in (0.1, 0.5, 0.9):
        found = apply(edit, WiseFT(alpha=alpha, weighting="fisher"))
        expected = {n: (1 - alpha) * edit.pretrained[n] + alpha * tuned[n] for n in tuned}
        assert_close(found, expected, atol=1e-12)
    assert len(calls) == 2  # θ0 and θ


def test_integer_buffers_keep_the_tuned_value() -> None:
    before = {"weight": torch.zeros(3), "count": torch.tensor(5), "running_mean": torch.zeros(2)}
    after = {"weight": torch.ones(3), "count": torch.tensor(9), "running_mean": torch.full((2,), 4.0)}
    found = Chain([WiseFT(alpha=0.25)]).edit_weights(Edit(SimpleNamespace(), before, before), after)
    assert int(found["count"]) == 9 and found["running_mean"].tolist() == [1.0, 1.0]


def test_fisher_needs_the_task() -> None:
    edit = edit_of()
    edit.task = None
    with pytest.raises(UserError, match="uniform"):
        apply(edit, WiseFT(weighting="fisher"))


def test_simulates_a_sequence_with_its_curve(tiny_run) -> None:
    mitigations = [{"wise_ft": {"alpha": 0.5, "weighting": "fisher", "samples": 6}}]
    result = simulate(tiny_run(mitigations=mitigations, suites=[], probes=[], evaluate={"curves": True}))
    (curve,) = result.curves
    assert [point.value for point in curve.points] == list(WiseFT.grid)
    row = next(point.row for point in curve.points if point.value == 0.5)
    assert row.tasks == result.rows[-1].tasks
    assert curve.points[0].row.tasks == result.rows[0].tasks


@pytest.mark.parametrize("fields", [{"alpha": -0.1}, {"alpha": 1.1}, {"weighting": "magic"}, {"samples": 0}])
def test_bad_settings_are_refused(fields: dict) -> None:
    with pytest.raises(ValidationError):
        WiseFT(**fields)
