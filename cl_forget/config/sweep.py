"""The typed sweep file: an experiment, and what to vary in it.

    name, model, stream, suites, train, ...    as in an experiment
    methods: {LDIFS: [ldifs], ...}             a knob that is not set takes its method's own grid
    space: {train.lr: {log_uniform: [1e-4, 1e-2]}, ldifs.strength: {grid: [1, 10]}}
    mode: curve | search | asha
    seeds: [0, 1, 2]                           paired over the methods
    budget: {trials: 20}                       settings per method, or {compute: <samples>} per method
    report_on: {stream: [...], seeds: [...]}   where the selected setting of each method is run again

Everything is checked before anything is loaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from cl_forget.config.protocol import Protocol
from cl_forget.config.reading import load_file
from cl_forget.config.run import PLAIN, ArmName, FolderName, MitigationItem, Run, Seed, Shared, Stream
from cl_forget.evaluation.definitions import DEFINITIONS
from cl_forget.ground.errors import UserError
from cl_forget.ground.files import StrPath
from cl_forget.ground.registry import closest
from cl_forget.ground.section import Section
from cl_forget.mitigations.chain import Chain
from cl_forget.mitigations.protocol import Mitigation

SECTIONS = ("train", "text")
"""The sections of an experiment whose fields a space may vary, besides the mitigations' own."""

DEFAULT_TRIALS = 20
"""Settings per method where a search is given no budget."""

NEEDS_SUITES = ("generality", "retention", "generality_drop", "delta_zs")
TEST_ONLY = ("delta_lp", "ood_accuracy")


def _one_of(value: Any) -> Any:
    return {"grid": value} if isinstance(value, list) else value


class Range(Section):
    """The values one field may take; exactly one of the first four.

    Attributes:
        grid: each of these (a list alone is a grid).
        choice: one of these at a time.
        uniform: low and high.
        log_uniform: low and high, the logarithm uniform.
        methods: only in these methods; null for every method that has the field.
    """

    grid: list[Any] | None = None
    choice: list[Any] | None = None
    uniform: tuple[float, float] | None = None
    log_uniform: tuple[float, float] | None = None
    methods: list[str] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Range:
        given = [
            kind for kind in ("grid", "choice", "uniform", "log_uniform") if getattr(self, kind) is not None
        ]
        if len(given) != 1:
            raise ValueError("give exactly one of grid, choice, uniform and log_uniform")
        if given[0] in ("grid", "choice") and not getattr(self, given[0]):
            raise ValueError(f"the {given[0]} is empty; name at least one value")
        if given[0] in ("uniform", "log_uniform"):
            low, high = getattr(self, given[0])
            if low >= high or (given[0] == "log_uniform" and low <= 0):
                raise ValueError(
                    f"{given[0]} takes a low and a higher value{', both above 0' if 'log' in given[0] else ''}"
                )
        return self

    @property
    def values(self) -> list[Any] | None:
        """The values of a grid or choice, None for a continuous range."""
        return self.grid if self.grid is not None else self.choice

    def ends(self) -> list[Any]:
        """Every value, or the two ends of a continuous range; what is checked in advance."""
        values = self.values
        return values if values is not None else list(self.uniform or self.log_uniform or ())


class Where(Section):
    """A stream and seeds; null for the sweep's own."""

    stream: Stream | None = None
    seeds: list[Seed] | None = Field(None, min_length=1)


class Budget(Section):
    """What each method may spend; null for no limit (curve) or twenty trials (search, asha).

    Attributes:
        trials: settings per method; a setting is run on every seed. A grid with more is thinned evenly.
        compute: samples through the tuned and frozen models per method (`search` only).
    """

    trials: int | None = Field(None, ge=1)
    compute: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _one_kind(self) -> Budget:
        if self.trials is not None and self.compute is not None:
            raise ValueError("choose one of trials and compute")
        return self


class Score(Section):
    """One number for schedulers and single-objective search: w·speciality + (1-w)·generality, validation data.

    Attributes:
        speciality: w.
        generality: what stands for generality: the suites' accuracy, or exp(-KL to the pre-trained model),
            which is cheaper.
        every: optimiser steps between two measurements inside a task (`asha`).
        samples: validation samples per task and suite that such a measurement reads.
    """

    speciality: float = Field(0.5, ge=0, le=1)
    generality: Literal["accuracy", "kl_to_base"] = "accuracy"
    every: int = Field(20, ge=1)
    samples: int = Field(128, ge=1)


