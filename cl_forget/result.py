"""What a simulation returns and what `result.json` holds; every field that could not be computed is None.

A *row* is one evaluation of the model: row 0 is the pre-trained model, row j the model after stage j.
Accuracies are fractions in [0, 1] everywhere; reports show them as percentages.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from cl_forget.errors import UserError
from cl_forget.files import StrPath

SCHEMA = 1


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


class CurvePoint(_Record):
    """The final model edited at one value of a post-hoc knob."""

    value: float
    row: Row


class Curve(_Record):
    """A post-hoc method's whole trade-off curve from one fine-tune.

    Attributes:
        mitigation: the method whose knob is turned.
        knob: name of the knob.
        formula: what the knob does, so that nobody mistakes its end.
    """

    mitigation: str
    knob: str
    formula: str
    points: list[CurvePoint]


class Result(_Record):
    """One run: one method (a chain of mitigations), one seed.

    Attributes:
        method: the name of the arm, for tables and legends.
        run: the resolved configuration.
        tasks, suites, probes: names, in order; `probes` without the stream's own tasks.
        rows: row 0 (pre-trained), then one per stage.
        metrics: "test" and "validation" -> metric name -> value, as `cl_forget.evaluation.metrics.summary`
            gives them; selection reads "validation". Per-task values are dicts.
        environment: versions, commit, machine, threads.
        notes: sentences that whoever reads the numbers has to know.
    """

    schema_version: int = SCHEMA
    method: str
    seed: int
    model: str
    run: dict[str, Any]
    tasks: list[str]
    suites: list[str]
    probes: list[str] = Field(default_factory=list)
    rows: list[Row]
    curves: list[Curve] = Field(default_factory=list)
    metrics: dict[str, Any] = Field(default_factory=dict)
    environment: dict[str, Any] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)

    @classmethod
    def load(cls, path: StrPath) -> Result:
        """Read `result.json` (or the run folder that holds it).

        Raises:
            UserError: the file is missing, not JSON, or of another schema.
        """
        path = Path(path)
        file = path / "result.json" if path.is_dir() else path
        if not file.exists():
            raise UserError(_no_result(path))
        if file.suffix != ".json":
            raise UserError(f"{file} is no result.json; give a run's folder.")
        try:
            return cls.model_validate_json(file.read_text())
        except OSError as error:
            raise UserError(f"{file} cannot be read: {error.strerror}; make it readable.") from None
        except ValueError as error:
            line = str(error).splitlines()
            raise UserError(
                f"{file} is not a result of this version ({line[0]}); run it again or delete it."
            ) from error


def _no_result(path: Path) -> str:
    """Why there is no result at `path`, and what to give instead."""
    if not path.exists():
        return f"no folder {path}: give the folder of a finished run."
    if (path / "state.json").is_file():
        return f"the run in {path} has not finished; resume it with --resume."
    below = next(iter(sorted(path.rglob("result.json"))), None)
    if below is not None:
        return f"{path} is no run's own folder; give one below it, such as {below.parent}."
    return f"{path} holds no run: give a folder that `cl-forget run` wrote."
