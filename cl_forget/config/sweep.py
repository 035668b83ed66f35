"""The typed sweep file: an experiment, and what to vary in it.

    name, model, stream, suites, train, ...    as in an experiment
    methods: {LDIFS: [ldifs], ...}             a knob that is not set takes its method's own grid
             {LoRA: {mitigations: [lora], train: {epochs: 5}, space: {train.lr: [1e-3, 3e-3]}}}    settings of its own
             {recipe: {compose: {of: [l2_sp, kd, wise_ft], most: 2}}}    a search chooses which of these act, too
    space: {train.lr: {log_uniform: [1e-4, 1e-2]}, ldifs.strength: {grid: [1, 10]}}
    mode: curve | search | asha | mo-asha | hyperband | median
    seeds: [0, 1, 2]                           paired over the methods
    budget: {trials: 20}                       settings per method, or {compute: <samples>} per method
            {hours: 8, usd: 40, gpu_hours: 64, passes: 1000000, prices: {any: 1.2}}    of the whole sweep
    report_on: {stream: [...], seeds: [...]}   where the selected setting of each method is run again

Everything is checked before anything is loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from cl_forget.config.arms import (
    COMPOSE,
    OWN_SECTIONS,
    Arm,
    ArmInput,
    Listed,
    as_arm,
    settings_of,
    written_as,
)
from cl_forget.config.explaining import Misplaced, shortened
from cl_forget.config.protocol import Protocol
from cl_forget.config.reading import load_file
from cl_forget.config.run import (
    PLAIN,
    ArmName,
    DataInput,
    FolderName,
    MitigationItem,
    Run,
    Seeds,
    Shared,
    Stream,
    StreamInput,
    compose,
)
from cl_forget.config.tracking import Tracking
from cl_forget.evaluation.definitions import DEFINITIONS
from cl_forget.evaluation.options import Evaluation
from cl_forget.ground.errors import UserError
from cl_forget.ground.files import StrPath
from cl_forget.ground.hints import nearest
from cl_forget.ground.registry import closest
from cl_forget.ground.section import Section, power
from cl_forget.mitigations import MITIGATIONS
from cl_forget.mitigations.chain import Chain
from cl_forget.mitigations.protocol import Mitigation
from cl_forget.models.options import TextOptions
from cl_forget.training.options import Training

SECTIONS = OWN_SECTIONS
"""The sections of an experiment whose fields a space may vary, besides the mitigations' own."""

LIMITS = ("hours", "usd", "gpu_hours", "passes")
"""The fields of a budget that are of the whole sweep."""

ANY_NODE = "any"
"""Stands in `budget.prices` for every type of node that is not named."""

DEFAULT_TRIALS = 20
"""Settings per method where a search is given no budget."""

Mode = Literal["curve", "search", "asha", "mo-asha", "hyperband", "median"]

JUDGED = frozenset({"asha", "mo-asha", "hyperband", "median"})
"""The modes that stop settings early which fall behind."""

READ_BY: dict[str, dict[str, tuple[Mode, ...]]] = {
    "": {
        "objectives": ("search",),
        "search_seed": ("search", "asha", "mo-asha", "hyperband", "median"),
    },
    "asha": {
        "grace": ("asha", "mo-asha", "median"),
        "reduction": ("asha", "mo-asha", "hyperband"),
    },
    "score": {
        "speciality": ("asha", "hyperband", "median", "search"),
        "generality": ("asha", "mo-asha", "hyperband", "median", "search"),
        "every": ("asha", "mo-asha", "hyperband", "median"),
        "samples": ("asha", "mo-asha", "hyperband", "median"),
    },
}
"""Section, "" for the sweep itself -> its fields that only some modes read -> these."""

MO_ASHA_GRACE = 9
"""Percent: a setting is judged at its next report, so a little below 10 costs a tenth where reports are rare."""

NEVER_POPULATIONS = (
    "a population (pbt, pb2) changes settings in the middle of a run and clones another's weights, and a trial here "
    "is one setting from its first step to its last, which its record, its checkpoints and what it shares rest on; "
    "take `mode: search`, or `mode: mo-asha` to stop early"
)

