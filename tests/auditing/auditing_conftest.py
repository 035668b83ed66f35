"""Two finished runs: emoji-clip tuned on digits, and a tiny Llama tuned on sums; `conftest` shares them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import tiny_lm

from cl_forget.comparison.records import Result
from cl_forget.config.run import Run
from cl_forget.run.simulate import simulate
from cl_forget.streams.base import Experience

LIMIT = 30


@dataclass
class Tuned:
    base: str
    folder: Path
    result: Result


@pytest.fixture(scope="package")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp() / "cache"  # the one every test uses


@pytest.fixture(scope="package")
def clip_run(tmp_path_factory: pytest.TempPathFactory, _cache: Path) -> Tuned:
    run = Run(
        model="emoji-clip", stream=["digits"], suites=["emoji"], mitigations=["wise_ft"],
        train={"epochs": 1, "lr": 2e-3, "batch_size": 128}, evaluate={"limit": LIMIT},
    )  # fmt: skip
    plain = run.model_copy(update={"mitigations": []})
    folder = tmp_path_factory.mktemp("clip")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CL_FORGET_CACHE", str(_cache))
        curves = simulate(run, folder / "averaged")
        result = simulate(plain, folder / "run", donor=folder / "averaged")
    return Tuned("emoji-clip", folder / "run", result.model_copy(update={"curves": curves.curves}))


@pytest.fixture(scope="package")
def lm_run(tmp_path_factory: pytest.TempPathFactory, _cache: Path) -> Tuned:
    folder = tmp_path_factory.mktemp("lm")
    base = f"hf:{tiny_lm.folder(folder / 'base')}"
    run = Run(
        model=base, stream=[{"sums": {"tasks": 1, "count": 40}}], suites=["rhyme", "letters-copied"],
        train={"epochs": 12, "lr": 1e-2, "batch_size": 20},
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CL_FORGET_CACHE", str(_cache))
        return Tuned(base, folder / "run", simulate(run, folder / "run"))


def sums_one() -> list[Experience]:
    """One task of sums."""
    return tiny_lm.sums(1)
