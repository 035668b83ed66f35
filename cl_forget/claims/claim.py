"""The file of a paper's claims: what is claimed, how it is measured, and what would settle it.

    paper: Lin et al. 2023, Speciality vs Generality (arXiv:2309.06256)
    worlds: {vision: {sweep: ../worlds/vision.yaml}}
    claims:
      - name: s1-forgets
        sentence: full fine-tuning loses generality
        source: section 4, table 2
        measure: generality
        more: pre-trained
        less: full fine-tuning
        margin: 0.02
        worlds: [vision]

It is written, and committed, before its runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from cl_forget.comparison.measures import PRETRAINED
from cl_forget.comparison.verdicts import FEWEST, Rule
from cl_forget.config.reading import load_file
from cl_forget.config.run import FolderName
from cl_forget.config.sweep import LIMITS, Sweep, load_sweep
from cl_forget.evaluation.definitions import DEFINITIONS
from cl_forget.ground.errors import UserError
from cl_forget.ground.files import StrPath
from cl_forget.ground.registry import closest
from cl_forget.ground.section import Section
from cl_forget.streams import Experience, load_probes, load_stream, load_suites

HYPERVOLUME = "hypervolume"
AT_EQUAL_SPECIALITY = "retention_at_equal_target"
OF_CURVES = (HYPERVOLUME, AT_EQUAL_SPECIALITY)
"""Measures of an arm's whole curve, not of its selected setting."""

BALANCE = "balance"
"""The mean of speciality and generality, which FLOW's authors compare."""

FLATNESS = ("sam_gap", "surface_curvature", "average_gradient", "mean_absolute_gradient")
"""Measures of the loss around a tuned model, on validation data of the first suite."""

OF_NO_TRIAL = (
    "effective_robustness", "pareto_front", "target_at_equal_retention", "mean_interval", "paired_difference",
)  # fmt: skip
"""What is defined and is no number of a trial or of an arm's curve."""

MEASURES = [
    *(name for name in DEFINITIONS if name not in OF_NO_TRIAL),
    *(name for name in (*OF_CURVES, BALANCE, *FLATNESS) if name not in DEFINITIONS),
]

ZERO_BEFORE_TRAINING = (
    "generality_drop", "delta_zs", "delta_lp", "forgetting_last", "forgetting_max", "bwt", "kl_to_base",
    "weight_distance", "perplexity_rise", "f_true", "bt_true", "statistics_share",
)  # fmt: skip
"""Changes from the pre-trained model, which it has none of."""

UNBOUNDED = (
    "kl_to_base", "weight_distance", "perplexity_by_suite", "perplexity_rise", "perplexity_rise_by_suite", *FLATNESS,
)  # fmt: skip
"""Measures that are no share of anything; of all others a difference of 1 is 100 percentage points."""

SIGNED = (
    "generality_drop", "generality_drop_by_suite", "delta_zs", "delta_zs_by_suite", "general_ability_delta",
    "perplexity_rise", "perplexity_rise_by_suite", "delta_lp", "delta_lp_by_probe", "delta_lp_before_tuning",
    "delta_lp_before_tuning_by_task", "forgetting_last", "forgetting_last_by_task", "bwt", "fwt", "fwt_by_task",
    "statistics_share",
)  # fmt: skip
"""Measures that lie on both sides of 0, so that a percentage of one says nothing."""

PARTS = {"_by_suite": "suite", "_by_task": "task", "_by_probe": "probe"}
"""Ends of the names of measures with several numbers -> what each of these is of."""

OF_PROBES = ("delta_lp", "delta_lp_by_probe")
OF_SUITES = (
    *(
        name
        for name in MEASURES
        if name.endswith("_by_suite") or name.startswith(("general", "retention", "delta_zs", "perplexity"))
    ),
    *("f_true", "bt_true", "statistics_share", BALANCE, HYPERVOLUME),
)