NEEDS_SUITES = ("generality", "retention", "generality_drop", "delta_zs")
TEST_ONLY = ("delta_lp", "delta_lp_before_tuning", "ood_accuracy", "ood_accuracy_pretrained")
OF_SEVERAL = (
    "effective_robustness", "pareto_front", "hypervolume", "target_at_equal_retention", "retention_at_equal_target",
    "mean_interval", "paired_difference",
)  # fmt: skip
"""What is defined and is no number of one trial."""


def _one_of(value: Any) -> Any:
    if isinstance(value, list):
        return {"grid": value}
    if not isinstance(value, dict | Range):
        raise ValueError(
            f"is written as a list, [a, b], or as a range, {{uniform: [low, high]}} (got {shortened(value)})"
        )
    return value


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

    @field_validator("grid", "choice", mode="before")
    @classmethod
    def _powers_are_numbers(cls, values: Any) -> Any:
        """`1e-4` without a point is text in YAML."""
        if not isinstance(values, list):
            return values
        return [power(value) for value in values]

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


Space = dict[str, Annotated[Range, BeforeValidator(_one_of)]]
"""Dotted field -> its values."""


AND = " + "
"""Between the methods of a composition."""


def _everything() -> list[Mitigation]:
    """Every method that has a strength to search and needs no further field."""
    classes = (MITIGATIONS.get(name) for name in MITIGATIONS.names())
    return [
        cls()
        for cls in classes
        if cls.knob and cls.grid and not any(field.is_required() for field in cls.model_fields.values())
    ]


class Compose(Section):
    """An arm whose composition is searched: each trial has some of the methods, and their fields alone.

    Attributes:
        of: the methods that may act, or `all`: every one that has a strength with a grid, without those that the
            model and its data cannot have.
        most: how many act together at most; at least one does.
    """

    of: Annotated[
        Annotated[Literal["all"], Tag("literal[all]")]
        | Annotated[list[MitigationItem], Field(min_length=2), Tag("list[mitigation]")],
        Discriminator(lambda of: "literal[all]" if isinstance(of, str) else "list[mitigation]"),
    ]
    most: int = Field(default=3, ge=1)

    @field_validator("of", mode="before")
    @classmethod
    def _all_or_a_list(cls, of: Any) -> Any:
        if isinstance(of, str) and of != "all":
            raise ValueError(f"should be `all`, or a list of two methods at least, [a, b] (got {of!r})")
        return of

    @field_validator("of", mode="after")
    @classmethod
    def _each_once(cls, of: Any) -> Any:
        names = [] if of == "all" else [m.name for m in of]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"'{name}' is listed {names.count(name)} times; list each method once")
        return of

    @property
    def members(self) -> list[Mitigation]:
        """The methods that may act."""
        return _everything() if self.of == "all" else list(self.of)


class SweepArm(Arm):
    """A method with settings, or a space, of its own.

    Attributes:
        mitigations, train, text: as in an experiment; a field that `train` or `text` sets is not varied here,
            whatever the sweep's space says of it.
        compose: in the place of mitigations, those of which a search chooses some for each trial (`mode: search`).
        space: dotted field -> its values in this method, in the place of the sweep's.
    """

    compose: Compose | None = None
    space: Space = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_of_both(self) -> SweepArm:
        if self.compose is not None and self.mitigations:
            raise ValueError("give `mitigations` or `compose`, not both")
        return self

    @property
    def members(self) -> list[Mitigation]:
        """Its mitigations; of a composition that is searched, all that may act."""
        return list(self.mitigations) if self.compose is None else self.compose.members


SweepArmItem = Annotated[Listed | Annotated[SweepArm, Tag("dict[arm]")], Discriminator(written_as)]


class Where(Section):
    """A stream and seeds; null for the sweep's own.

    Attributes:
        stream: written as in an experiment.
        seeds: each setting is run once per seed.
    """

    stream: Stream | None = None
    seeds: Seeds | None = None


