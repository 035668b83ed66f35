"""Joint training: every task at once, the upper bound."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cl_forget.mitigations.protocol import Mitigation

if TYPE_CHECKING:
    from cl_forget.streams.base import Experience


class Joint(Mitigation):
    """Trains on the union of all tasks' data in one stage: what a sequence could reach without forgetting.

    The number of samples seen is that of the sequence. A matrix has then only row 0 and the last row.
    """

    name = "joint"
    place = "stages"
    needs_trunk = False
    title = "Joint training"
    formula = "loss over the union of all tasks"
    cost = "that of the sequence, all data at hand at once"
    advice = (
        "As the upper bound in every comparison of sequences; it is no method for one who cannot keep "
        "the old data."
    )
    source = "the usual upper bound; Li & Hoiem 2017, arXiv:1606.09282"

    def arrange(self, stages: list[tuple[Experience, ...]]) -> list[tuple[Experience, ...]]:
        """One stage that holds every experience."""
        return [tuple(experience for stage in stages for experience in stage)]
