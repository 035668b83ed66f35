"""LP-FT: fit the head first, then fine-tune everything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cl_forget.mitigations.claim import Claim
from cl_forget.mitigations.protocol import Mitigation

if TYPE_CHECKING:
    from cl_forget.training.context import Task
    from cl_forget.training.state import State


class LinearProbeThenFineTune(Mitigation):
    """Starts fine-tuning from the linear-probe head instead of the zero-shot one.

    A head that already fits the features sends small gradients into the trunk, which distorts them less. The
    same as `train.head: probe` for this method alone, to the bit, and one training where both are asked for.
    """

    name = "lp_ft"
    place = "parameters"
    claims = frozenset({Claim.HEAD})
    stands_for = {"head": "probe"}  # noqa: RUF012
    title = "LP-FT"
    formula = "linear probe, then full fine-tuning from it"
    cost = "plain, plus one probe"
    advice = "When the head starts far from fitting; it sends smaller gradients into the trunk."
    source = "Kumar et al. 2022, arXiv:2202.10054"

    def start_task(self, task: Task, state: State) -> None:
        """Fit the head."""
        from cl_forget.training.head import start_from_probe

        start_from_probe(task)