class Budget(Section):
    """What each method, and the whole sweep, may spend; null for no limit.

    Attributes:
        trials: settings per method; a setting is run on every seed. A grid with more is thinned evenly; without
            one, a search takes twenty.
        compute: samples through the tuned and frozen models per method (`search` only).
        hours: of the whole sweep, all of its sessions together, by the clock.
        usd: what the nodes may cost in all while the sweep works on them; needs their `prices`.
        gpu_hours: devices that trials hold, times the hours they hold them, in all.
        passes: forward and backward passes of tuned models and passes of frozen ones in all, in samples.
        prices: type of node -> USD per hour; `any` is every type that is not named.
    """

    trials: int | None = Field(default=None, ge=1)
    compute: int | None = Field(default=None, ge=1)
    hours: float | None = Field(default=None, gt=0)
    usd: float | None = Field(default=None, gt=0)
    gpu_hours: float | None = Field(default=None, gt=0)
    passes: int | None = Field(default=None, ge=1)
    prices: dict[str, Annotated[float, Field(ge=0, le=1e6)]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_kind(self) -> Budget:
        if self.trials is not None and self.compute is not None:
            raise ValueError("choose one of trials and compute")
        if self.prices and self.usd is None:
            raise Misplaced("`prices` are for a limit in USD; give `usd`, or leave them out", "prices")
        if self.usd is not None and not self.prices:
            raise ValueError(
                "`usd` needs `prices`, for instance `prices: {any: 1.2}` (USD per node and hour)"
            )
        return self

    @property
    def limited(self) -> bool:
        """Whether the whole sweep has a limit."""
        return any(getattr(self, name) is not None for name in LIMITS)


class Score(Section):
    """One number for schedulers and single-objective search: w·speciality + (1-w)·generality, validation data.

    Attributes:
        speciality: w.
        generality: what stands for generality: the suites' accuracy, or exp(-KL to the pre-trained model),
            which is cheaper.
        every: optimiser steps between two measurements inside a task (`asha`, `mo-asha`, `hyperband`,
            `median`).
        samples: validation samples per task and suite that such a measurement reads.
    """

    speciality: float = Field(default=0.5, ge=0, le=1)
    generality: Literal["accuracy", "kl_to_base"] = "accuracy"
    every: int = Field(default=20, ge=1)
    samples: int = Field(default=128, ge=1)


class Asha(Section):
    """How `asha`, `mo-asha`, `hyperband` and `median` stop settings early; a task stream is 100 % long.

    Attributes:
        grace: percent of the training that every trial gets (`asha`, `mo-asha`, `median`); 9 for `mo-asha` where
            nothing is said.
        reduction: of how many trials one goes on at each rung (`asha`, `mo-asha`, `hyperband`).
    """

    grace: int = Field(default=20, ge=1, le=100)
    reduction: float = Field(default=3, ge=1.1, le=100)


class Sweep(Shared):
    """The sweep file.

    Attributes:
        name: of the folder its results go to.
        methods: arm name -> list of mitigations, or just their names; or a mapping with settings of its own.
        space: dotted field -> its values: a field of `train` or `text`, or `<mitigation>.<field>`.
        mode: `curve` runs every method over its grid; `search` lets Optuna choose the settings; the others stop
            settings early that fall behind: `asha`, `hyperband` and `median` by one number, the score, `mo-asha` by
            speciality and generality at once.
        seeds: each setting is run once per seed, paired over the methods.
        budget: what each method may spend, the same for all, and what the whole sweep may.
        control: whether plain fine-tuning is added as the arm every other is compared with.
        objectives: validation metrics that `search` makes as large as it can; several give a front.
        score: the scalar "score", which may be an objective and is what `asha`, `hyperband` and `median` judge;
            also what stands for generality in `mo-asha`.
        asha: how settings are stopped early.
        search_seed: of the search's own random numbers.
        tune_on: the stream and seeds that selection reads; the sweep's own by default.
        report_on: the stream and seeds on which the selected settings are run again, for the numbers that are
            reported; null reports the test data of the selected runs themselves.
        protocol: how one setting per method is selected, and the levels methods are compared at.
    """

    name: FolderName = "sweep"
    methods: dict[ArmName, SweepArmItem]
    space: Space = Field(default_factory=dict)
    mode: Mode = "curve"
    seeds: Seeds = Field(default=[0])
    budget: Budget = Budget()
    control: bool = True
    objectives: list[str] = Field(default=["speciality", "generality"], min_length=1)
    score: Score = Score()
    asha: Asha = Asha()
    search_seed: int = Field(default=0, ge=0)
    tune_on: Where = Where()
    report_on: Where | None = None
    protocol: Protocol | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            name: str = ...,
            imports: Sequence[str] = ...,
            model: str,
            stream: StreamInput,
            methods: Mapping[str, ArmInput],
            space: Mapping[str, Range | Sequence[Any] | Mapping[str, Any]] = ...,
            mode: Mode = ...,
            seeds: Sequence[int] = ...,
            budget: Budget | Mapping[str, Any] = ...,
            control: bool = ...,
            objectives: Sequence[str] = ...,
            score: Score | Mapping[str, Any] = ...,
            asha: Asha | Mapping[str, Any] = ...,
            search_seed: int = ...,
            tune_on: Where | Mapping[str, Any] = ...,
            report_on: Where | Mapping[str, Any] | None = ...,
            protocol: Protocol | Mapping[str, Any] | None = ...,
            train: Training | Mapping[str, Any] = ...,
            text: TextOptions | Mapping[str, Any] = ...,
            suites: Sequence[DataInput] = ...,
            probes: Sequence[DataInput] = ...,
            evaluate: Evaluation | Mapping[str, Any] = ...,
            track: Tracking | Mapping[str, Any] = ...,
        ) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _grace_of_the_mode(cls, given: Any) -> Any:
        """Written into the sweep, so that its file says what was done."""
        if isinstance(given, dict) and given.get("mode") == "mo-asha":
            asha = given.get("asha", {})
            if isinstance(asha, dict):
                return {**given, "asha": {"grace": MO_ASHA_GRACE, **asha}}
        return given

    @field_validator("mode", mode="before")
    @classmethod
    def _no_population(cls, mode: Any) -> Any:
        if isinstance(mode, str) and mode.lower() in ("pbt", "pb2"):
            raise ValueError(f"`{mode}`: {NEVER_POPULATIONS}")
        return mode

    @field_validator("methods", mode="after")
    @classmethod
    def _methods_compose(
        cls, methods: dict[str, list[Mitigation] | SweepArm]
    ) -> dict[str, list[Mitigation] | SweepArm]:
        if not methods:
            raise ValueError("is empty; name at least one, for instance `LDIFS: [ldifs]`")
        for name, written in methods.items():
            arm = as_arm(written)
            try:
                Chain(arm.mitigations)  # of a composition, which of them go together is asked for each trial
            except UserError as error:
                raise Misplaced(f"method '{name}': {error}", name) from None
            if isinstance(arm, SweepArm):
                _check_space(name, arm)
        return methods

    @model_serializer(mode="wrap")
    def _plain(self, handler: Any) -> dict[str, Any]:
        plain: dict[str, Any] = handler(self)
        plain["methods"] = {name: _plain_arm(arm) for name, arm in self.methods.items()}
        return plain

    @field_validator("space", mode="after")
    @classmethod
    def _space_is_known(cls, space: dict[str, Range], info: ValidationInfo) -> dict[str, Range]:
        arms = {name: _members(arm) for name, arm in info.data.get("methods", {}).items()}
        known = _fields_of(m for arm in arms.values() for m in arm)
        for field, values in space.items():
            if field not in known:
                raise Misplaced(f"no method has a field '{field}'.{nearest(field, sorted(known))}", field)
            for arm in values.methods or []:
                if arm not in arms:
                    raise ValueError(
                        f"'{field}' is limited to an unknown method '{arm}'.{closest(arm, list(arms))}"
                    )
        return space

    @field_validator("objectives", mode="after")
    @classmethod
    def _objectives_are_reported(cls, objectives: list[str]) -> list[str]:
        never = (*TEST_ONLY, *OF_SEVERAL)
        known = ["score", *(name for name in DEFINITIONS if "_by_" not in name and name not in never)]
        for name in objectives:
            if name not in known:
                changing = ", ".join(one for one in known if not one.endswith("_pretrained"))
                raise ValueError(
                    f"'{name}' is never reported on validation data.{closest(name, known)} Known: {changing}"
                )
        return objectives

    @model_validator(mode="after")
    def _modes_fit(self) -> Sweep:
        self._check_read()
        unmeasured = [name for name in self.objectives if name in NEEDS_SUITES]
        if self.mode == "search" and unmeasured and not self.suites:
            raise Misplaced(
                f"'{unmeasured[0]}' is never reported without suites; name some, or other `objectives`",
                "objectives",
            )
        if self.mode == "curve":
            _need_grids(self.space, "space")
            for name in self.arms:
                _need_grids(self.own(name).space, "methods", name, "space")
        if self.mode != "search" and self.budget.compute is not None:
            raise Misplaced(
                f"`mode: {self.mode}` has a budget of trials; give `trials`, or set `mode: search`",
                *("budget", "compute"),
            )
        if self.mode in JUDGED and self.train.strategy == "fsdp":
            raise Misplaced(
                f"`mode: {self.mode}` cannot watch a run with `train.strategy: fsdp`; use curve or search",
                "mode",
            )
        if self.mode in JUDGED and self.score.generality == "accuracy" and not self.suites:
            raise Misplaced(
                "without suites there is no generality; name some, or set `score.generality: kl_to_base`",
                "mode",
            )
        for arm in self.arms:
            if self.own(arm).compose is not None and self.mode != "search":
                raise Misplaced(
                    f"`compose` of '{arm}' is for a search; set `mode: search`", "methods", arm, COMPOSE
                )
            self.check_arm(arm)
        return self

    def _check_read(self) -> None:
        """Refuse what is set and the mode does not read.

        What is at its default may stand beside a mode, as in the file that a sweep leaves, which holds every field.
        """
        for section, fields in READ_BY.items():
            at = getattr(self, section) if section else self
            unread = section and not any(self.mode in modes for modes in fields.values())
            for field, modes in fields.items():
                default = getattr(at, field) == type(at).model_fields[field].default
                if field not in at.model_fields_set or (default and "mode" in self.model_fields_set):
                    continue
                place = [section] if unread else [section, field] if section else [field]
                if self.mode not in modes:
                    raise Misplaced(
                        f"`mode: {self.mode}` does not read `{'.'.join(place)}`; set `mode: {modes[0]}`, or leave "
                        "it out",
                        *place,
                    )
                if section == "score" and self.mode == "search" and "score" not in self.objectives:
                    raise Misplaced(
                        "is of the objective 'score'; add `score` to `objectives`, or leave it out", *place
                    )

    # -- what follows from it --------------------------------------------------------------------------
    @property
    def arms(self) -> dict[str, list[Mitigation]]:
        """Arm name -> its mitigations, the control first; of a composition that is searched, all that may act."""
        arms = {name: _members(arm) for name, arm in self.methods.items()}
        if self.control and not any(not mitigations for mitigations in arms.values()):
            arms = {PLAIN: [], **arms}
        return arms

    def own(self, arm: str) -> SweepArm:
        """A method's own settings and space; empty for one that is a list of mitigations."""
        found = self.methods.get(arm)
        return found if isinstance(found, SweepArm) else SweepArm(mitigations=found or [])

    @property
    def tuning_seeds(self) -> list[int]:
        """The seeds that selection reads."""
        return self.tune_on.seeds or self.seeds

    @property
    def report_stream(self) -> Any:
        """What the selected settings are run again on; None where they are not."""
        return None if self.report_on is None else self.report_on.stream or self.stream

    def ranges(self, arm: str, acting: Sequence[Mitigation] | None = None) -> dict[str, Range]:
        """Dotted field -> its values in one method: of its own space, of the sweep's, of every knob left open.

        Args:
            arm: the method.
            acting: of a composition, those of its mitigations that act; None for all that may.
        """
        own = self.own(arm)
        members = self.arms[arm] if acting is None else acting
        found: dict[str, Range] = {}
        for m in members:
            # What acts in a composition is not absent from it.
            grid = [value for value in m.grid if own.compose is None or value != m.absent]
            if m.knob is not None and m.knob not in m.model_fields_set and grid:
                found[f"{m.name}.{m.knob}"] = Range(grid=grid)
        names = {m.name for m in members}
        for field, values in self.space.items():
            owner = field.partition(".")[0]
            here = (owner in names or owner in SECTIONS) and (values.methods is None or arm in values.methods)
            if here and field not in own.own():
                found[field] = values
        of_its_own = {
            field: values
            for field, values in own.space.items()
            if field.partition(".")[0] in names.union(SECTIONS)
        }
        return {**found, **of_its_own}

    def varies(self, arm: str) -> bool:
        """Whether a method has more than one setting to try."""
        return self.own(arm).compose is not None or bool(self.ranges(arm))

    def acting(self, arm: str, config: Mapping[str, Any]) -> list[Mitigation]:
        """The mitigations of one setting: the method's, or those of its composition that the setting names.

        Raises:
            UserError: it names none, or one that may not act.
        """
        members = self.arms[arm]
        if self.own(arm).compose is None:
            return members
        known = {m.name: m for m in members}
        names = [name for name in str(config.get(COMPOSE, "")).split(AND) if name]
        if not names or (unknown := [name for name in names if name not in known]):
            said = f"'{unknown[0]}' is not one" if names else f"the setting has no '{COMPOSE}'"
            raise UserError(f"'{arm}' is composed of {', '.join(known)}: {said}.")
        return [known[name] for name in names]

    def together(self, arm: str, members: Sequence[Mitigation]) -> bool:
        """Whether these mitigations go together in a method, trained as it is."""
        try:
            compose(members, settings_of(self, arm, self.own(arm))["train"])
        except UserError:
            return False
        return True

    def check_arm(self, arm: str) -> None:
        """Refuse settings and values that a method cannot take; raises ValueError.

        Of a composition each mitigation is tried alone; which of them go together is asked for each trial.
        """
        settings_of(self, arm, self.own(arm))
        if self.own(arm).compose is None:
            self._check_ends(arm, self.ranges(arm), {})
            return
        for m in self.arms[arm]:
            self._check_ends(arm, self.ranges(arm, [m]), {COMPOSE: m.name})

    def _check_ends(self, arm: str, ranges: Mapping[str, Range], fixed: Mapping[str, Any]) -> None:
        kinds = _fields_of(self.arms[arm])
        for field, values in ranges.items():
            # Its ends may be whole, so that trying them alone would let it pass.
            if values.values is None and _is_whole(kinds[field]):
                low, high = values.ends()
                raise Misplaced(
                    f"'{field}' is a whole number, and a range draws fractions; write a list of whole numbers from "
                    f"{low:g} to {high:g}",
                    *self._place(arm, field),
                )
        start = {**fixed, **{field: values.ends()[0] for field, values in ranges.items()}}
        for field, values in ranges.items():
            for value in values.ends():
                try:
                    self.run(arm, {**start, field: value}, seed=0).chain()
                except UserError as error:
                    raise Misplaced(
                        f"space {field} = {value!r} in '{arm}': {error}", *self._place(arm, field)
                    ) from None
        try:
            self.run(arm, start, seed=0).chain()
        except UserError as error:
            raise Misplaced(f"method '{arm}': {error}", "methods", arm) from None

    def _place(self, arm: str, field: str) -> tuple[str, ...]:
        """Where in the file the values of a field in one method stand."""
        if field in self.own(arm).space:
            return ("methods", arm, "space", field)
        return ("space", field) if field in self.space else ("methods", arm)

    def run(self, arm: str, config: dict[str, Any], seed: int, stream: Any = None) -> Run:
        """One run of a method at one setting.

        Args:
            arm: the method.
            config: dotted field -> value, above the method's own settings; fields of mitigations the arm does not
                have are left out. Of a composition, `COMPOSE` says which act.
            seed: its seed.
            stream: another stream than the sweep's.

        Raises:
            UserError: a value is out of range.
        """
        fields = {name: getattr(self, name) for name in Shared.model_fields}
        fields["stream"] = stream or self.tune_on.stream or self.stream
        settings = settings_of(self, arm, self.own(arm))
        for section in SECTIONS:
            fields[section] = {**settings[section].model_dump(), **dict(_below(config, section))}
        fields["evaluate"] = self.evaluate.model_copy(
            update={
                name: False for name in ("curves", "export") if name not in self.evaluate.model_fields_set
            }
        )
        mitigations = [
            {m.name: {**_set(m), **dict(_below(config, m.name))}} for m in self.acting(arm, config)
        ]
        return Run.parse({**fields, "method": arm, "mitigations": mitigations, "seed": seed})


