"""Judges for answers in words of one's own, by the names that a file of texts gives them."""

from __future__ import annotations

import re
from typing import Literal

from cl_forget.streams.scoring import Judge

JudgeName = Literal["holds", "last number"]

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def holds(prompt: str, said: str, reference: str) -> bool:
    """Whether the reference stands in the answer as words of its own, in capitals or not."""
    return re.search(rf"(?<!\w){re.escape(reference.strip())}(?!\w)", said, re.IGNORECASE) is not None


def last_number(prompt: str, said: str, reference: str) -> bool:
    """Whether the answer and the reference end with the same number: 1,200, 1200 and 1200.0 are one."""
    ours, theirs = _last(said), _last(reference)
    return ours is not None and ours == theirs


def _last(text: str) -> float | None:
    found = _NUMBER.findall(text)
    return float(found[-1].replace(",", "")) if found else None


JUDGES: dict[JudgeName, Judge] = {"holds": holds, "last number": last_number}
