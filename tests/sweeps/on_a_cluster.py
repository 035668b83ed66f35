"""What drives a sweep on a Ray cluster in a process of its own, so that a test can take it away.

python tests/sweeps/on_a_cluster.py FOLDER ADDRESS OPTIONS: runs or resumes the sweep of the options (JSON) in the
folder and prints, as JSON, what became of its trials.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import psutil
import tiny  # noqa: F401  registers the tiny model and streams
from ray import tune
from sweep_samples import FIELDS

from cl_forget.config.sweep import Sweep
from cl_forget.sweeps import hanging
from cl_forget.sweeps.cluster import Resources
from cl_forget.sweeps.runner import sweep


class Seen(tune.Callback):
    """Counts the Tune trials that were started anew, and notes which raylet's worker has reported each trial."""

    def __init__(self) -> None:
        self.recovered = 0
        self.raylets: dict[str, int] = {}

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.recovered += 1

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        self.raylets[result["trial"]] = psutil.Process(result["pid"]).ppid()


def main(folder: str, address: str, options: dict[str, Any]) -> None:
    hanging.SILENT = options.get("silent", hanging.SILENT)
    seen, said = Seen(), list[str]()
    resources = Resources(address, **options.get("resources", {}))
    sweep(
        Sweep(**{**FIELDS, **options["sweep"]}),
        folder,
        resume=options.get("resume", False),
        resources=resources,
        tell=said.append,
        callbacks=[seen],
    )
    print(json.dumps({"said": said, "recovered": seen.recovered, "raylets": seen.raylets}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
