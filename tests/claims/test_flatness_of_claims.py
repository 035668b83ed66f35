"""Which trials' flatness claims measure, and what is kept of it."""

from __future__ import annotations

from pathlib import Path

import claim_samples as small
import deadly
import pytest

from cl_forget.claims.claim import FLATNESS
from cl_forget.claims.flatness import _one, measure, wanted
from cl_forget.claims.ledger import ledger
from cl_forget.claims.planning import plan
from cl_forget.comparison.trials import load_trial
from cl_forget.ground.processes import KILLED
from cl_forget.run.simulate import simulate
from cl_forget.sweeps.planning import share

CURVED = {**small.KEEPS, "name": "curved", "less": "full fine-tuning", "measure": "surface_curvature"}


def test_a_plane_with_a_loss_that_is_not_finite_is_noted_and_no_claim_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = plan([small.write(tmp_path / "paper", CURVED)])
    trials = small.finished(made, lambda trial: small.measured(0.9, 0.4))
    found = {**dict.fromkeys(FLATNESS), "loss": float("inf"), "sam_gap": 0.25}
    monkeypatch.setattr("cl_forget.run.flatness.landscape", lambda place, points: {"tuned": found})
    for name, trial in trials.items():
        trial.save(tmp_path / "runs")
        said = _one(tmp_path / "runs", name, {"surface_curvature"})
        assert said.startswith("sam_gap 0.25, surface_curvature has no number")
    measured = {name: load_trial(tmp_path / "runs", name) for name in trials}
    assert all(t is not None and t.test["surface_curvature"] is None for t in measured.values())
    (line,) = ledger(made, measured)
    assert not line.missing and line.judged.verdict == "undecided" and line.judged.seeds == 0
    assert ledger(made, trials)[0].missing  # before it was measured


def test_what_one_claim_has_measured_is_not_all_that_another_reads(tmp_path: Path) -> None:
    gap = {**CURVED, "name": "gap", "more": "L2-SP", "measure": "sam_gap"}
    made = plan([small.write(tmp_path / "paper", CURVED, gap)])
    trials = small.finished(made, lambda trial: small.measured(0.9, 0.4))
    for name, trial in trials.items():
        trial.save(tmp_path / "runs")
        (tmp_path / "runs" / "trials" / name / "result.json").touch()

    def lacking(**known: float) -> dict[str, set[str]]:
        """By arm, where its trials' records hold these numbers."""
        several = [t.model_copy(update={"test": {**t.test, **known}}) for t in trials.values()]
        found = wanted(made, several, tmp_path / "runs")
        assert {trials[name].role for name in found} <= {"report"}
        return {trials[name].method: measures for name, measures in found.items()}

    curved = {"surface_curvature"}
    assert lacking() == {"WiSE-FT": curved, "full fine-tuning": {*curved, "sam_gap"}, "L2-SP": {"sam_gap"}}
    assert lacking(sam_gap=0.1) == {"WiSE-FT": curved, "full fine-tuning": curved}
    assert lacking(sam_gap=0.1, surface_curvature=2.0) == {}


def test_a_process_that_is_killed_leaves_its_trial_unmeasured_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = {**small.WORLD, "tune_on": {"stream": ["other-colours"], "seeds": [9]}}
    world |= {"stream": ["deadly-squares"], "report_on": {"stream": ["deadly-squares"]}, "seeds": [0, 1]}
    made = plan([small.write(tmp_path / "paper", {**CURVED, "measure": "sam_gap"}, world=world)])
    trials = small.finished(made, lambda trial: small.measured(0.9, 0.4))
    (one, *_), (other, *_) = share(made.reporting(list(trials.values())))[:2]
    names = [p.trial.id for p in (one, other)]
    for p in (one, other):
        simulate(p.run, tmp_path / "trials" / p.trial.id)
        trials[p.trial.id].save(tmp_path)
    deadly.arm(tmp_path, monkeypatch)
    said: list[str] = []
    measure({name: {"sam_gap"} for name in names}, tmp_path, 1, said.append)
    assert said[0] == f"flatness of {names[0]}: {KILLED}"
    assert said[1].startswith(f"flatness of {names[1]}: sam_gap ")
    measured = [load_trial(tmp_path, name) for name in names]
    assert ["sam_gap" in trial.test for trial in measured if trial is not None] == [False, True]