class Asha(Section):
    """The successive halving of `asha`; a task stream is 100 % long.

    Attributes:
        grace: percent of the training that every trial gets.
        reduction: of how many trials one goes on at each rung.
    """

    grace: int = Field(20, ge=1, le=100)
    reduction: float = Field(3, gt=1)


class Sweep(Shared):
    """The sweep file.

    Attributes:
        name: of the folder its results go to.
        methods: arm name -> list of mitigations, or just their names.
        space: dotted field -> its values: a field of `train` or `text`, or `<mitigation>.<field>`.
        mode: `curve` runs every method over its grid; `search` lets Optuna choose the settings; `asha` stops
            settings early that fall behind.
        seeds: each setting is run once per seed, paired over the methods.
        budget: equal for every method.
        control: whether plain fine-tuning is added as the arm every other is compared with.
        objectives: validation metrics that `search` makes as large as it can; several give a front.
        score: the scalar "score", which may be an objective and is what `asha` judges.
        asha: its settings.
        search_seed: of the search's own random numbers.
        tune_on, report_on: streams and seeds for selection and for the numbers that are reported.
        protocol: how one setting per method is selected, and the levels methods are compared at.
    """

    name: FolderName = "sweep"
    methods: dict[ArmName, list[MitigationItem]]
    space: dict[str, Annotated[Range, BeforeValidator(_one_of)]] = Field(default_factory=dict)
    mode: Literal["curve", "search", "asha"] = "curve"
    seeds: list[Seed] = Field([0], min_length=1)
    budget: Budget = Budget()
    control: bool = True
    objectives: list[str] = Field(["speciality", "generality"], min_length=1)
    score: Score = Score()
    asha: Asha = Asha()
    search_seed: int = Field(0, ge=0)
    tune_on: Where = Where()
    report_on: Where | None = None
    protocol: Protocol | None = None

    @field_validator("methods", mode="after")
    @classmethod
    def _methods_compose(cls, methods: dict[str, list[Mitigation]]) -> dict[str, list[Mitigation]]:
        if not methods:
            raise ValueError("is empty; name at least one, for instance `LDIFS: [ldifs]`")
        for arm, mitigations in methods.items():
            try:
                Chain(mitigations)
            except UserError as error:
                raise ValueError(f"method '{arm}': {error}") from None
        return methods

    @model_serializer(mode="wrap")
    def _plain(self, handler: Any) -> dict[str, Any]:
        plain: dict[str, Any] = handler(self)
        plain["methods"] = {arm: [{m.name: _set(m)} for m in found] for arm, found in self.methods.items()}
        return plain

    @field_validator("space", mode="after")
    @classmethod
    def _space_is_known(cls, space: dict[str, Range], info: ValidationInfo) -> dict[str, Range]:
        arms: dict[str, list[Mitigation]] = info.data.get("methods", {})
        known = {f"{m.name}.{field}" for arm in arms.values() for m in arm for field in type(m).model_fields}
        known |= {
            f"{name}.{field}"
            for name in SECTIONS
            for field in type(Shared.model_fields[name].default).model_fields
        }
        for field, values in space.items():
            if field not in known:
                raise ValueError(f"no method has a field '{field}'.{closest(field, sorted(known))}")
            for arm in values.methods or []:
                if arm not in arms:
                    raise ValueError(
                        f"'{field}' is limited to an unknown method '{arm}'.{closest(arm, list(arms))}"
                    )
        return space

    @field_validator("objectives", mode="after")
    @classmethod
    def _objectives_are_reported(cls, objectives: list[str]) -> list[str]:
        known = ["score", *(name for name in DEFINITIONS if "_by_" not in name and name not in TEST_ONLY)]
        for name in objectives:
            if name not in known:
                raise ValueError(f"'{name}' is never reported on validation data.{closest(name, known)}")
        return objectives

    @model_validator(mode="after")
    def _modes_fit(self) -> Sweep:
        seeds = self.tuning_seeds
        if len(set(seeds)) != len(seeds):
            raise ValueError("`seeds` names a seed twice")
        unmeasured = [name for name in self.objectives if name in NEEDS_SUITES]
        if self.mode == "search" and unmeasured and not self.suites:
            raise ValueError(
                f"'{unmeasured[0]}' is never reported without suites; name some, or other `objectives`"
            )
        if self.mode == "curve":
            for field, values in self.space.items():
                if values.values is None:
                    raise ValueError(
                        f"space {field}: a curve needs a grid; give `grid`, or set `mode: search`"
                    )
        if self.mode != "search" and self.budget.compute is not None:
            raise ValueError(
                f"`mode: {self.mode}` has a budget of trials; give `trials`, or set `mode: search`"
            )
        if self.mode == "asha" and self.train.strategy == "fsdp":
            raise ValueError(
                "`mode: asha` cannot watch a run with `train.strategy: fsdp`; use curve or search"
            )
        if self.mode == "asha" and self.score.generality == "accuracy" and not self.suites:
            raise ValueError(
                "without suites there is no generality; name some, or set `score.generality: kl_to_base`"
            )
        for arm in self.arms:
            self.check_arm(arm)
        return self

    # -- what follows from it --------------------------------------------------------------------------
    @property
    def arms(self) -> dict[str, list[Mitigation]]:
        """Arm name -> its mitigations, the control first."""
        arms = {arm: list(mitigations) for arm, mitigations in self.methods.items()}
        if self.control and not any(not mitigations for mitigations in arms.values()):
            arms = {PLAIN: [], **arms}
        return arms

    @property
    def tuning_seeds(self) -> list[int]:
        """The seeds that selection reads."""
        return self.tune_on.seeds or self.seeds

    def ranges(self, arm: str) -> dict[str, Range]:
        """Dotted field -> its values in one method: those of `space`, and the grid of every knob left open."""
        found: dict[str, Range] = {}
        for m in self.arms[arm]:
            if m.knob is not None and m.knob not in m.model_fields_set and m.grid:
                found[f"{m.name}.{m.knob}"] = Range(grid=list(m.grid))
        names = {m.name for m in self.arms[arm]}
        for field, values in self.space.items():
            owner = field.partition(".")[0]
            if (owner in names or owner in SECTIONS) and (values.methods is None or arm in values.methods):
                found[field] = values
        return found

    def check_arm(self, arm: str) -> None:
        """Refuse values that a field cannot take; raises ValueError."""
        ranges = self.ranges(arm)
        start = {field: values.ends()[0] for field, values in ranges.items()}
        for field, values in ranges.items():
            for value in values.ends():
                try:
                    self.run(arm, {**start, field: value}, seed=0)
                except UserError as error:
                    raise ValueError(f"space {field} = {value!r} in '{arm}': {error}") from None

    def run(self, arm: str, config: dict[str, Any], seed: int, stream: Any = None) -> Run:
        """One run of a method at one setting.

        Args:
            arm: the method.
            config: dotted field -> value; fields of mitigations the arm does not have are left out.
            seed: its seed.
            stream: another stream than the sweep's.

        Raises:
            UserError: a value is out of range.
        """
        fields = {name: getattr(self, name) for name in Shared.model_fields}
        fields["stream"] = stream or self.tune_on.stream or self.stream
        for section in SECTIONS:
            changed = dict(_below(config, section))
            fields[section] = {**fields[section].model_dump(), **changed}
        fields["evaluate"] = self.evaluate.model_copy(
            update={
                name: False for name in ("curves", "export") if name not in self.evaluate.model_fields_set
            }
        )
        mitigations = [{m.name: {**_set(m), **dict(_below(config, m.name))}} for m in self.arms[arm]]
        return Run.parse({**fields, "method": arm, "mitigations": mitigations, "seed": seed})


def load_sweep(path: StrPath, overrides: tuple[str, ...] | list[str] = ()) -> Sweep:
    """Read a sweep file and apply `key=value` overrides; errors as `cl_forget.config.experiment.load_experiment`."""
    return load_file(path, Sweep, overrides)


def _set(m: Mitigation) -> dict[str, Any]:
    """The fields that the file sets."""
    return m.model_dump(mode="json", include=m.model_fields_set)


def _below(config: dict[str, Any], owner: str) -> Iterator[tuple[str, Any]]:
    for field, value in config.items():
        name, _, rest = field.partition(".")
        if name == owner:
            yield rest, value
