"""A Ray cluster of several nodes on this machine, which come and go, and drivers beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil

TESTS = Path(__file__).parent
SKEWED = TESTS / "sweeps" / "skewed"


ENVIRONMENT = {"RAY_AUTH_MODE": "disabled", "RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0"}
"""Of every process of the cluster, and of drivers that join it.

Never of this process: a runtime that a later test starts in it would have servers that ask for no token, and a driver
that asks them for one and is taken for dead, with all of its actors.
"""


class Machines:
    """A head without processors, and nodes; nothing of this process joins the cluster."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "include_dashboard": False}
        with patch.dict(os.environ, ENVIRONMENT):
            self._cluster = patiently(lambda: Cluster(initialize_head=True, head_node_args=head))
        self.address: str = self._cluster.address

    def add(self, cpus: int, clock: float = 0.0, **resources: float) -> Any:
        """Another node; `clock` is how many seconds its clock is ahead."""
        env = {"TEST_CLOCK_AHEAD": str(clock)} if clock else None
        with patch.dict(os.environ, ENVIRONMENT):
            return patiently(lambda: self._cluster.add_node(num_cpus=cpus, resources=resources, env_vars=env))

    def remove(self, node: Any) -> None:
        """As a spot node goes: all of its processes at once."""
        self._cluster.remove_node(node, allow_graceful=False)

    def end(self) -> None:
        """Everything at once, the head last."""
        for node in self._cluster.list_all_nodes()[::-1]:
            self.remove(node)


def patiently(start: Callable[[], Any], times: int = 8) -> Any:
    """What starts, on a machine that may be busy: Ray gives a node 15 seconds to start its agent, and then up."""
    for _ in range(times - 1):
        try:
            return start()
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
    return start()


def raylet(node: Any) -> int:
    """Its process, which all workers of the node are children of."""
    return int(node.all_processes["raylet"][0].process.pid)


def workers(*nodes: Any) -> list[psutil.Process]:
    """The processes that work on trials there."""
    found = []
    for node in nodes:
        for process in psutil.Process(raylet(node)).children(recursive=True):
            try:
                if "Trainable" in " ".join(process.cmdline()):
                    found.append(process)
            except psutil.Error:
                continue
    return found


class Drive:
    """A driver in a process of its own.

    Args:
        place: folder or address of the sweep.
        options: of `on_a_cluster.py`.
        home: where this driver's machine keeps its cache and this test its files.
    """

    def __init__(self, place: Any, address: str, options: dict[str, Any], home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self._out, self._errors = home / "out.txt", home / "errors.txt"
        script = str(TESTS / "sweeps" / "on_a_cluster.py")
        path = [SKEWED, TESTS.parent, TESTS, TESTS / "sweeps"]
        env = {
            **os.environ,
            **ENVIRONMENT,
            "PYTHONPATH": os.pathsep.join(map(str, path)),
            "CL_FORGET_CACHE": str(home / "cache"),
            "OMP_NUM_THREADS": "1",
        }
        # Files: a pipe would wait for whatever a node leaves behind.
        with self._out.open("w") as said, self._errors.open("w") as complained:
            command = [sys.executable, script, str(place), address, json.dumps(options)]
            self._process = subprocess.Popen(command, env=env, stdout=said, stderr=complained)

    def until(self, condition: Callable[[], Any], seconds: float = 300) -> Any:
        """Wait for something while the driver runs; what it gave."""
        end = time.monotonic() + seconds
        while not (found := condition()):
            assert self._process.poll() is None, self._errors.read_text()[-3000:]
            if time.monotonic() > end:
                raise TimeoutError(self._errors.read_text()[-3000:])
            time.sleep(0.05)
        return found

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def seen(self, seconds: float = 400) -> dict[str, Any]:
        """What it saw, when it has come to its end."""
        assert self._process.wait(seconds) == 0, self._errors.read_text()[-3000:]
        found: dict[str, Any] = json.loads(self._out.read_text().splitlines()[-1])
        return found
