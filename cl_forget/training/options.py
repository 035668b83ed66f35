"""The `train` section of a file: how one task is fine-tuned."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from cl_forget.ground.section import Section

Decay = Annotated[float, Field(ge=0, lt=1)]


class Training(Section):
    """How one task is fine-tuned.

    Attributes:
        epochs: passes over the task's training data.
        steps: optimiser steps of every task, however many samples it has, in the place of `epochs`.
        batch_size: samples per optimiser step.
        micro_batch_size: samples per forward pass; smaller than `batch_size` means gradient accumulation.
        lr: peak learning rate of AdamW.
        weight_decay: AdamW's own decay, towards 0 and not towards the pre-trained weights.
        betas: AdamW's decay rates of the first and second moment.
        warmup: fraction of the steps over which the learning rate rises linearly.
        schedule: what it does afterwards.
        clip: largest gradient norm; null for no clipping.
        head: where the head of each task starts, for every method alike: "zero-shot" is the classifier made
            from its class names, "probe" a linear probe on the frozen features that the task begins with; null
            is zero-shot where the model reads class names, else probe. What a probe set is also where
            penalties and averages (L2-SP, KD, WiSE-FT) have the head of the model that training starts from.
        batch_norm: "frozen" keeps every BatchNorm layer in evaluation mode while training: it normalises by the
            pre-trained model's statistics, which stay; its weight and bias are trained as ever. "update" is a
            plain loop, in which each task overwrites the statistics. No difference without BatchNorm.
        label_smoothing: of the task's cross-entropy.
        augment: random augmentation of training images; with any, frozen models run on every batch instead
            of once per sample.
        precision: "bf16" runs forward and backward passes of training under bfloat16 autocast; weights,
            optimiser state and evaluation stay float32.
        gradient_checkpointing: keep only the blocks' inputs of a forward pass and compute the rest again in
            the backward pass: less memory, about a third more time.
        compile: run the model's blocks through `torch.compile` while training, each by itself: fewer passes over the
            memory of a GPU, after some seconds for the first step. Numbers differ by rounding.
        checkpoint_seconds: how often a run saves its state inside a task.
        strategy: "single" trains in this process; "fsdp" splits the weights over `workers` processes, which
            Ray Train places on the cluster's machines.
        workers: how many; each takes its part of every batch, so results do not depend on it beyond rounding.
        threads: of the processor. Sums split among threads round differently, so the count is part of the run;
            it does not depend on the machine, nor on how many runs work side by side.
    """

    epochs: int = Field(default=5, ge=1, le=10_000)
    steps: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=64, ge=1)
    micro_batch_size: int | None = Field(default=None, ge=1)
    lr: float = Field(default=3e-4, gt=0, le=10)
    weight_decay: float = Field(default=0.0, ge=0, le=10)
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    warmup: float = Field(default=0.1, ge=0, le=1)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    clip: float | None = Field(default=1.0, gt=0)
    head: Literal["zero-shot", "probe"] | None = None
    batch_norm: Literal["frozen", "update"] = "frozen"
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    augment: Literal["none", "shift", "shift-flip"] = "none"
    precision: Literal["float32", "bf16"] = "float32"
    gradient_checkpointing: bool = False
    compile: bool = False
    checkpoint_seconds: float = Field(default=30.0, gt=0)
    strategy: Literal["single", "fsdp"] = "single"
    workers: int = Field(default=1, ge=1)
    threads: int = Field(default=1, ge=1, le=1024)

    def passes(self, samples: float, tasks: float = 1) -> float:
        """How often a stream's training data are gone through: `samples` in all, in so many tasks."""
        return self.epochs if self.steps is None else self.steps * self.batch_size * tasks / samples

    @model_validator(mode="after")
    def _workers_need_a_strategy(self) -> Training:
        if self.strategy == "single" and self.workers > 1:
            raise ValueError(f"{self.workers} workers need `strategy: fsdp`; set it, or leave `workers` out")
        return self

    @model_validator(mode="after")
    def _sharded_blocks_are_not_compiled(self) -> Training:
        if self.compile and self.strategy != "single":
            raise ValueError(
                f"`compile` and `strategy: {self.strategy}` do not go together; leave one of them out"
            )
        return self

    @model_validator(mode="after")
    def _micro_batches_divide(self) -> Training:
        if self.micro_batch_size is not None and self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"batch_size ({self.batch_size}) must be a multiple of micro_batch_size ({self.micro_batch_size})"
            )
        return self
