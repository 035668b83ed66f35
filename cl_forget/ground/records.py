"""What a measurement gives, as plain typed values; a field that could not be computed is None.

A *row* is one evaluation of the model: row 0 is the pre-trained model, row j the model after stage j.
Accuracies are fractions in [0, 1] everywhere; reports show them as percentages.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, NonNegativeInt
from typing_extensions import TypedDict

from cl_forget.ground.errors import UserError


class Record(BaseModel):
    """The base of records: a field that is not known is refused."""

    model_config = ConfigDict(extra="forbid")


def _finite(value: Any) -> Any:
    """None for a float that is no number: what overflowed could not be computed."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _finite_items(values: Any) -> Any:
    """A mapping without the values that could not be computed."""
    if not isinstance(values, dict):
        return values
    return {key: value for key, value in values.items() if _finite(value) is not None}


Finite = Annotated[float | None, BeforeValidator(_finite)]
FiniteBy = Annotated[dict[str, float], BeforeValidator(_finite_items)]


class Scores(Record):
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
        lost, gained: share of the samples that the pre-trained model has right and this one wrong, and the other
            way round; None where nothing is right or wrong.
        choices: answers that a sample chooses among (classes, or the mean number of choices); None for free answers.
    """

    accuracy: Finite = None
    loss: Finite = None
    perplexity: Finite = None
    ece: Finite = None
    hardest_decile_accuracy: Finite = None
    kl_to_base: Finite = None
    samples: NonNegativeInt = 0
    lost: Finite = None
    gained: Finite = None
    choices: Finite = None


class TaskScores(Record):
    """A task of the stream, or a suite, on its separate data sets."""

    validation: Scores
    test: Scores
    shifted: dict[str, Scores] = Field(default_factory=dict)


class Measured(Record):
    """Every task and suite, by name."""

    tasks: dict[str, TaskScores]
    suites: dict[str, TaskScores] = Field(default_factory=dict)


class ProbeScores(Record):
    """A_LP: test accuracy of a linear probe on this model's frozen, L2-normalised features.

    Attributes:
        accuracy: on the test data.
        validation: accuracy on the 10 % the regularisation was chosen on.
        c: the chosen inverse regularisation strength.
    """

    accuracy: Finite
    validation: Finite = None
    c: Finite = None


class Drift(Record):
    """How far the model has moved from the pre-trained one.

    Attributes:
        weight_distance: L2 distance ‖θ-θ0‖ of the trunk, without heads, all and by block name.
        feature_drift: by depth, mean squared distance of the token-averaged features over the mean squared
            norm of the pre-trained ones.
        cka: by depth, linear CKA with the pre-trained features (1 = same up to rotation and scale).
    """

    weight_distance: FiniteBy = Field(default_factory=dict)
    feature_drift: FiniteBy = Field(default_factory=dict)
    cka: FiniteBy = Field(default_factory=dict)


class Cost(Record):
    """What training has cost since the start of the run.

    Passes are counted in samples: `forward_samples` counts each sample of each forward pass of the tuned
    model. `frozen_samples` counts what the frozen models' outputs cost anyone who has none of them yet: one pass
    over a data set whose samples are always the same, one per batch where they are augmented at random, and the
    same when the cache held them already. `train_seconds` is wall-clock time of the steps and of what a method
    does before and after them.
    """

    steps: NonNegativeInt = 0
    samples_seen: NonNegativeInt = 0
    forward_samples: NonNegativeInt = 0
    backward_samples: NonNegativeInt = 0
    frozen_samples: NonNegativeInt = 0
    train_seconds: float = 0.0
    evaluation_seconds: float = 0.0
    peak_memory_mb: float | None = None
    trainable_parameters: NonNegativeInt = 0

    @property
    def passes(self) -> int:
        """All passes together, in samples: forward, backward, and those of frozen models, cached or not."""
        return self.forward_samples + self.backward_samples + self.frozen_samples


class Row(Record):
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


class Fingerprints(Record):
    """Hashes of what a run began with; two runs with other ones are not about the same.

    Attributes:
        model: of the base model: architecture, weights and buffers, without heads.
        data: by name of the task, suite or probe set: of its classes and all its data.
    """

    model: str
    data: dict[str, str]

    def changes(self, now: Fingerprints) -> list[str]:
        """What both have and is not the same, in words."""
        names = [name for name in self.data if now.data.get(name, self.data[name]) != self.data[name]]
        model = ["the base model's weights"] if self.model != now.model else []
        return model + ([f"the data of {', '.join(names)}"] if names else [])

    def check(self, now: Fingerprints, whose: str) -> None:
        """Refuse to mix.

        Args:
            now: of the base model and the data as they are.
            whose: which run has these fingerprints, as in "the run in runs/a".

        Raises:
            UserError: something has changed; says what.
        """
        if changed := self.changes(now):
            raise UserError(
                f"{' and '.join(changed)} are not what {whose} began with: put them back as they were, choose "
                "another --output, or start over with --overwrite."
            )


class Metrics(TypedDict, total=False):
    """Every metric of one run on one kind of data, by the names of `cl_forget.evaluation.definitions.DEFINITIONS`.

    None is what could not be computed; names in `_by_task`, `_by_suite` and `_by_probe` hold numbers by name. Files
    of another version may hold other metrics, too, and lack some of these.
    """

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    speciality: float | None
    speciality_by_task: dict[str, float | None]
    speciality_pretrained: float | None
    forgetting_last: float | None
    forgetting_last_by_task: dict[str, float | None]
    forgetting_max: float | None
    forgetting_max_by_task: dict[str, float | None]
    bwt: float | None
    fwt: float | None
    fwt_by_task: dict[str, float | None]
    mtil_transfer: float | None
    mtil_avg: float | None
    mtil_last: float | None
    generality: float | None
    generality_by_suite: dict[str, float | None]
    generality_pretrained: float | None
    retention: float | None
    generality_drop: float | None
    generality_drop_by_suite: dict[str, float | None]
    delta_zs: float | None
    delta_zs_by_suite: dict[str, float | None]
    general_ability_delta: float | None
    perplexity_by_suite: dict[str, float | None]
    perplexity_rise_by_suite: dict[str, float | None]
    perplexity_rise: float | None
    delta_lp: float | None
    delta_lp_by_probe: dict[str, float | None]
    delta_lp_before_tuning: float | None
    delta_lp_before_tuning_by_task: dict[str, float | None]
    ood_accuracy: float | None
    ood_accuracy_by_task: dict[str, float | None]
    ood_accuracy_pretrained: float | None
    ece: float | None
    hardest_decile_accuracy: float | None
    kl_to_base: float | None
    f_true: float | None
    f_true_by_suite: dict[str, float | None]
    bt_true: float | None
    bt_true_by_suite: dict[str, float | None]
    generality_adjusted: float | None
    speciality_adjusted: float | None
    generality_restored: float | None
    speciality_restored: float | None
    statistics_share: float | None
    weight_distance: float | None
