"""A run is found in W&B by its configuration, as W&B keeps it."""

from __future__ import annotations

from typing import Any

import pytest

from cl_forget.ground.errors import UserError
from cl_forget.reporting.specification import RunRecord
from cl_forget.reporting.wandb.runs import TrackedRun, match


def tracked(config: dict[str, Any]) -> TrackedRun:
    return TrackedRun("id", None, "finished", config, {})


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        # W&B drops mappings that are empty, at whatever depth, and keeps what is null.
        (
            {"text": {"chat": None, "template_arguments": {}}, "seed": 0},
            {"text": {"chat": None}, "seed": 0},
        ),
        ({"a": {"b": {"c": {}}}, "seed": 0}, {"seed": 0}),
        ({"a": {}, "track": {"wandb": "off"}}, {"a": {}, "track": {"wandb": "online"}}),
    ],
)
def test_empty_mappings_do_not_hide_a_run(asked: dict[str, Any], kept: dict[str, Any]) -> None:
    (found,) = match([RunRecord("r", "m", 0, asked, {})], [tracked(kept)])
    assert found.record is not None and found.record.name == "r"


@pytest.mark.parametrize(
    "other", [{"text": {"chat": "x"}}, {"text": {"chat": None, "more": 1}}, {"text": {"chat": {"a": 1}}}]
)
def test_another_configuration_is_another_run(other: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="none of these runs"):
        match(
            [RunRecord("r", "m", 0, {"text": {"chat": None, "template_arguments": {}}}, {})], [tracked(other)]
        )
