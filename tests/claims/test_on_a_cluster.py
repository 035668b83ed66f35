"""Claims whose trials run on a Ray cluster: the same records, to the bit, as in processes of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import claim_samples as small
import machines
import pytest

from cl_forget.claims.planning import plan
from cl_forget.claims.records import load_records
from cl_forget.claims.running import run
from cl_forget.cli.claims import claims
from cl_forget.ground.errors import UserError

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]

METHODS = {
    "full fine-tuning": {"mitigations": [], "space": {"train.lr": [1e-3, 3e-3]}},
    "WiSE-FT": {"mitigations": ["wise_ft"], "space": {"train.lr": [1e-3], "wise_ft.alpha": [0.3, 0.6]}},
}
OTHER = {
    "full fine-tuning": {"mitigations": [], "space": {"train.lr": [1e-4, 3e-4]}},
    "L2-SP": {"mitigations": ["l2_sp"], "space": {"train.lr": [1e-4, 3e-4]}},
}


def test_two_worlds_on_two_nodes(tmp_path: Path) -> None:
    """Worlds of other methods and settings in one queue, the ledger, and then nothing that is run again."""
    claim = {**small.KEEPS, "less": "full fine-tuning", "fewest": 2}
    other = {**claim, "name": "others", "more": "L2-SP"}
    world = {**small.WORLD, "seeds": [0, 1]}
    files = [
        small.write(tmp_path / "one", claim, world={**world, "methods": METHODS}),
        small.write(
            tmp_path / "other", other, world={**world, "methods": OTHER, "train": {"epochs": 2, "lr": 1e-3}}
        ),
    ]
    made = plan(files)
    assert run(made, tmp_path / "here", [])
    cluster = machines.Machines()
    try:
        for _ in range(2):
            cluster.add(1)
        said = [claimed(cluster.address, files, tmp_path / "there") for _ in range(2)]
    finally:
        cluster.end()
    here, there = (load_records(tmp_path / name, []) for name in ("here", "there"))
    assert here.keys() == there.keys() and {trial.status for trial in there.values()} == {"finished"}
    for name, trial in there.items():
        assert trial.test == here[name].test and trial.validation == here[name].validation
    assert {len(trial.attempts) for trial in there.values()} == {1}
    assert (tmp_path / "there" / "ledger" / "claims.csv").is_file()
    verdicts = [[line for line in text.splitlines() if " tiny " in line] for text in said]
    assert verdicts[0] == verdicts[1] and len(verdicts[0]) == 2


def claimed(address: str, files: list[Path], folder: Path) -> str:
    script = Path(__file__).with_name("claims_on_a_cluster.py")
    tests = Path(__file__).parents[1]
    env = {
        **os.environ,
        **machines.ENVIRONMENT,
        "PYTHONPATH": os.pathsep.join(map(str, [tests.parent, tests])),
        "CL_FORGET_CACHE": str(folder.parent / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, str(script), address, str(folder), *map(str, files)]
    ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=400)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return ended.stdout


def test_devices_are_of_a_cluster(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"--gpus-per-trial is of a Ray cluster's trials; name one by --address"
    ):
        claims([tmp_path / "claims.yaml"], gpus_per_trial=0.5)
