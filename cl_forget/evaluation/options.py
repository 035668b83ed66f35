"""The `evaluate` section of a file: how a model is measured after each task."""

from __future__ import annotations

from pydantic import Field

from cl_forget.ground.section import Section


class Evaluation(Section):
    """How a model is measured after each task.

    Attributes:
        batch_size: samples per forward pass.
        limit: samples per validation, test or shifted set at most, always the same ones, classes balanced;
            null reads all of them. A quick look needs few, a claim needs all.
        curves: whether a post-hoc method (WiSE-FT, LiNeS, ...) is also evaluated at every value of its knob.
        export: whether the final model, every edit applied, is written in the format it came in.
    """

    batch_size: int = Field(256, ge=1)
    limit: int | None = Field(None, ge=1)
    curves: bool = True
    export: bool = True
