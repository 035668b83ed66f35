"""What a sweep has spent, as its folder keeps it."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, NonNegativeFloat, NonNegativeInt

from cl_forget.ground.documents import read_record

SPENDING = "spending.json"
"""What the sweep has spent of its budget."""


class Spending(BaseModel):
    """What a sweep has spent in all of its sessions.

    Attributes:
        hours: that it was worked on, by the clock.
        usd: what its nodes have cost meanwhile, by the prices of the budget.
        gpu_hours: devices that trials held, times the hours they held them.
        passes: own passes of every trial, in samples (`Trial.own_passes`).
    """

    model_config = ConfigDict(extra="forbid")

    hours: NonNegativeFloat = 0.0
    usd: NonNegativeFloat = 0.0
    gpu_hours: NonNegativeFloat = 0.0
    passes: NonNegativeInt = 0


def load_spending(folder: Path) -> Spending:
    """What the sweep in a folder has spent; nothing, where it says nothing.

    Raises:
        UserError: the file is damaged.
    """
    file = folder / SPENDING
    return (
        read_record(file, Spending, "delete it to count money and devices from nothing.")
        if file.exists()
        else Spending()
    )
