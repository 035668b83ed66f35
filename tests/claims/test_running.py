"""Claims from files to verdicts with real runs of the tiny model, in processes of this machine, without Ray."""

from __future__ import annotations

import subprocess
import sys

import claim_samples as small
import pytest

from cl_forget.claims.ledger import ledger
from cl_forget.claims.planning import plan
from cl_forget.claims.records import RECORDS, keep_records, load_records
from cl_forget.claims.running import run
from cl_forget.cli.claims import claims
from cl_forget.ground.errors import UserError

METHODS = {
    "full fine-tuning": {"mitigations": [], "space": {"train.lr": [1e-3, 3e-3]}},
    "WiSE-FT": {"mitigations": ["wise_ft"], "space": {"train.lr": [1e-3], "wise_ft.alpha": [0.3, 0.6]}},
}
WORLD = {**small.WORLD, "methods": METHODS, "seeds": [0, 1]}


def test_run_judge_and_go_on(tmp_path, monkeypatch):
    claim = {**small.KEEPS, "less": "full fine-tuning", "fewest": 2}
    flat = {**claim, "name": "flat", "measure": "sam_gap"}
    made = plan([small.write(tmp_path / "paper", claim, flat, world=WORLD)])
    said: list[str] = []
    assert run(made, tmp_path / "runs", [], jobs=1, tell=said.append)
    trials = load_records(tmp_path / "runs", [])
    assert {trial.status for trial in trials.values()} == {"finished"}
    assert sum(trial.shared_stages > 0 for trial in trials.values()) >= 2  # strengths share their fine-tune
    found, gap = (line.judged for line in ledger(made, trials))
    assert found.seeds == 2 and found.effect is not None
    assert gap.seeds == 2 and gap.effect == 0  # the same weights as they were tuned

    keep_records(list(trials.values()), tmp_path / RECORDS)
    said.clear()
    assert run(made, tmp_path / "elsewhere", [tmp_path / RECORDS], jobs=1, tell=said.append)
    assert said == []  # everything was known
    assert ledger(made, load_records(tmp_path / "elsewhere", []))[0].judged == found

    # A record of which a flatness was never measured, and whose weights are gone, is run again: nothing else is.
    lost = next(t for t in trials.values() if t.role == "report" and "sam_gap" in t.test)
    without = {name: value for name, value in lost.test.items() if name != "sam_gap"}
    others = [trial for trial in trials.values() if trial.id != lost.id]
    keep_records([*others, lost.model_copy(update={"test": without})], tmp_path / "lacking.parquet")
    assert run(made, tmp_path / "anew", [tmp_path / "lacking.parquet"], jobs=1, tell=said.append)
    assert "is run again" in said[0] and all(lost.id in line for line in said)
    assert ledger(made, load_records(tmp_path / "anew", []))[1].judged == gap
    said.clear()

    # Another folder's runs count as they stand, and come with their checkpoints, from which others take over.
    assert run(made, tmp_path / "third", [], jobs=1, tell=said.append, reuse=[tmp_path / "runs"])
    assert said == []
    assert ledger(made, load_records(tmp_path / "third", []))[1].judged == gap
    name = next(name for name, trial in trials.items() if trial.shared_with is None)
    kept = {
        path.relative_to(tmp_path / "runs")
        for path in (tmp_path / "runs" / "trials" / name).rglob("*.safetensors")
    }
    assert kept and all((tmp_path / "third" / path).is_file() for path in kept)


def test_tuning_alone_leaves_the_report_to_the_machine_that_averages(tmp_path):
    claim = {**small.KEEPS, "less": "full fine-tuning", "fewest": 2}
    made = plan([small.write(tmp_path / "paper", claim, world=WORLD)])
    assert run(made, tmp_path / "runs", [], jobs=1, report=False)
    lent = load_records(tmp_path / "runs", [])
    assert {trial.role for trial in lent.values()} == {"tune"} and len(lent) == len(made.tuning())
    keep_records(list(lent.values()), tmp_path / RECORDS)
    said: list[str] = []
    assert run(made, tmp_path / "here", [tmp_path / RECORDS], jobs=1, tell=said.append)
    assert said and not any("-tune-" in line for line in said)


def test_planning_and_working_need_no_ray():
    program = (
        "import sys; sys.modules['ray'] = None\n"
        "import cl_forget.claims.running, cl_forget.claims.planning, cl_forget.claims.ledger, cl_forget.sweeps.pool\n"
        "import cl_forget.sweeps.runner, cl_forget.claims.__main__, cl_forget.cli.claims\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_minutes_are_refused_on_a_cluster_which_would_not_keep_to_them(tmp_path):
    file = small.write(tmp_path / "paper", small.KEEPS, world=WORLD)
    with pytest.raises(UserError, match=r"--minutes .* leave it out with --address"):
        claims([file], address="auto", minutes=5.0, output=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