def load_sweep(path: StrPath, overrides: tuple[str, ...] | list[str] = (), named: bool = True) -> Sweep:
    """Read a sweep file and apply `key=value` overrides.

    Args:
        path: YAML file.
        overrides: as for `load_experiment`, and "space.train.lr=[1e-4,1e-3]"; values are YAML.
        named: whether its model and data have to be known here; false for a sweep that runs elsewhere.

    Raises:
        UserError: one line with file, line, field, what is wrong and the nearest valid name.
    """
    return load_file(path, Sweep, overrides, named)


def _fields_of(mitigations: Iterable[Mitigation]) -> dict[str, Any]:
    """The dotted fields that a space may vary in these, and the type of each."""
    owners = [(name, type(Shared.model_fields[name].default)) for name in SECTIONS]
    owners += [(m.name, type(m)) for m in mitigations]
    return {
        f"{name}.{field}": info.annotation
        for name, owner in owners
        for field, info in owner.model_fields.items()
    }


def _is_whole(kind: Any) -> bool:
    """Whether a type has whole numbers and no fractions."""
    kinds = (kind, *get_args(kind))
    return int in kinds and float not in kinds


def _check_space(name: str, arm: SweepArm) -> None:
    """Refuse a method's own space where it names what the method has not, or sets already."""
    known = sorted(_fields_of(arm.members))
    for field, values in arm.space.items():
        where = (name, "space", field)
        if field not in known:
            raise Misplaced(f"'{name}' has no field '{field}' to vary.{closest(field, known)}", *where)
        if values.methods is not None:
            raise Misplaced("this is the method's own space; leave `methods` out", *where)
        if field in arm.own():
            section = field.partition(".")[0]
            raise Misplaced(f"'{name}' also sets it in its `{section}`; leave one of the two out", *where)