READ = {
    "difference": ("more", "less", "than", "relative", "controls"),
    "correlation": ("against", "sign", "than", "arms"),
    "explained": ("against", "sign", "than", "arms"),
    "residual": ("against", "sign", "more", "than", "arms"),
}
"""Kind -> the fields that only some kinds read and it does."""


class Price(Section):
    """What a world costs that does not run here.

    Attributes:
        samples: training samples of one fine-tune, passes over the data counted.
        samples_per_second: of a training step on the device.
        device: which one.
        source: where the rate comes from.
    """

    samples: float = Field(gt=0)
    samples_per_second: float = Field(gt=0)
    device: str = Field(min_length=1)
    source: str = Field(min_length=1)


class World(Section):
    """A model, its streams and the arms that live there: a sweep file with `tune_on` and `report_on`.

    Attributes:
        sweep: the file, relative to the claims' own.
        set: overrides of its fields, such as `model=emoji-clip-rn`.
        price: for a world whose data are not here; it is planned and priced, and run only when it is named.
    """

    sweep: str = Field(min_length=1)
    set: list[str] = Field(default_factory=list)
    price: Price | None = None


class Claim(Section):
    """One sentence, and what would settle it.

    Attributes:
        name: short, unique among all files that are worked through together.
        sentence: what is claimed, in words.
        source: the paper's section, table or figure.
        kind: "difference" of a measure between arms; "correlation" of two measures over all settings of all arms;
            "explained", the share of the measure's variance that a monotone curve over `against`, fitted on the
            other arms, explains; "residual", what an arm adds to that curve.
        measure: a metric of test data ("generality", or of one suite "generality_by_suite.emoji"), of the curve
            over an arm's knob ("hypervolume", "retention_at_equal_target"), or of the loss around the tuned model
            ("sam_gap", ...); "balance" is the mean of speciality and generality.
        against: the second measure of a correlation or of a curve.
        sign: of the correlation that is claimed; -1 for a curve that falls.
        more: the arm that is claimed to have more of the measure; "pre-trained" is the model before training.
        less: the arm or arms that are claimed to have less; with several the claim has to hold against each.
        than: a number in the place of `less`; of other kinds, what the correlation, the share or the residual is
            claimed to be above, 0 unless given.
        margin: the smallest effect that matters, in the measure's own unit (fractions, not percent).
        relative: whether the effect is divided by the value of `less`. Measures that can be negative are refused; a
            seed on which that value is not above 0 has no effect.
        rule: "more" asks for a gain, "keeps" for no loss beyond the margin.
        arms: for kinds other than "difference": the arms whose settings count; none is all of them.
        controls: arms that are run and shown beside a difference: each in the place of `less`, with `than` in that
            of `more`. The verdict does not rest on them. In a world that has no such arm it is left out.
        worlds: where it is tried.
        fewest: seeds below which it stays undecided.
        note: a deviation from the paper, or what was corrected after the runs; the ledger shows it.
    """

    name: FolderName
    sentence: str = Field(min_length=1)
    source: str = Field(min_length=1)
    kind: Literal["difference", "correlation", "explained", "residual"] = "difference"
    measure: str
    against: str | None = None
    sign: Literal[1, -1] = 1
    more: str | None = None
    less: list[str] = Field(default_factory=list)
    than: float | None = Field(default=None, allow_inf_nan=False)
    margin: float = Field(ge=0)
    relative: bool = False
    rule: Rule = "more"
    arms: list[str] = Field(default_factory=list)
    controls: list[str] = Field(default_factory=list)
    worlds: Annotated[list[str], Field(min_length=1)]
    fewest: int = Field(default=FEWEST, ge=2)
    note: str = ""

    @field_validator("less", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @field_validator("measure", "against", mode="after")
    @classmethod
    def _is_measured(cls, name: str | None) -> str | None:
        if name is None:
            return name
        plain, _, item = name.partition(".")
        if plain not in MEASURES:
            raise ValueError(f"nothing measures '{plain}'.{closest(plain, MEASURES)}")
        part = _part(plain)
        if part and not item:
            raise ValueError(f"'{plain}' is one number for each {part}; name one: '{plain}.<{part}>'")
        if item and not part:
            raise ValueError(f"'{plain}' is one number; leave '.{item}' out")
        return name

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Claim:
        if self.kind == "difference" and (self.more is None or bool(self.less) == (self.than is not None)):
            raise ValueError(
                "a difference names the arm that has `more`, and the arm or arms that have `less` or a number `than`"
            )
        if self.kind != "difference" and self.against is None:
            raise ValueError(f"kind '{self.kind}' needs a second measure; name it as `against`")
        if self.kind == "residual" and self.more is None:
            raise ValueError("a residual is of one arm; name it as `more`")
        if self.kind != "difference" and {self.measure, self.against} & set(OF_CURVES):
            raise ValueError("a measure of whole curves has no value for each setting; take another one")
        for name in sorted({name for several in READ.values() for name in several} - {*READ[self.kind]}):
            if getattr(self, name) != type(self).model_fields[name].get_default(call_default_factory=True):
                raise ValueError(f"kind '{self.kind}' does not read `{name}`; leave it out")
        return self

    @model_validator(mode="after")
    def _names_each_arm_once(self) -> Claim:
        for name in ("less", "arms", "controls", "worlds"):
            listed = getattr(self, name)
            for one in listed:
                if listed.count(one) > 1:
                    raise ValueError(f"`{name}` lists '{one}' {listed.count(one)} times; list it once")
        if self.kind == "difference" and self.more in (*self.less, *self.controls):
            raise ValueError(f"'{self.more}' is compared with itself; name another arm")
        if self.controls and self.measure in OF_CURVES:
            raise ValueError(
                f"'{self.measure}' is of whole curves, and a control has one setting; name the arms in `less`"
            )
        return self

    @model_validator(mode="after")
    def _has_fractions(self) -> Claim:
        if self.relative and self.than is not None:
            raise ValueError(
                "`relative` divides by the value of an arm in `less`; leave it out beside `than`"
            )
        if self.relative and _plain(self.measure) in SIGNED:
            raise ValueError(
                f"'{self.measure}' can be negative or 0, and a percentage of that says nothing; leave `relative` out"
            )
        of_measure = self.kind in ("difference", "residual")
        if self.relative or (of_measure and _plain(self.measure) in UNBOUNDED):
            return self
        for name, value in (("margin", self.margin), ("than", self.than or 0.0)):
            if abs(value) >= 1:
                raise ValueError(
                    f"`{name}` is {value:g}, and no effect is above 1; write {value:g} % as {value / 100:g}"
                )
        return self

    @model_validator(mode="after")
    def _is_known_before_training(self) -> Claim:
        if PRETRAINED not in (self.more, *self.less, *self.arms, *self.controls):
            return self
        if self.kind != "difference" or self.than is not None:
            raise ValueError(f"'{PRETRAINED}' is no arm with seeds and settings; name one")
        zero = _plain(self.measure) in ZERO_BEFORE_TRAINING
        known = zero or self.measure in ("retention", BALANCE) or f"{self.measure}_pretrained" in DEFINITIONS
        if not known:
            raise ValueError(
                f"'{self.measure}' has no value before training; name an arm in the place of '{PRETRAINED}'"
            )
        if self.relative and zero and self.more != PRETRAINED:
            raise ValueError(
                f"'{self.measure}' is 0 before training, and no effect is relative to that; leave `relative` out"
            )
        return self

    @property
    def over_curves(self) -> bool:
        """Whether every strength of its arms is run on the report's seeds, not the selected one alone."""
        return self.kind != "difference" or self.measure in OF_CURVES

    @property
    def flatness(self) -> set[str]:
        """What it reads of the loss around the tuned models, of `FLATNESS`."""
        return {name for name in (self.measure, self.against) if name in FLATNESS}

    def arms_in(self, known: list[str]) -> list[str]:
        """The arms that it needs of those of a world, its controls among them."""
        named = [*([self.more] if self.more else []), *self.less, *self.arms, *self.controls]
        if self.kind != "difference" and not self.arms:
            named += known
        return [arm for arm in dict.fromkeys(named) if arm != PRETRAINED]


class Claims(Section):
    """A file of claims.

    Attributes:
        name: of the file.
        paper: authors, year, title, number.
        worlds: name -> where claims are tried.
        claims: in the order of the ledger.
    """

    name: str = "claims"
    paper: str = Field(min_length=1)
    worlds: dict[str, World] = Field(min_length=1)
    claims: list[Claim] = Field(min_length=1)

    @model_validator(mode="after")
    def _worlds_are_known(self) -> Claims:
        for claim in self.claims:
            for world in claim.worlds:
                if world not in self.worlds:
                    raise ValueError(
                        f"claim '{claim.name}': no world '{world}'.{closest(world, list(self.worlds))}"
                    )
        return self


def load_claims(path: StrPath) -> Claims:
    """Read a file of claims.

    Raises:
        UserError: one line with file, line, field and what is wrong.
    """
    return load_file(path, Claims)


def load_world(file: Path, name: str, world: World) -> Sweep:
    """The sweep of a world.

    Raises:
        UserError: it cannot be read, or it is none on which a claim can be tried.
    """
    sweep = load_sweep(file.parent / world.sweep, world.set, named=world.price is None)
    where = f"{file}: world '{name}'"
    if sweep.mode != "curve" or sweep.report_on is None:
        raise UserError(
            f"{where}: a claim needs `mode: curve` and `report_on`, so that no test data are selected on."
        )
    if limits := [limit for limit in LIMITS if getattr(sweep.budget, limit) is not None]:
        raise UserError(
            f"{where}: claims do not keep to `budget.{limits[0]}`; leave it out, there or by "
            f"`set: [budget.{limits[0]}=null]`, and end what they begin by --minutes."
        )
    tuned, report = (_tasks(at) for at in (sweep.tune_on.stream or sweep.stream, sweep.report_stream))
    if shared := [task for task in tuned if task in report]:
        raise UserError(
            f"{where}: {shared[0]} is tuned on and reported; name another stream in `tune_on`, so that nothing is "
            "selected on what is reported."
        )
    if both := set(sweep.tuning_seeds) & set(sweep.report_on.seeds or sweep.seeds):
        raise UserError(
            f"{where}: seed {min(both)} is tuned on and reported; give `tune_on` seeds of its own, for instance "
            "`seeds: [10]`."
        )
    return sweep


def check_measures(where: str, claim: Claim, sweep: Sweep, here: bool) -> None:
    """Refuse what a world cannot measure.

    Args:
        where: of the claim and the world, for the message.
        claim: the claim.
        sweep: of the world.
        here: whether its data are; the names of those that are elsewhere are not known.

    Raises:
        UserError: it has no suites or probes to measure on, or none of that name.
    """
    for measure in filter(None, (claim.measure, claim.against)):
        plain, _, item = measure.partition(".")
        for section, needing in (("suites", OF_SUITES), ("probes", OF_PROBES)):
            if plain in needing and not getattr(sweep, section):
                raise UserError(
                    f"{where} has no {section} to measure '{measure}' on; name some as `{section}`."
                )
        if item and here:
            part = _part(plain)
            known = [one.name for one in _data_of(sweep, part)]
            if item not in known:
                raise UserError(
                    f"{where} has no {part} '{item}'.{closest(item, known)} Known: {', '.join(known)}."
                )


def _data_of(sweep: Sweep, part: str) -> list[Experience]:
    if part == "suite":
        return load_suites(sweep.suites)
    if part == "probe":
        return load_probes(sweep.probes)
    return load_stream(sweep.report_stream)


def _tasks(stream: Any) -> list[Any]:
    return stream if isinstance(stream, list) else [stream]


def _plain(measure: str) -> str:
    return measure.partition(".")[0]


def _part(plain: str) -> str:
    """What the numbers of a measure are of; "" for one with a single number."""
    return next((part for end, part in PARTS.items() if plain.endswith(end)), "")
