"""A sweep on a Ray cluster of a head and two nodes on this machine; one is taken away in the middle.

python tests/sweeps/on_a_cluster.py FOLDER: runs the sweep into it and prints, as JSON, what became of the cluster.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import tiny  # noqa: F401  registers the tiny model and streams
from sweep_samples import FIELDS

from cl_forget.comparison.trials import load_trials
from cl_forget.config.sweep import Sweep
from cl_forget.sweeps.cluster import Resources
from cl_forget.sweeps.runner import sweep

SWEEP: dict[str, Any] = {**FIELDS, "seeds": [0, 1], "train": {**FIELDS["train"], "epochs": 3}}


def main(folder: Path) -> None:
    os.environ.update({"RAY_worker_niceness": "0"})  # or the nodes' workers wait for everybody else
    import ray
    from ray import tune
    from ray.cluster_utils import Cluster

    class Deaths(tune.Callback):
        """Counts the Tune trials that died with their process and were started anew."""

        count = 0

        def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            Deaths.count += 1

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1), cluster.add_node(num_cpus=1)]
    at_kill: list[str] = []

    def kill() -> None:
        """As soon as one trial is over and another runs on each node."""
        while not at_kill:
            time.sleep(0.05)
            known = [trial.status for trial in load_trials(folder)]
            if "finished" in known and known.count("running") == 2:
                cluster.remove_node(nodes[0], allow_graceful=False)
                at_kill.extend(known)

    threading.Thread(target=kill, daemon=True).start()
    resources = Resources(address=cluster.address)
    said: list[str] = []
    trials = sweep(Sweep(**SWEEP), folder, resources=resources, tell=said.append, callbacks=[Deaths()])
    ray.init(address=cluster.address, logging_level="ERROR")
    deadline = time.monotonic() + 60  # Ray takes its time to notice that a node is gone
    while len(alive := _alive(ray)) > 2 and time.monotonic() < deadline:
        time.sleep(0.5)
    ray.shutdown()
    cluster.shutdown()
    print(
        json.dumps(
            {
                "at_kill": at_kill,
                "recovered": Deaths.count,
                "alive": alive,
                "redone": sum(trial.redone_steps for trial in trials),
                "said": [line for line in said if "done again" in line],
                "statuses": [trial.status for trial in trials],
            }
        )
    )


def _alive(ray: Any) -> list[float]:
    """Processors of each node that Ray takes to be alive."""
    return [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
