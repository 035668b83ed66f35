"""Which trials' flatness claims measure, and what is kept of it."""

from __future__ import annotations

from pathlib import Path

import claim_samples as small
import pytest

from cl_forget.claims.claim import FLATNESS
from cl_forget.claims.flatness import _one, wanted
from cl_forget.claims.ledger import ledger
from cl_forget.claims.planning import plan
from cl_forget.comparison.trials import load_trial

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
