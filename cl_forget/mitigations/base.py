"""What a mitigation is, and how mitigations compose.

A mitigation is a small typed parameter object with optional hooks. Each hook belongs to one place in the
step, and `Chain` calls the places in a fixed order, whatever the order the mitigations were listed in:

    stages      which experiences are trained together        joint
    parameters  what is trained                               LoRA, freezing, linear probe
    data        which samples, with which weight              replay, FLOW
    loss        the task loss, and terms added to it          KD, LDIFS, FLYP
    gradient    closed-form penalty gradients                 L2-SP, EWC
    step        how gradient and update are taken             SAM, MoFO
    weights     edits after the task                          WiSE-FT, LiNeS

State a mitigation keeps is a plain dict of tensors that the loop checkpoints and restores with the model;
the mitigation object itself never changes. This module imports no torch, so that names, knobs and ranges
can be listed and checked at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict

from cl_forget.errors import UserError
from cl_forget.registry import closest

if TYPE_CHECKING:
    from torch import Tensor

    from cl_forget.config import Training
    from cl_forget.models.base import FoundationModel
    from cl_forget.streams.base import Experience
    from cl_forget.training.context import Edit, Extra, Step, Task, Update

    State = dict[str, Tensor]
    Weights = dict[str, Tensor]

PLACES = ("stages", "parameters", "data", "loss", "gradient", "step", "weights")


class Mitigation(BaseModel):
    """One method against forgetting: typed hyper-parameters and the hooks it needs, in one file.

    Class attributes:
        name: what the method is called in a configuration.
        place: the place of its main hook, one of `PLACES`; fixes the order of composition.
        knob: the field that trades speciality for generality, None if the method has none.
        grid: default values of the knob for curves and sweeps.
        absent: the knob's value at which the method does nothing; the chain then leaves it out.
        conflicts: other method's name -> why the two cannot be combined.
        claims: things only one method of a chain may own ("task loss", "adapter", ...).
        needs_trunk: whether the method has nothing to act on when the trunk is not trained.
        needs_full_weights: whether the method compares the weights with earlier ones of the same shape
            and name while training, which adapters (LoRA) do not have.
        post_hoc: whether the method only edits weights after the task, so that one fine-tune serves every
            value of its knob.
        whole_only: why the method needs whole weights or whole batches while training, so that it cannot be
            trained sharded (`train.strategy: fsdp`); None if it can.
        own_head: why the heads cannot start from a probe (`train.head: probe`); None if they can.
        order: among the methods of one place, a lower number acts first; equal numbers act in order of name.
        title, formula, cost, advice, source: for tables and docs (`docs/methods.md` is made from them).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    name: ClassVar[str]
    place: ClassVar[str]
    knob: ClassVar[str | None] = None
    grid: ClassVar[tuple[float, ...]] = ()
    absent: ClassVar[float | None] = None
    conflicts: ClassVar[dict[str, str]] = {}
    claims: ClassVar[frozenset[str]] = frozenset()
    needs_trunk: ClassVar[bool] = True
    needs_full_weights: ClassVar[bool] = False
    post_hoc: ClassVar[bool] = False
    whole_only: ClassVar[str | None] = None
    own_head: ClassVar[str | None] = None
    order: ClassVar[int] = 0
    title: ClassVar[str]
    formula: ClassVar[str]
    cost: ClassVar[str] = "not measured"
    advice: ClassVar[str] = ""
    source: ClassVar[str]

    @property
    def is_absent(self) -> bool:
        """Whether the knob stands at the value where the method does nothing."""
        return self.knob is not None and self.absent is not None and getattr(self, self.knob) == self.absent

    @property
    def needs_past(self) -> bool:
        """Whether the method does nothing (or no more than its knob's absence) in the first stage of a stream."""
        return False

    def with_knob(self, value: float) -> Mitigation:
        """The same method at another strength."""
        if self.knob is None:
            raise UserError(f"'{self.name}' has no knob to turn.")
        return type(self)(**{**self.model_dump(), self.knob: value})

    # -- stages ----------------------------------------------------------------------------------------
    def arrange(self, stages: list[tuple[Experience, ...]]) -> list[tuple[Experience, ...]]:
        """Regroup the experiences; those of one group are trained together."""
        return stages

    # -- around one task -------------------------------------------------------------------------------
    def start_task(self, task: Task, state: State) -> None:
        """Before the first step of a task: fill `state`, ask `task.frozen` for teacher outputs.

        Called again on resume with the checkpointed state, so it must not redo what `state` holds.
        """

    def shape_parameters(self, task: Task, state: State) -> None:
        """Choose what is trained: set `requires_grad`, insert adapters. Deterministic, called on resume too."""

    def finish_training(self, task: Task, state: State) -> None:
        """After the last step, adapters still in place (re-fit the head, ...)."""

    def restore_parameters(self, task: Task, state: State) -> None:
        """Undo `shape_parameters`: merge adapters, so that parameter names are the model's own again."""

    def end_task(self, task: Task, state: State) -> None:
        """After training, on the tuned weights: collect what the next task needs (Fisher, memory, ...)."""

    def train_task(self, task: Task, train: Training, live: dict[str, Any]) -> None:
        """Trains the stage instead of the step loop. Claims "training loop".

        Args:
            task: the stage; parameters are chosen already; passes and steps are counted in `task.cost`.
            train: epochs, batch size, optimiser.
            live: objects kept as long as the simulation runs in this process. They are not checkpointed, so
                what is missing after a restart must be made again from `task` and `state`.
        """

    # -- data ------------------------------------------------------------------------------------------
    def sample_weights(self, step: Step, state: State) -> Tensor | None:
        """(batch,) factors on the samples' losses; not normalised. Factors of several methods multiply."""
        return None

    def unit_weights(self, step: Step, state: State) -> Tensor | None:
        """(units,) factors on the units' losses (tokens of a language model), before the sample mean."""
        return None

    def extra_batches(self, task: Task, number: int, state: State) -> list[Extra]:
        """Batches of other data for step `number` (replay, reference data), each with its term in the loss."""
        return []

    # -- loss ------------------------------------------------------------------------------------------
    def feature_depths(self, model: FoundationModel) -> Sequence[str]:
        """Depths at which the student's features are needed in the loss."""
        return ()

    def objective(self, step: Step, state: State) -> Tensor | None:
        """Replaces the cross-entropy of the task's own batch: (batch,) losses. Claims "task loss"."""
        return None

    def penalty(self, step: Step, state: State) -> Tensor | None:
        """A scalar added to the loss (its strength included)."""
        return None

    # -- gradient --------------------------------------------------------------------------------------
    def add_gradient(self, update: Update, state: State) -> None:
        """Add a penalty's closed-form gradient to `update.parameters.gradients`, in place, no autograd."""

    # -- step ------------------------------------------------------------------------------------------
    def around_gradient(self, update: Update, gradient: Callable[[], Tensor], state: State) -> Tensor:
        """Take the step's gradient; `gradient()` fills `.grad` afresh, at the weights as they then are.

        It covers the whole objective (every micro-batch, every penalty, closed-form ones included) and
        returns the loss.
        """
        return gradient()

    def around_update(self, update: Update, apply: Callable[[], None], state: State) -> None:
        """Take the optimiser's step; `apply()` does it."""
        apply()

    def after_step(self, update: Update, state: State) -> None:
        """After the update (path integrals, running averages)."""

    def should_stop(self, update: Update, state: State) -> bool:
        """Whether the task ends with the step just taken; what follows training is done as ever."""
        return False

    def learning_rate_factor(self, model: FoundationModel, parameter: str) -> float:
        """Factor on the learning rate of one parameter."""
        return 1.0

    def step_share(self) -> float:
        """Share (0-1] of a task's steps that is taken."""
        return 1.0

    # -- weights ---------------------------------------------------------------------------------------
    def edit_weights(self, edit: Edit, weights: Weights) -> Weights:
        """New weights from the tuned ones; `edit` holds the pre-trained and the task-start weights."""
        return weights

    def next_start(self, edit: Edit, weights: Weights) -> Weights:
        """The weights that the next task starts from, given those it would start from otherwise."""
        return weights


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
        _check(listed)
        self.mitigations: tuple[Mitigation, ...] = tuple(
            sorted(
                (m for m in listed if not m.is_absent),
                key=lambda m: (PLACES.index(m.place), m.order, m.name),
            )
        )
        self.state: dict[str, State] = {m.name: {} for m in self.mitigations}
        self.live: dict[str, Any] = {}

    def __iter__(self) -> Iterator[Mitigation]:
        return iter(self.mitigations)

    def __contains__(self, name: str) -> bool:
        return any(m.name == name for m in self.mitigations)

    def using(self, hook: str) -> list[Mitigation]:
        """The members that implement `hook`, in canonical order."""
        return [m for m in self.mitigations if _overrides(m, hook)]

    @property
    def post_hoc(self) -> tuple[Mitigation, ...]:
        """The members that only edit weights after the task and feed nothing back into training."""
        return tuple(m for m in self.mitigations if m.post_hoc and not getattr(m, "feed_back", False))

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

    def each(self, hook: str, *arguments: Any) -> None:
        """Call `hook(*arguments, state)` on every member that implements it."""
        for m in self.using(hook):
            getattr(m, hook)(*arguments, self.state[m.name])

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


