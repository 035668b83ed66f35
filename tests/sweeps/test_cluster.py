"""A sweep over several nodes, one of which dies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet
import pytest
import yaml
from sweep_samples import plain_numbers

from cl_forget.comparison.trials import load_trials
from cl_forget.config.run import Run
from cl_forget.run.simulate import simulate

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_node_that_vanishes_costs_nothing_but_time(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    # Files: a pipe would wait for whatever a node leaves behind.
    out, errors = tmp_path / "out.txt", tmp_path / "errors.txt"
    with out.open("w") as said, errors.open("w") as complained:
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("on_a_cluster.py")), str(folder)],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests"), *sys.path]),
                "RAY_AUTH_MODE": "disabled",  # a runtime started earlier in this process left its own mode here
            },
            stdout=said,
            stderr=complained,
            timeout=600,
        )
    assert done.returncode == 0, errors.read_text()[-3000:]
    seen = json.loads(out.read_text().splitlines()[-1])
    # Two trials were running when the node went; the one on it was started again on the other node.
    assert seen["at_kill"].count("running") == 2 and "finished" in seen["at_kill"]
    assert seen["recovered"] >= 1
    assert sorted(seen["alive"]) == [0, 1], "the head and one node are left"
    # What was done twice is counted and said; nothing where the trial had just saved itself.
    assert len(seen["said"]) == (seen["redone"] > 0)
    trials = load_trials(folder)
    assert len(trials) == 12 and {trial.status for trial in trials} == {"finished"}
    table = pyarrow.parquet.read_table(folder / "trials.parquet").to_pylist()
    assert {line["status"] for line in table} == {"finished"} and len(table) == 12
    assert "| L2-SP " in (folder / "final.md").read_text()
    # The same numbers, to the bit, as trials have by themselves in one undisturbed process.
    for trial in trials[::3]:
        of_trial = folder / "trials" / trial.id
        run = Run.parse(yaml.safe_load((of_trial / "config.yaml").read_text()))
        assert plain_numbers(of_trial) == plain_numbers(simulate(run, tmp_path / "alone" / trial.id)), (
            trial.id
        )


CLUSTER_WITH_A_TOKEN = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


JOIN = """
import sys
from cl_forget.ground.errors import UserError
from cl_forget.sweeps.cluster import Resources, ray_runtime
try:
    with ray_runtime(Resources(address=sys.argv[1])):
        print("joined")
except UserError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_cluster_that_wants_its_token() -> None:
    token = "a" * 32
    ours = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    ours["PYTHONPATH"] = str(ROOT)
    theirs = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}

    def join(address: str, **environment: str) -> str:
        command = [sys.executable, "-c", JOIN, address]
        done = subprocess.run(
            command, env=ours | environment, capture_output=True, text=True, timeout=300, check=True
        )
        return done.stdout.splitlines()[-1]

    with subprocess.Popen(
        [sys.executable, "-c", CLUSTER_WITH_A_TOKEN],
        env=ours | theirs,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as cluster:
        assert cluster.stdin and cluster.stdout
        address = cluster.stdout.readline().strip()
        for environment in ({}, theirs | {"RAY_AUTH_TOKEN": "b" * 32}):
            refused = join(address, **environment)
            assert "no Ray cluster that lets us in" in refused and "`ray get-auth-token`" in refused
            assert token not in refused
        assert join(address, **theirs) == "joined"
        cluster.stdin.close()


# The files of docs/cluster.md


def test_the_cluster_launcher_accepts_its_file() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(
        prepare_config(yaml.safe_load((ROOT / "docs" / "cluster" / "ray-cluster.yaml").read_text()))
    )


def test_the_kubernetes_file_mounts_what_it_claims_and_matches_the_pinned_ray() -> None:
    claim, job = yaml.safe_load_all((ROOT / "docs" / "cluster" / "rayjob.yaml").read_text())
    cluster = job["spec"]["rayClusterSpec"]
    assert f"ray=={cluster['rayVersion']}" in (ROOT / "constraints.txt").read_text()
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for pod in (group["template"]["spec"] for group in groups):
        volumes = {volume["name"]: volume["persistentVolumeClaim"]["claimName"] for volume in pod["volumes"]}
        mounted = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
        assert volumes == {"shared": claim["metadata"]["name"]} and mounted == {"shared": "/shared"}
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


@pytest.mark.parametrize("name", ["ray-cluster.yaml", "rayjob.yaml", "sweep.sbatch"])
def test_the_files_call_the_command_as_it_is(name: str) -> None:
    import re

    text = (ROOT / "docs" / "cluster" / name).read_text()
    call = re.search(r"cl-forget sweep .*--address.*", text)
    assert call is not None
    if name != "sweep.sbatch":
        file = re.search(r"experiments/\S+\.yaml", call.group())
        assert file is not None and (ROOT / file.group()).exists()
    help_text = subprocess.run(
        [sys.executable, "-m", "cl_forget.cli", "sweep", "run", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", "NO_COLOR": "1"},
    ).stdout
    for option in re.findall(r"--[a-z-]+", text[call.start() : call.end()]):
        assert option in help_text, option


def test_the_slurm_script_is_shell() -> None:
    subprocess.run(["bash", "-n", str(ROOT / "docs" / "cluster" / "sweep.sbatch")], check=True)
