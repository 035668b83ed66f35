"""Any strategy of Avalanche, trained by Avalanche's loop and measured here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator

from cl_forget.ground.registry import closest
from cl_forget.mitigations.claim import Claim
from cl_forget.mitigations.protocol import Mitigation

if TYPE_CHECKING:
    from cl_forget.training.context import Task
    from cl_forget.training.options import Training

STRATEGIES = (
    "Naive", "EWC", "LwF", "SynapticIntelligence", "MAS", "GEM", "AGEM", "Replay", "DER", "ICaRL",
)  # fmt: skip
SHORT = {"SI": "SynapticIntelligence", "iCaRL": "ICaRL"}


class Avalanche(Mitigation):
    """Replaces the training loop by a strategy of Avalanche; evaluation stays ours, so arms compare.

    The strategy trains the same parameters with the same AdamW, schedule, clipping, epochs and batch size. It
    differs in the order of the data (Avalanche's own shuffling), in what a batch is (Replay and DER add
    memory samples to it), and in having no micro-batches. Its importances, memories and teachers live in
    the process: a run that is continued after a kill first trains its earlier tasks again, and checks that
    they come out the same to the bit.

    Attributes:
        strategy: its name in `avalanche.training` (SI and iCaRL are short names), or "package.module:Class".
        options: its own arguments, `{ewc_lambda: 0.4, mode: separate}`; model, optimiser and the like are the
            experiment's.
    """

    name = "avalanche"
    place = "step"
    claims = frozenset({Claim.TRAINING_LOOP})
    needs_trunk = False
    title = "Avalanche strategy"
    formula = "as the strategy defines it"
    cost = "that of the strategy"
    advice = "To compare with a strategy as Avalanche implements it; our own methods compose, this does not."
    source = "Carta et al. 2023, arXiv:2302.01766 (avalanche-lib)"

    strategy: str = Field(default="Naive", description="name in avalanche.training, or package.module:Class")
    options: dict[str, Any] = Field(default={}, description="the strategy's own arguments")

    @field_validator("strategy")
    @classmethod
    def _known(cls, name: str) -> str:
        full = SHORT.get(name, name)
        if full in STRATEGIES or ":" in full:
            return full
        raise ValueError(
            f"unknown strategy '{name}'.{closest(name, [*STRATEGIES, *SHORT])} "
            f"Known: {', '.join(STRATEGIES)}; any other is written package.module:Class"
        )

    def train_task(self, task: Task, train: Training, live: dict[str, Any]) -> None:
        """Hand the stage to the strategy."""
        from cl_forget.avalanche.strategy import train_task

        train_task(self.strategy, self.options, task, train, live)
