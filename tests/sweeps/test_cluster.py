"""A cluster that wants its token, and the files of docs/cluster.md."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]


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
