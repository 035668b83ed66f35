"""Notes on settings that a run does not read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from classifiers import net
from mitigations.drive import TASKS, clip

from cl_forget.config.run import Run
from cl_forget.ground.records import Row
from cl_forget.models.base import FoundationModel
from cl_forget.run.notes import PROBED, notes_on

UPDATE = {"head": "probe", "batch_norm": "update"}


@pytest.mark.parametrize(
    ("model", "fields", "said"),
    [
        (clip, {"train": {"head": "probe"}}, None),
        (clip, {"mitigations": ["lp_ft"], "train": {"head": "probe"}}, None),
        (
            clip,
            {"mitigations": ["lp_ft"], "train": {"head": "zero-shot"}},
            "not where heads start here: lp_ft",
        ),
        (clip, {"train": UPDATE}, "train.batch_norm: update has no effect"),
        (net, {"train": UPDATE}, None),
        (clip, {"mitigations": ["batch_norm"], "train": {"head": "probe"}}, "batch_norm has no effect"),
        (clip, {"text": {"chat": False}, "train": {"head": "probe"}}, "text.chat has no effect: no task"),
        (
            clip,
            {"text": {"chat": True, "max_length": 9}, "train": {"head": "probe"}},
            "text.chat, text.max_length have no effect",
        ),
    ],
)
def test_settings_that_do_nothing_are_said(
    tiny_run: Callable[..., Run],
    model: Callable[[], FoundationModel],
    fields: dict[str, Any],
    said: str | None,
) -> None:
    run = tiny_run(**fields)
    notes = notes_on(run, run.chain(), model(), TASKS[:1], Row(after=None, tasks={}))
    found = [note for note in notes if note != PROBED]
    assert len(found) == (said is not None) and all(str(said) in note for note in found)
