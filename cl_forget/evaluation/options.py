"""The `evaluate` section of a file: how a model is measured after each task."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cl_forget.ground.section import Section

Export = Literal[True, False, "merged", "adapter", "both"]
"""What is written of a tuned model: True and "both" are merged weights and, where a LoRA was trained, its adapter;
"adapter" the adapter alone where there is one; "merged" the weights alone."""


class Evaluation(Section):
    """How a model is measured after each task.

    Attributes:
        batch_size: samples per forward pass.
        limit: samples per validation, test or shifted set at most, always the same ones, classes balanced;
            null reads all of them. A quick look needs few, a claim needs all.
        curves: whether a post-hoc method (WiSE-FT, LiNeS, ...) is also evaluated at every value of its knob.
        export: whether the final model, every edit applied, is written as its library saves it, in float32. A run
            that trained a LoRA also writes it as an adapter of peft; "merged" leaves that out, "adapter" writes it
            alone.
        keep_stages: whether the checkpoints after each task stay when all runs of the file are done. Without
            them nothing can be trained on from a finished run.
        probe_grid: values of C, the inverse strength of regularisation in scikit-learn's sense, from which a linear
            probe (Δ_LP) takes the best on a held-out tenth; null is 1, 10, ... 1e5. LDIFS's authors search 1e-6 to
            1e6. Heads that a probe sets before training are fitted as ever.
        items: whether `items.parquet` keeps, for every evaluation, which samples were right and what was predicted.
    """

    batch_size: int = Field(default=256, ge=1)
    limit: int | None = Field(default=None, ge=1)
    curves: bool = True
    export: Export = True
    keep_stages: bool = False
    probe_grid: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] | None = Field(
        default=None, min_length=1
    )
    items: bool = True
