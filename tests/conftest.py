from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny  # noqa: F401  registers the tiny model and streams
from hypothesis import settings
from tiers import WHOLE_FIXTURES, is_whole

from cl_forget.config.run import Run

settings.register_profile("busy", deadline=None)  # a machine that does other work is slow, not wrong
settings.load_profile("busy")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """`make check` does not even import what it leaves out."""
    left_out = config.option.markexpr == "not whole" and collection_path.suffix == ".py"
    return True if left_out and is_whole(collection_path) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what `make check` leaves out; `tiers.py` alone says what that is."""
    for item in items:
        fixtures = WHOLE_FIXTURES.intersection(getattr(item, "fixturenames", ()))
        if fixtures or is_whole(item.path) or item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.whole)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests share one frozen-model cache among themselves and with nobody else."""
    folder = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("CL_FORGET_CACHE", str(folder))


@pytest.fixture(autouse=True)
def _nobody_logged_in(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reaches a developer's own W&B account or leaves files in their home."""
    place = tmp_path_factory.getbasetemp() / "wandb"
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(place / "netrc"))
    monkeypatch.setenv("HOME", str(place))
    for name in ("DIR", "CACHE_DIR", "DATA_DIR", "CONFIG_DIR", "ARTIFACT_DIR"):
        monkeypatch.setenv(f"WANDB_{name}", str(place / name.lower()))


@pytest.fixture(autouse=True)
def _own_logs() -> Iterator[None]:
    """A command that a test runs in this process sets levels of logs; they last no longer than the test."""
    ours = logging.getLogger("cl_forget")
    level, propagate = ours.level, logging.getLogger("wandb").propagate
    yield
    ours.setLevel(level)
    logging.getLogger("wandb").propagate = propagate


@pytest.fixture
def tiny_run() -> Callable[..., Run]:
    """A run of three tiny tasks on the tiny CLIP model; keyword arguments replace fields."""

    def make(**fields: Any) -> Run:
        base: dict[str, Any] = {
            "model": "tiny-clip",
            "stream": "squares",
            "suites": ["colours"],
            "probes": ["colour-probe"],
            "train": {"epochs": 2, "batch_size": 8, "lr": 1e-3},
            "evaluate": {"curves": False},
        }
        return Run.parse({**base, **fields})

    return make


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
