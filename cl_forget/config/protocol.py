"""The `protocol` section of a sweep: how methods are compared and one setting of each is chosen."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from cl_forget.ground.section import Exact

Select = Literal["balanced", "harmonic", "target_at_retention", "speciality"]


Equal = Literal["trials", "compute"]


class Protocol(Exact):
    """How methods are compared; the `protocol` section of a sweep.

    Attributes:
        select: how one setting per method is chosen. "balanced": the largest mean of validation speciality and
            validation retention. "harmonic": the largest harmonic mean of these two, which no setting wins that
            learns nothing or keeps nothing. "target_at_retention": the largest validation speciality among the
            settings that keep `retention`, or the one that keeps most where none does. "speciality": the
            largest validation speciality.
        retention: the share of the pre-trained generality to keep, for the rule above and for "target accuracy
            at equal retention".
        target: the speciality at which retention is compared; null for nine tenths of the way from the
            pre-trained model to plain fine-tuning.
        equal: what every method gets as much of as the others before one setting is chosen.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    select: Select = "balanced"
    retention: float = Field(default=0.9, gt=0, le=1)
    target: float | None = Field(default=None, gt=0, le=1)
    equal: Equal = "trials"

    def rule(self) -> str:
        """The selection rule in words."""
        if self.select == "balanced":
            return "the largest mean of speciality and retention"
        if self.select == "harmonic":
            return "the largest harmonic mean of speciality and retention"
        if self.select == "speciality":
            return "the largest speciality"
        return (
            f"the largest speciality among the settings that keep {self.retention:.0%} of the pre-trained "
            "generality (where none does, the one that keeps most)"
        )
