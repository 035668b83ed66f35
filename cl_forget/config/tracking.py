"""The `track` section of a file: where a run is followed besides its own files."""

from __future__ import annotations

import os
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from cl_forget.ground.section import Section


def _wandb_mode(value: Any) -> Any:
    # YAML reads a bare `off` as false, and `on` as true.
    return {False: "off", True: "online"}.get(value, value) if isinstance(value, bool) else value


def _as_project(name: str) -> str:
    if not re.fullmatch(r"[^/\\#?%:]{1,128}", name):
        raise ValueError(
            f"is written with 1 to 128 characters, none of them / \\ # ? % or : (got {name[:80]!r})"
        )
    return name


class Tracking(Section):
    """Where a run is followed besides its own files; nothing here changes a number.

    Attributes:
        wandb: Weights & Biases; null is online if logged in, else off.
        project: of W&B, in which the run appears.
        entity: W&B's user or team; null is the user's default.
        group: what the runs of one comparison have in common; null is the experiment's name.
        job_type: what kind of run it is, in W&B's list.
        tags: labels of the run.
        artifacts: whether the checkpoints and the final model are uploaded too.
        timeout: the longest a run waits for W&B, seconds: once at its start and once at its end.
        kl_every: optimiser steps between two measurements of the KL to the pre-trained model during training,
            on a few validation samples of the first suite.
    """

    wandb: Annotated[Literal["online", "offline", "off"], BeforeValidator(_wandb_mode)] | None = None
    project: Annotated[str, AfterValidator(_as_project)] = "cl-forget"
    entity: str | None = Field(default=None, min_length=1)
    group: str | None = Field(default=None, min_length=1, max_length=128)
    job_type: str = Field(default="run", min_length=1, max_length=64)
    tags: list[Annotated[str, Field(min_length=1, max_length=64)]] = Field(default_factory=list)
    artifacts: bool = False
    timeout: float = Field(default=20.0, gt=0, le=600)
    kl_every: int = Field(default=25, ge=1)

    def resolved(self, **ours: str) -> Tracking:
        """With every label that nobody has set taken from W&B's own variable, else from `ours`.

        Args:
            ours: field -> what we call it where neither says anything.
        """
        found: dict[str, Any] = {}
        for field, variable in _WANDB_LABELS.items():
            if field in self.model_fields_set and getattr(self, field) is not None:
                continue
            if said := os.environ.get(variable):
                found[field] = (
                    [tag.strip() for tag in said.split(",") if tag.strip()] if field == "tags" else said
                )
            elif field in ours:
                found[field] = ours[field]
        return self.model_copy(update=found)


_WANDB_LABELS = {
    "project": "WANDB_PROJECT",
    "entity": "WANDB_ENTITY",
    "group": "WANDB_RUN_GROUP",
    "job_type": "WANDB_JOB_TYPE",
    "tags": "WANDB_TAGS",
}
"""Fields of `track` that W&B reads from the environment where the file does not set them."""