def _check(mitigations: Sequence[Mitigation]) -> None:
    names = [m.name for m in mitigations]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"'{name}' is listed {names.count(name)} times; list each method once.")
    for m in mitigations:
        for other, reason in m.conflicts.items():
            if other in names:
                raise UserError(f"'{m.name}' cannot be combined with '{other}': {reason}.")
    owners: dict[str, str] = {}
    for m in mitigations:
        for claim in sorted(m.claims):
            if claim in owners:
                raise UserError(
                    f"'{m.name}' cannot be combined with '{owners[claim]}': both decide the {claim}; keep one."
                )
            owners[claim] = m.name
    if "freezing of the trunk" in owners:
        frozen_by = owners["freezing of the trunk"]
        for m in mitigations:
            if m.needs_trunk and m.name != frozen_by:
                raise UserError(
                    f"'{m.name}' cannot be combined with '{frozen_by}': {frozen_by} never trains the trunk, "
                    f"so {m.name} has nothing to act on."
                )
    if "training loop" in owners:
        for m in mitigations:
            if m.name != owners["training loop"] and _acts_in_training(m):
                raise UserError(
                    f"'{m.name}' cannot be combined with '{owners['training loop']}': that runs a training loop "
                    f"of its own, in which {m.name} has no place."
                )
    if "adapter" in owners:
        for m in mitigations:
            if m.needs_full_weights:
                raise UserError(
                    f"'{m.name}' cannot be combined with '{owners['adapter']}': {m.name} compares full weights "
                    "with earlier ones, and adapters have no earlier values."
                )


def _acts_in_training(mitigation: Mitigation) -> bool:
    """Whether it does more than arrange the stages or edit weights that nothing is trained on."""
    after_training = mitigation.post_hoc and not getattr(mitigation, "feed_back", False)
    return not after_training and mitigation.place != "stages"
