"""How mitigations compose: one chain that calls every hook in its place."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from cl_forget.ground.errors import UserError
from cl_forget.ground.registry import closest
from cl_forget.mitigations.compatibility import check
from cl_forget.mitigations.protocol import PLACES, Mitigation
from cl_forget.training.state import State

if TYPE_CHECKING:
    from torch import Tensor

    from cl_forget.models.base import FoundationModel, Prepared
    from cl_forget.streams.base import Experience
    from cl_forget.training.context import Edit, Extra, Step, Task, Update

    Weights = dict[str, Tensor]


def _overrides(mitigation: Mitigation, hook: str) -> bool:
    return getattr(type(mitigation), hook) is not getattr(Mitigation, hook)


class Chain:
    """Mitigations composed: checked against each other, in canonical order, hooks called place by place.

    The order of listing does not matter, and a method whose knob stands at its `absent` value is left out,
    so both leave every bit of a result as it is.

    Args:
        mitigations: the methods of one arm; empty means plain full fine-tuning.

    Raises:
        UserError: the combination makes no sense; the message gives the reason.
    """

    def __init__(self, mitigations: Iterable[Mitigation] = ()) -> None:
        listed = list(mitigations)
        check(listed)
        self.mitigations: tuple[Mitigation, ...] = tuple(
            sorted(
                (m for m in listed if not m.is_absent),
                key=lambda m: (PLACES.index(m.place), m.order, m.name),
            )
        )
        self.state: dict[str, State] = States({m.name: m.keeps for m in self.mitigations})
        self.live: dict[str, Any] = {}

    def __iter__(self) -> Iterator[Mitigation]:
        return iter(self.mitigations)

    def __contains__(self, name: str) -> bool:
        return any(m.name == name for m in self.mitigations)

    def using(self, hook: str) -> list[Mitigation]:
        """The members that implement `hook`, in canonical order."""
        return [m for m in self.mitigations if _overrides(m, hook)]

    @property
    def compares(self) -> bool:
        """Whether a member compares the samples of a (micro-)batch with each other."""
        return any(m.compares for m in self.mitigations)

    @property
    def post_hoc(self) -> tuple[Mitigation, ...]:
        """The members that only edit weights after the task and feed nothing back into training."""
        return tuple(m for m in self.mitigations if m.only_edits)

    @property
    def trained(self) -> tuple[Mitigation, ...]:
        """The members that shape training; two runs that agree in these share one fine-tune."""
        return tuple(m for m in self.mitigations if m not in self.post_hoc)

    def arrange(self, experiences: Sequence[Experience]) -> list[tuple[Experience, ...]]:
        """The training stages of a stream: one experience each unless a member regroups them."""
        stages: list[tuple[Experience, ...]] = [(experience,) for experience in experiences]
        for m in self.using("arrange"):
            stages = m.arrange(stages)
        return stages

    def idle(self, stages: Sequence[tuple[Experience, ...]]) -> list[str]:
        """The members that have nothing to do in so few stages, each as a line with the cure."""
        return [
            f"'{m.name}' keeps what earlier stages taught, and this run has a single one: give the stream more "
            "tasks, or leave the method out."
            for m in self.mitigations
            if m.needs_past and len(stages) < 2
        ]

    def check(self, model: FoundationModel, tasks: Sequence[Experience]) -> None:
        """Refuse what the model or the tasks cannot give to the members: depths, blocks, classes, heads."""
        self.feature_depths(model)
        for m in self.using("check"):
            m.check(model, tasks)

    @property
    def looks_up(self) -> bool:
        """Whether a member names something of the model, or other data: what `check` and `references` are for."""
        return bool(self.using("check") or self.using("feature_depths") or self.references())

    def references(self) -> list[str | dict[str, Any]]:
        """Every suite and stream that a member reads besides the run's own."""
        return [spec for m in self.mitigations for spec in m.references()]

    def each(self, hook: str, *arguments: Any) -> None:
        """Call `hook(*arguments, state)` on every member that implements it."""
        for m in self.using(hook):
            getattr(m, hook)(*arguments, self.state[m.name])

    def training_data(self, task: Task) -> list[Prepared]:
        """What the steps of a task are taken on: its own data, unless a member trains on others."""
        for m in self.using("training_data"):
            return [m.training_data(task, samples, self.state[m.name]) for samples in task.sources]
        return task.sources

    def findings(self) -> list[str]:
        """What the members found while they trained."""
        return [line for m in self.mitigations for line in m.findings(self.state[m.name])]

    def start(self, task: Task) -> None:
        """Begin a task, or go on with one that `task.resumed` from a checkpoint: only then is no state filled."""
        if not task.resumed:
            self.each("start_task", task)
        self.each("request_outputs", task)

    def restore(self, groups: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take over the state of every method from a checkpoint, whose groups are named `state/<method>`."""
        for name in self.state:
            self.state[name] = groups.get(f"state/{name}", {})  # type: ignore[assignment]

    def feature_depths(self, model: FoundationModel) -> tuple[str, ...]:
        """All depths the members need, shallow to deep; refuses those the model does not have."""
        wanted = {depth for m in self.using("feature_depths") for depth in m.feature_depths(model)}
        known = [depth for depth in model.depths if depth in wanted]
        if unknown := sorted(wanted.difference(known)):
            raise UserError(
                f"the model has no depth '{unknown[0]}'.{closest(unknown[0], list(model.depths))} "
                f"Known: {', '.join(model.depths) or 'none for this architecture'}."
            )
        return tuple(known)

    def factor(self, hook: str, step: Step) -> Tensor | None:
        """The product of the members' `sample_weights` or `unit_weights`; None if there are none."""
        product: Tensor | None = None
        for m in self.using(hook):
            weights = getattr(m, hook)(step, self.state[m.name])
            if weights is not None:
                product = weights if product is None else product * weights
        return product

    def objective(self, step: Step) -> Tensor | None:
        """The (batch,) task losses of the member that claims the task loss, None for cross-entropy."""
        for m in self.using("objective"):
            return m.objective(step, self.state[m.name])
        return None

    def penalties(self, step: Step) -> dict[str, Tensor]:
        """The terms added to the loss, by method."""
        terms = {m.name: m.penalty(step, self.state[m.name]) for m in self.using("penalty")}
        return {name: term for name, term in terms.items() if term is not None}

    def extra_batches(self, task: Task, number: int) -> list[Extra]:
        """Replayed or reference batches of step `number`."""
        found = []
        for m in self.using("extra_batches"):
            for extra in m.extra_batches(task, number, self.state[m.name]):
                extra.method = m.name
                found.append(extra)
        return found

    def around(self, hook: str, update: Update, inner: Callable[[], Any]) -> Any:
        """Call `inner` (the step's gradient, or its update) through every member that wraps it."""
        for m in self.using(hook):
            inner = partial(getattr(m, hook), update, inner, self.state[m.name])
        return inner()

    def should_stop(self, update: Update) -> bool:
        """Whether any member ends the task here; each is asked, since each may keep count."""
        answers = [m.should_stop(update, self.state[m.name]) for m in self.using("should_stop")]
        return any(answers)

    def learning_rate_factor(self, model: FoundationModel, parameter: str) -> float:
        """The product of the members' learning-rate factors for one parameter."""
        product = 1.0
        for m in self.using("learning_rate_factor"):
            product *= m.learning_rate_factor(model, parameter)
        return product

    def steps(self, planned: int) -> int:
        """How many of a task's planned steps are taken: the product of the members' shares, at least one."""
        for m in self.using("step_share"):
            planned = max(1, round(planned * m.step_share()))
        return planned

    def passes(self, batch_size: int, times: float, steps: float = math.inf) -> float:
        """Passes for each sample of the task's own, at most, forward and backward one each; two each time when plain.

        Args:
            batch_size: of the task's own samples.
            times: how often the steps go through the data.
            steps: that a task takes; infinite where nobody knows.
        """
        gradients = math.prod(m.passes_per_step(steps) for m in self.mitigations)
        samples = 1 + sum(m.extra_samples(batch_size) for m in self.mitigations) / batch_size
        return 2 * times * gradients * samples + sum(m.further_passes(times) for m in self.mitigations)

    def edit_weights(self, edit: Edit, weights: Weights, feed_back: bool | None = None) -> Weights:
        """The weights after every member's edit, in canonical order.

        Args:
            edit: pre-trained and task-start weights and the data edits may fit on.
            weights: the tuned weights; not changed.
            feed_back: only the edits training goes on from (True), or all of them (None).
        """
        for m in self.using("edit_weights"):
            if feed_back and m in self.post_hoc:
                continue
            weights = m.edit_weights(edit, weights)
        return weights

    @property
    def feeds_back(self) -> bool:
        """Whether a task may start from other weights than the last one ended with."""
        edits = self.using("edit_weights")
        return any(m not in self.post_hoc for m in edits) or bool(self.using("next_start"))

    def next_start(self, edit: Edit, weights: Weights) -> Weights:
        """The weights the next task starts from, given the tuned ones."""
        weights = self.edit_weights(edit, weights, feed_back=True)
        for m in self.using("next_start"):
            weights = m.next_start(edit, weights)
        return weights


class States(dict[str, State]):
    """The state of each member; what a plain dict holds (a checkpoint) becomes the member's own kind of state.

    Args:
        kinds: what each member keeps, by name.
    """

    def __init__(self, kinds: Mapping[str, type[State]]) -> None:
        super().__init__({name: kind() for name, kind in kinds.items()})
        self._kinds = dict(kinds)

    def __setitem__(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        kind = self._kinds[name]
        super().__setitem__(name, tensors if isinstance(tensors, kind) else kind(tensors))
