"""What the training loop asks of the methods it trains with; `mitigations.chain.Chain` answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor

from cl_forget.models.base import FoundationModel, Prepared
from cl_forget.training.context import Extra, Step, Task, Update
from cl_forget.training.state import State


class Hooks(Protocol):
    """Methods composed: every hook is called in its place of the step, in a fixed order.

    Attributes:
        state: method name -> its tensors.
        live: objects kept as long as the process, which are not checkpointed.
    """

    state: dict[str, State]
    live: dict[str, Any]

    @property
    def compares(self) -> bool:
        """Whether a method compares the samples of a (micro-)batch with each other."""

    def using(self, hook: str) -> Sequence[Any]:
        """The methods that implement `hook`."""

    def each(self, hook: str, *arguments: Any) -> None:
        """Call `hook` of every method that implements it."""

    def training_data(self, task: Task) -> list[Prepared]:
        """What the steps of a task are taken on: its own data, unless a method trains on others."""

    def start(self, task: Task) -> None:
        """Begin a task; one that `task.resumed` has its state already."""

    def restore(self, groups: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take over the state of every method from a checkpoint."""

    def feature_depths(self, model: FoundationModel) -> tuple[str, ...]:
        """The depths at which features are needed in the loss."""

    def learning_rate_factor(self, model: FoundationModel, parameter: str) -> float:
        """The factor on the learning rate of one parameter."""

    def extra_batches(self, task: Task, number: int) -> list[Extra]:
        """Replayed or reference batches of step `number`."""

    def objective(self, step: Step) -> Tensor | None:
        """(batch,) losses in place of the cross-entropy; None for the cross-entropy."""

    def factor(self, hook: str, step: Step) -> Tensor | None:
        """The product of the methods' `sample_weights` or `unit_weights`; None for none."""

    def penalties(self, step: Step) -> dict[str, Tensor]:
        """The terms added to the loss, by method."""

    def around(self, hook: str, update: Update, inner: Callable[[], Any]) -> Any:
        """Call `inner` through every method that wraps it."""

    def should_stop(self, update: Update) -> bool:
        """Whether the task ends with the step just taken."""
