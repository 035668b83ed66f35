"""What an audit and a repair return, and what `audit.json` and `repair.json` hold.

Qualities are accuracies in [0, 1], or, where a suite has none, 1/perplexity (the mean probability of a token).
Generality is the mean accuracy over the suites, as in a run; suites that are measured by perplexity stand beside it.
What could not be measured is None. `ranges` hold 95 % intervals, paired where two models are compared.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from cl_forget.auditing.conditions import Answer, Unit
from cl_forget.evaluation.items import Interval
from cl_forget.ground.records import Drift, Scores


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Loss(_Record):
    """One task or suite before and after tuning, on its test data.

    Attributes:
        name: of the task or suite.
        role: "task" (what was tuned on, or for) or "suite" (what should have stayed).
        metric: what the accuracy is.
        base, tuned: every number of either model.
        drop: quality of base minus tuned; negative where tuning helped.
        perplexity_rise: ln of the perplexity, tuned minus base, nats: what a loss is where there is no accuracy.
        ranges: of the qualities "base" and "tuned", of "drop", and of "perplexity_rise" where there is one; empty
            where samples are not seen one by one.
    """

    name: str
    role: str
    metric: str
    base: Scores
    tuned: Scores
    drop: float | None
    perplexity_rise: float | None = None
    ranges: dict[str, Interval] = Field(default_factory=dict)


class Moved(_Record):
    """How far one part of the model, or one kind of tensor, has moved.

    Attributes:
        name: of the part or kind.
        parameters: how many numbers it holds; None where they are not in the model's file.
        distance: ‖θ - θ0‖, L2.
        relative: ‖θ - θ0‖ / ‖θ0‖.
    """

    name: str
    parameters: int | None
    distance: float | None
    relative: float | None


class Point(_Record):
    """One model on validation data.

    Attributes:
        speciality: mean quality over the tasks.
        generality: mean accuracy over the suites that have one.
        qualities: by task and suite.
        fluency: mean of 1/perplexity over the suites that are measured by it.
        ranges: of "speciality", "generality" and "fluency".
    """

    speciality: float | None
    generality: float | None
    qualities: dict[str, float | None]
    fluency: float | None = None
    ranges: dict[str, Interval] = Field(default_factory=dict)

    @property
    def kept(self) -> float | None:
        """What should have stayed: generality, or fluency where no suite has an accuracy."""
        return self.fluency if self.generality is None else self.generality


def score(point: Point, base: Point, tuned: Point) -> float:
    """Mean of retention `G/G(base)` and target `S/S(tuned)`."""
    return (_ratio(point.kept, base.kept) + _ratio(point.speciality, tuned.speciality)) / 2


def _ratio(value: float | None, reference: float | None) -> float:
    return 0.0 if value is None or not reference else value / reference


class Effect(_Record):
    """What one part of the model has to do with the loss, on validation data.

    Attributes:
        part: "block 3", "before the blocks", ...
        restored: the tuned model with this part put back to the base.
        alone: the base with only this part tuned.
        recovered: generality that comes back when the part is restored (fluency where no suite has an accuracy).
        given_up: speciality that is lost when the part is restored.
        ranges: of "recovered" and "given_up".
    """

    part: str
    restored: Point
    alone: Point
    recovered: float | None
    given_up: float | None
    ranges: dict[str, Interval] = Field(default_factory=dict)


class Change(_Record):
    """A mean over tasks or suites before and after, on test data.

    Attributes:
        base, tuned: the mean quality of either model.
        change: tuned minus base.
        perplexity_rise: mean rise of the logarithm of the perplexity, nats; None where there are accuracies.
        ranges: of "base", "tuned" and "change", and of "perplexity_rise" where there is one; empty where samples are
            not seen one by one.
    """

    base: float
    tuned: float
    change: float
    perplexity_rise: float | None = None
    ranges: dict[str, Interval] = Field(default_factory=dict)


class Checkpoint(_Record):
    """One of the models that were audited, against the base, on test data.

    Attributes:
        name: as it was named, as short as tells it from the others.
        losses: every task and suite.
        changes: of "speciality", "generality" and "fluency", as far as there are such means.
        relative: ‖θ - θ0‖ / ‖θ0‖ of all weights.
    """

    name: str
    losses: list[Loss]
    changes: dict[str, Change]
    relative: float | None = None


class Judged(_Record):
    """One condition of a gate on one model.

    Attributes:
        condition: as the user wrote it.
        checkpoint: which model.
        measure: what it is judged on; the name of one data set where the condition is on any.
        unit: of the condition.
        value: the change from the base, or the level, as the unit says; points and % as a fraction.
        range: its 95 % interval; None where samples are not seen one by one.
        corrected: its interval at `Gate.level`.
        answer: "passes", "fails" or "cannot be told".
        reason: why, in one sentence.
    """

    condition: str
    checkpoint: str
    measure: str
    unit: Unit = "points"
    value: float | None
    range: Interval | None
    corrected: Interval | None
    answer: Answer
    reason: str


class Gate(_Record):
    """Whether a model may be released.

    Attributes:
        answer: "fails" where any condition fails; else "cannot be told" where any of them cannot; else "passes".
        exit_code: of the command: 0 passes, 3 fails, 4 cannot be told.
        conditions: as the user wrote them.
        decides: whether "every" checkpoint decides, or the "last" one alone.
        level: of the intervals that a condition fails by: 95 %, divided among all that decide (Bonferroni).
        control: what the null control is; None without one.
        judged: every condition on every checkpoint.
        controls: every condition on the null control.
    """

    answer: Answer
    exit_code: int
    conditions: list[str]
    decides: Literal["every", "last"]
    level: float
    control: str | None = None
    judged: list[Judged]
    controls: list[Judged] = Field(default_factory=list)


class Quantised(_Record):
    """What rounding its weights costs a model, on test data.

    Attributes:
        model: "base" or "tuned".
        bits: of each weight.
        scheme: how it was rounded, in words.
        parameters: how many numbers were rounded.
        relative: ‖Q(θ) - θ‖ / ‖θ‖ over these.
        changes: of "speciality", "generality" and "fluency", with the model as it is as "base" and the rounded one
            as "tuned".
        qualities: of the rounded model, by task and suite.
    """

    model: Literal["base", "tuned"]
    bits: int
    scheme: str
    parameters: int
    relative: float | None
    changes: dict[str, Change]
    qualities: dict[str, float | None]


class Audit(_Record):
    """What a fine-tuned model lost, and where.

    Attributes:
        base, tuned: the two models as they were named.
        format: what the tuned model is on disk.
        reading: what has to be known of whose tokenizer reads the texts, in sentences; empty where the models read
            alike.
        losses: every task and suite, test data.
        parts: weight distance by depth, input to output; the first entry is the whole model.
        kinds: weight distance by kind of tensor.
        drift: features of the tuned model against the base's, by depth.
        base_point, tuned_point: the two ends on the validation data that `effects` were measured on.
        effects: each part that moved, restored and alone.
        history: every model audited, in the order given; the last is `tuned`, which all the rest is of.
        gate: whether it may be released; None where nobody asked.
        quantised: what fewer bits cost base and tuned model; empty where nobody asked.
        environment: versions, commit, machine.
    """

    base: str
    tuned: str
    format: str
    reading: list[str] = Field(default_factory=list)
    losses: list[Loss] = Field(default_factory=list)
    parts: list[Moved]
    kinds: list[Moved]
    drift: Drift = Field(default_factory=Drift)
    base_point: Point | None = None
    tuned_point: Point | None = None
    effects: list[Effect] = Field(default_factory=list)
    history: list[Checkpoint] = Field(default_factory=list)
    gate: Gate | None = None
    quantised: list[Quantised] = Field(default_factory=list)
    environment: dict[str, Any] = Field(default_factory=dict)

    @property
    def all_parts(self) -> list[Moved]:
        """`parts`, and those with an effect that are in neither file (heads made for a task)."""
        known = {part.name for part in self.parts}
        others = [effect.part for effect in self.effects if effect.part not in known]
        return [*self.parts, *(Moved(name=n, parameters=None, distance=None, relative=None) for n in others)]


class Candidate(_Record):
    """One edit that needs no training.

    Attributes:
        method: "wise_ft", "lines", "hma", "restore", "intruder_reduction", or a merge.
        knob, setting: what was turned, and where to ("alpha", 0.5); of "restore" a part's name and 0, or
            "parts" and how many went back; of "model_stock" "models" and how many they are.
        shares: by part, how much of the way from the base to the tuned model it goes; empty where the edit is no
            such way.
        validation: the edited model on validation data.
        front: whether no other candidate is better on both axes.
    """

    method: str
    knob: str
    setting: float
    shares: dict[str, float]
    validation: Point
    front: bool = False

    @property
    def label(self) -> str:
        """For tables and legends."""
        if self.method == "restore":
            return f"restore {self.setting:g} parts" if self.knob == "parts" else f"restore {self.knob}"
        return f"{self.method}, {self.knob} {self.setting:g}"


Verdict = Literal[
    "repaired",
    "nothing to repair",
    "the tuned model has learnt nothing",
    "too few samples to tell",
    "no edit brings it back",
]
"""What a repair may find."""


class Repair(_Record):
    """The edits tried, the one chosen, and what it is worth on test data.

    Attributes:
        base, tuned: the two models as they were named.
        merged: the tuned models that came before `tuned` and were merged with it.
        format: of the model written.
        reading: as in `Audit`.
        rule: how the choice was made, in words.
        statistics: what BatchNorm's running statistics of an edit are: "re-estimated" on the tasks' training data, or
            "mixed" like weights; None where both models have the same, or none.
        keep: share of the tuned speciality that the rule asked for; None for the rule that balances both.
        base_point, tuned_point: the two ends on validation data.
        candidates: every edit, in the order tried.
        chosen: position of the chosen one.
        losses: test data: every task and suite, base, tuned and repaired.
        verdict, reason: what came of it, and why in one sentence. Only "repaired" is a model to go on with.
        written: files of the repaired model; empty when nothing was written.
        environment: versions, commit, machine.
    """

    base: str
    tuned: str
    merged: list[str] = Field(default_factory=list)
    format: str
    reading: list[str] = Field(default_factory=list)
    rule: str
    statistics: Literal["re-estimated", "mixed"] | None = None
    keep: float | None = None
    base_point: Point
    tuned_point: Point
    candidates: list[Candidate]
    chosen: int
    losses: list[Repaired]
    verdict: Verdict = "repaired"
    reason: str = ""
    written: list[str] = Field(default_factory=list)
    environment: dict[str, Any] = Field(default_factory=dict)

    @property
    def choice(self) -> Candidate:
        """The chosen edit."""
        return self.candidates[self.chosen]


class Repaired(Loss):
    """`Loss`, and the repaired model; `ranges` also of it, and of its "change" from the tuned one.

    Where there is no accuracy, `ranges` have "change_in_nats", too: the rise of ln perplexity from the tuned model.
    """

    repaired: Scores


Repair.model_rebuild()
