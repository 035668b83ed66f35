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
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from cl_forget.comparison.measures import PRETRAINED
from cl_forget.comparison.verdicts import FEWEST, Rule
from cl_forget.config.reading import load_file
from cl_forget.config.run import FolderName
from cl_forget.config.sweep import Sweep, load_sweep
from cl_forget.evaluation.definitions import DEFINITIONS
from cl_forget.ground.errors import UserError
from cl_forget.ground.files import StrPath
from cl_forget.ground.registry import closest
from cl_forget.ground.section import Section

HYPERVOLUME = "hypervolume"
AT_EQUAL_SPECIALITY = "retention_at_equal_target"
OF_CURVES = (HYPERVOLUME, AT_EQUAL_SPECIALITY)
"""Measures of an arm's whole curve, not of its selected setting."""

BALANCE = "balance"
"""The mean of speciality and generality, which FLOW's authors compare."""

FLATNESS = ("sam_gap", "surface_curvature", "average_gradient", "mean_absolute_gradient")
"""Measures of the loss around a tuned model, on validation data of the first suite."""


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
        than: a number in the place of `less`.
        margin: the smallest effect that matters, in the measure's own unit (fractions, not percent).
        relative: whether the effect is divided by the value of `less`.
        rule: "more" asks for a gain, "keeps" for no loss beyond the margin.
        arms: for kinds other than "difference": the arms whose settings count; none is all of them.
        controls: arms that are run and shown beside the claim.
        worlds: where it is tried.
        fewest: seeds below which it stays undecided.
        note: a deviation from the paper that the ledger shows.
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
        known = [*DEFINITIONS, *OF_CURVES, BALANCE, *FLATNESS]
        if name is not None and name.partition(".")[0] not in known:
            raise ValueError(f"nothing measures '{name}'.{closest(name, known)}")
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
        return self

    @property
    def over_curves(self) -> bool:
        """Whether every strength of its arms is run on the report's seeds, not the selected one alone."""
        return self.kind != "difference" or self.measure in OF_CURVES

    @property
    def flatness(self) -> bool:
        """Whether it needs the loss around the tuned models."""
        return bool({self.measure, self.against} & set(FLATNESS))

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
    path = Path(path)
    if not path.exists():
        raise UserError(f"no claims at {path}; experiments/ldifs/claims.yaml is a file to start from.")
    return load_file(path, Claims)


def load_world(file: Path, name: str, world: World) -> Sweep:
    """The sweep of a world.

    Raises:
        UserError: it cannot be read, or it is none on which a claim can be tried.
    """
    sweep = load_sweep(file.parent / world.sweep, world.set)
    where = f"{file}: world '{name}'"
    if sweep.mode != "curve" or sweep.report_on is None:
        raise UserError(
            f"{where}: a claim needs `mode: curve` and `report_on`, so that no test data are selected on."
        )
    return sweep
