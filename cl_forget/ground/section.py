"""A part of a configuration file: typed, frozen, and without unknown fields."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of a file: frozen, and no field that is not known."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)
