"""What stops a sweep before it has written or started anything, in one line; no Ray runtime is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sweep_samples import FIELDS

from cl_forget.errors import UserError
from cl_forget.sweeps.cluster import Resources
from cl_forget.sweeps.folder import only_driver
from cl_forget.sweeps.rehearsal import rehearse, rehearsed
from cl_forget.sweeps.runner import sweep
from cl_forget.sweeps.specification import Sweep


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stream": ["sqares"]}, "unknown stream 'sqares'. Did you mean 'squares'?"),
        ({"suites": ["colors"]}, "unknown suite 'colors'. Did you mean 'colours'?"),
        ({"model": "tiny-clop"}, "unknown model 'tiny-clop'. Did you mean 'tiny-clip'?"),
        ({"report_on": {"stream": ["sqares"]}}, "unknown stream 'sqares'"),
        ({"methods": {"LDIFS": [{"ldifs": {"depths": ["block 9"]}}]}, "space": {}}, "no depth 'block 9'"),
    ],
)
def test_what_cannot_be_loaded(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    folder = tmp_path / "sweep"
    with pytest.raises(UserError) as error:
        sweep(Sweep(**{**FIELDS, **fields}), folder)
    assert message in str(error.value)
    assert not folder.exists()


def test_no_cluster_at_the_address(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"no Ray cluster at '127.0.0.1:9'.*start one with `ray start --head`"
    ):
        sweep(Sweep(**FIELDS), tmp_path / "sweep", resources=Resources(address="127.0.0.1:9"))
    assert not (tmp_path / "sweep").exists()


def test_storage_that_nobody_knows() -> None:
    with pytest.raises(UserError, match="the storage at nowhere://a cannot be used"):
        sweep(Sweep(**FIELDS), "nowhere://a")


def test_one_driver_at_a_time(tmp_path: Path) -> None:
    with (
        only_driver(tmp_path),
        pytest.raises(UserError, match="being worked on by another process"),
        only_driver(tmp_path),
    ):
        raise AssertionError("two drivers on one folder")


def test_a_rehearsal_measures_the_memory_of_a_trial() -> None:
    assert 50 < rehearse(rehearsed(Sweep(**FIELDS))) < 20_000
