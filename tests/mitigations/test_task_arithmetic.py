"""Task arithmetic, model soup and restart: sums and means over the stages."""

from __future__ import annotations

import json

import pytest
import torch
from drive import assert_close, distance, weights
from edits import apply, edit_of, same_bits
from pydantic import ValidationError

from cl_forget.ground.errors import UserError
from cl_forget.mitigations import Chain
from cl_forget.mitigations.lines import LiNeS
from cl_forget.mitigations.model_soup import ModelSoup
from cl_forget.mitigations.restart import Restart
from cl_forget.mitigations.task_arithmetic import TaskArithmetic
from cl_forget.mitigations.wise_ft import WiseFT
from cl_forget.run.simulate import simulate


def test_sum_of_task_vectors_of_independent_fine_tunes() -> None:
    edit = edit_of(stages=3, restart=True)
    ends = [load() for load in edit.history]
    expected = {n: t + 0.3 * sum(end[n] - t for end in ends) for n, t in edit.pretrained.items()}
    assert_close(apply(edit, TaskArithmetic(scale=0.3)), expected, atol=1e-12)


def test_in_sequence_it_is_wise_ft() -> None:
    """The trap: differences to θ0 would count what early tasks changed again and again."""
    edit = edit_of(stages=3)
    found = apply(edit, TaskArithmetic(scale=0.6))
    assert_close(found, apply(edit, WiseFT(alpha=0.6)), atol=1e-12)
    ends = [load() for load in edit.history]
    wrong = {n: t + 0.6 * sum(end[n] - t for end in ends) for n, t in edit.pretrained.items()}
    assert distance(found, wrong) > 1e-2


def test_scale_zero_is_the_pretrained_model() -> None:
    edit = edit_of(stages=2)
    same_bits(apply(edit, TaskArithmetic(scale=0.0)), edit.pretrained)


def test_soup_is_the_mean_of_the_stages() -> None:
    edit = edit_of(stages=3, restart=True)
    ends = [load() for load in edit.history]
    expected = {n: sum(end[n] for end in ends) / 3 for n in edit.pretrained}
    assert_close(apply(edit, ModelSoup()), expected, atol=1e-12)
    expected = {n: (3 * t + edit.pretrained[n]) / 4 for n, t in expected.items()}
    assert_close(apply(edit, ModelSoup(with_pretrained=True)), expected, atol=1e-12)
    one = edit_of()
    same_bits(apply(one, ModelSoup()), weights(one.model))


@pytest.mark.parametrize("merge", [TaskArithmetic(scale=0.3), ModelSoup()])
def test_merging_comes_before_rescaling_whatever_the_listing(merge) -> None:
    edit = edit_of(stages=2, restart=True)
    found = apply(edit, WiseFT(alpha=0.5), LiNeS(a=0.2), merge)
    same_bits(found, apply(edit, merge, LiNeS(a=0.2), WiseFT(alpha=0.5)))
    merged = apply(edit, merge)
    for name in merged:
        scale = 0.5 * (1.0 if "visual.transformer.resblocks.1." in name else 0.2)
        expected = edit.pretrained[name] + scale * (merged[name] - edit.pretrained[name])
        torch.testing.assert_close(found[name], expected, atol=1e-12, rtol=0)


def test_two_ways_to_merge_are_refused() -> None:
    with pytest.raises(UserError, match="keep one"):
        Chain([TaskArithmetic(), ModelSoup()])


def test_restart_gives_every_task_the_pretrained_weights(tiny_run) -> None:
    """Merging is at θ0 for λ = 0 and at what is evaluated for the run's own λ."""
    fields = {"suites": [], "probes": [], "evaluate": {"curves": True}}
    sequence = simulate(tiny_run(mitigations=["restart"], **fields))
    first = sequence.tasks[0]
    # After the second stage nothing is left of what the first one changed.
    assert sequence.rows[1].tasks[first] != sequence.rows[2].tasks[first]
    merged = simulate(tiny_run(mitigations=["restart", {"task_arithmetic": 0.4}], **fields))
    (curve,) = merged.curves
    at = {point.value: point.row.tasks for point in curve.points}
    assert at[0.0] == merged.rows[0].tasks and at[0.4] == merged.rows[-1].tasks


def test_starts_of_stages_survive_a_resume(tiny_run, tmp_path) -> None:
    mitigations = ["restart", {"task_arithmetic": 0.5}]
    run = tiny_run(mitigations=mitigations, suites=[], probes=[])
    whole = simulate(run, output=tmp_path / "whole")
    folder = tmp_path / "whole"
    state = json.loads((folder / "state.json").read_text())
    state["finished"], state["rows"] = False, state["rows"][:2]
    (folder / "state.json").write_text(json.dumps(state))
    again = simulate(run, output=folder, resume=True)
    assert [row.tasks for row in again.rows] == [row.tasks for row in whole.rows]


def test_restart_alone_leaves_the_tuned_weights() -> None:
    edit = edit_of(stages=2)
    same_bits(apply(edit, Restart()), weights(edit.model))
    same_bits(Chain([Restart()]).next_start(edit, weights(edit.model)), edit.pretrained)


def test_soup_simulates_a_sequence(tiny_run) -> None:
    assert len(simulate(tiny_run(mitigations=["model_soup"], suites=[], probes=[])).rows) == 4


@pytest.mark.parametrize("fields", [{"scale": -0.1}, {"scale": 11}, {"lambda": 1}])
def test_bad_settings_are_refused(fields: dict) -> None:
    with pytest.raises(ValidationError):
        TaskArithmetic(**fields)
    with pytest.raises(ValidationError):
        ModelSoup(**fields)