def _members(arm: list[Mitigation] | SweepArm) -> list[Mitigation]:
    return arm.members if isinstance(arm, SweepArm) else list(arm)


def _need_grids(space: dict[str, Range], *location: str) -> None:
    for field, values in space.items():
        if values.values is None:
            raise Misplaced(
                f"space {field}: a curve needs a grid; give `grid`, or set `mode: search`", *location, field
            )


def _plain_arm(arm: list[Mitigation] | SweepArm) -> Any:
    mitigations = [{m.name: _set(m)} for m in as_arm(arm).mitigations]
    if not isinstance(arm, SweepArm):
        return mitigations
    space = {field: values.model_dump(mode="json", exclude_none=True) for field, values in arm.space.items()}
    own = {"train": arm.train, "text": arm.text, "space": space}
    if arm.compose is not None:
        named = "all" if arm.compose.of == "all" else [{m.name: _set(m)} for m in arm.compose.of]
        written = {"of": named, "most": arm.compose.most}
        return {COMPOSE: written, **{name: fields for name, fields in own.items() if fields}}
    return {"mitigations": mitigations, **{name: fields for name, fields in own.items() if fields}}


def _set(m: Mitigation) -> dict[str, Any]:
    """The fields that the file sets."""
    return m.model_dump(mode="json", include=m.model_fields_set)


def _below(config: dict[str, Any], owner: str) -> Iterator[tuple[str, Any]]:
    for field, value in config.items():
        name, _, rest = field.partition(".")
        if name == owner:
            yield rest, value
