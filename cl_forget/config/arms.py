"""One arm of a comparison as a file writes it: a list of mitigations, or a mapping with settings of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, ValidationError

from cl_forget.config.explaining import SPACED, Misplaced, explain
from cl_forget.config.run import MitigationInput, MitigationItem, Shared
from cl_forget.ground.section import Section
from cl_forget.mitigations import Mitigation

OWN_SECTIONS = SPACED
"""The sections of which a method may have fields of its own."""

COMPOSE = "compose"
"""The field of a setting that says which methods act in it, "l2_sp + wise_ft", where a search chooses them."""


class Arm(Section):
    """A method with settings of its own, where a list of mitigations does not say all.

    Attributes:
        mitigations: the methods composed in this arm; none is plain fine-tuning.
        train, text: fields that differ from the file's own, `{lr: 3e-3}`.
    """

    mitigations: list[MitigationItem] = Field(default_factory=list)
    train: dict[str, Any] = Field(default_factory=dict)
    text: dict[str, Any] = Field(default_factory=dict)

    def own(self) -> dict[str, Any]:
        """Its settings, dotted name -> value."""
        return {
            f"{section}.{field}": value
            for section in OWN_SECTIONS
            for field, value in getattr(self, section).items()
        }


def written_as(arm: Any) -> str:
    """How an arm is written: the tag that tells a mapping with settings from a list of mitigations."""
    return "dict[arm]" if isinstance(arm, dict | Arm) else "list[mitigation]"


Listed = Annotated[list[MitigationItem], Tag("list[mitigation]")]
ArmInput = Arm | Sequence[MitigationInput] | Mapping[str, Any]
"""What a constructor takes for an arm, for type checkers."""

ArmItem = Annotated[Listed | Annotated[Arm, Tag("dict[arm]")], Discriminator(written_as)]


def as_arm(arm: list[Mitigation] | Arm) -> Arm:
    """An arm however it was written."""
    return arm if isinstance(arm, Arm) else Arm(mitigations=arm)


def settings_of(shared: Shared, name: str, arm: Arm) -> dict[str, Any]:
    """`train` and `text` of one arm: the shared ones with the arm's own fields in their place.

    Raises:
        Misplaced: a field that is not there, or a value that it cannot take.
    """
    found: dict[str, Any] = {}
    for section in OWN_SECTIONS:
        common, own = getattr(shared, section), getattr(arm, section)
        try:
            found[section] = type(common)(**{**common.model_dump(), **own}) if own else common
        except ValidationError as error:
            field, message = explain(error, type(common), section)
            parts = field.split(".") if field else []
            raise Misplaced(message, "methods", name, section, *parts) from None
    return found
