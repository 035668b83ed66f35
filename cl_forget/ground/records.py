"""What a measurement gives, as plain typed values; a field that could not be computed is None.

A *row* is one evaluation of the model: row 0 is the pre-trained model, row j the model after stage j.
Accuracies are fractions in [0, 1] everywhere; reports show them as percentages."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Scores(_Record):
    """One pass over one data set.

    Attributes:
        accuracy: fraction right (top-1, exact match or multiple choice); None where only fluency is measured.
        loss: mean cross-entropy, nats; of a text, the mean over its tokens.
        perplexity: exp of the mean loss over all tokens, for texts that are measured by it alone.
        ece: expected calibration error, 15 equal-width bins.
        hardest_decile_accuracy: accuracy on the tenth of the samples with the largest loss under the
            pre-trained model.
        kl_to_base: mean KL(p_θ0 ‖ p_θ) over samples, nats.
        samples: how many samples the numbers are over.
    """

    accuracy: float | None = None
    loss: float | None = None
    perplexity: float | None = None
    ece: float | None = None
    hardest_decile_accuracy: float | None = None
    kl_to_base: float | None = None
    samples: int = 0


class TaskScores(_Record):
    """A task of the stream, or a suite, on its separate data sets."""

    validation: Scores
    test: Scores
    shifted: dict[str, Scores] = Field(default_factory=dict)


class Measured(_Record):
    """Every task and suite, by name."""

    tasks: dict[str, TaskScores]
    suites: dict[str, TaskScores] = Field(default_factory=dict)


class ProbeScores(_Record):
    """A_LP: test accuracy of a linear probe on this model's frozen, L2-normalised features.

    Attributes:
        accuracy: on the test data.
        validation: accuracy on the 10 % the regularisation was chosen on.
        c: the chosen inverse regularisation strength.
    """

    accuracy: float | None
    validation: float | None = None
    c: float | None = None


class Drift(_Record):
    """How far the model has moved from the pre-trained one.

    Attributes:
        weight_distance: L2 distance ‖θ-θ0‖ of the trunk, without heads, all and by block name.
        feature_drift: by depth, mean squared distance of the token-averaged features over the mean squared
            norm of the pre-trained ones.
        cka: by depth, linear CKA with the pre-trained features (1 = same up to rotation and scale).
    """

    weight_distance: dict[str, float] = Field(default_factory=dict)
    feature_drift: dict[str, float] = Field(default_factory=dict)
    cka: dict[str, float] = Field(default_factory=dict)


class Cost(_Record):
    """What training has cost since the start of the run.

    Passes are counted in samples: `forward_samples` counts each sample of each forward pass of the tuned
    model, `frozen_samples` the same for frozen models (0 when read from the cache). `train_seconds` is
    wall-clock time of the steps and of what a method does before and after them.
    """

    steps: int = 0
    samples_seen: int = 0
    forward_samples: int = 0
    backward_samples: int = 0
    frozen_samples: int = 0
    train_seconds: float = 0.0
    evaluation_seconds: float = 0.0
    peak_memory_mb: float | None = None
    trainable_parameters: int = 0


class Row(_Record):
    """One evaluation: every task, suite and probe.

    Attributes:
        after: name of the stage trained last; None for row 0.
        tasks: by task name, in stream order; every task, also future ones.
        suites: zero-shot generality suites by name.
        probes: linear probes by task name: extra probe tasks and the stream's tasks not yet tuned on.
        restored: tasks and suites again, with the pre-trained model's BatchNorm statistics put back; None
            where training did not change any.
    """

    after: str | None
    tasks: dict[str, TaskScores]
    suites: dict[str, TaskScores] = Field(default_factory=dict)
    probes: dict[str, ProbeScores] = Field(default_factory=dict)
    drift: Drift = Field(default_factory=Drift)
    restored: Measured | None = None
    cost: Cost = Field(default_factory=Cost)
