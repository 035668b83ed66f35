"""One Ray runtime for a module of tests; its workers share the tests' cache of frozen models."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray


@contextlib.contextmanager
def one_runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    os.environ.update(RAY_worker_niceness="0")  # Ray's own spelling
    cache = str(tmp_path_factory.getbasetemp() / "cache")
    here = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(__file__).parents[2])])
    env = {"CL_FORGET_CACHE": cache, "PYTHONPATH": here, "OMP_NUM_THREADS": "1"}
    ray.init(
        "local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        runtime_env={"env_vars": env},
    )
    yield
    ray.shutdown()
