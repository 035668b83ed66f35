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

State a mitigation keeps is a dict of tensors, declared in its `keeps`, that the loop checkpoints and restores
with the model; the mitigation object itself never changes. This module imports no torch, so that names, knobs
and ranges can be listed and checked at once.

A task that goes on from a checkpoint is the task itself: `start_task` is not called again, since the state is what
the checkpoint holds; `request_outputs` and `shape_parameters` are, and `task.resumed` says so.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ConfigDict

from cl_forget.ground.errors import UserError
from cl_forget.ground.section import Exact
from cl_forget.mitigations.claim import Claim
from cl_forget.mitigations.definition import HOOKS_AT, Definition, check_class
from cl_forget.training.state import State

if TYPE_CHECKING:
    from torch import Tensor

    from cl_forget.models.base import FoundationModel, Prepared
    from cl_forget.streams.base import Experience
    from cl_forget.training.context import Edit, Extra, Step, Task, Update
    from cl_forget.training.options import Training

    Weights = dict[str, Tensor]

    Own = Any
    """A method's own state, of the kind that its `keeps` names; hooks annotate it as that class."""


PLACES = tuple(HOOKS_AT)


class Mitigation(Exact, metaclass=Definition):
    """One method against forgetting: typed hyper-parameters and the hooks it needs, in one file.

    A class is checked when it is defined: a misspelt hook, a place that does not exist, a knob that is no field are
    a line each (`BadMethod`). A class that only others inherit from says so: `class Base(Mitigation, abstract=True)`.

    Class attributes:
        name: what the method is called in a configuration.
        place: the place of its main hook, one of `PLACES`; fixes the order of composition.
        knob: the field that trades speciality for generality, None if the method has none.
        grid: default values of the knob for curves and sweeps.
        absent: the knob's value at which the method does nothing; the chain then leaves it out.
        conflicts: other method's name -> why the two cannot be combined.
        claims: decisions that only one method of a chain may take (`Claim`).
        keeps: the tensors that the method keeps between steps and tasks, a subclass of `State`.
        needs_trunk: whether the method has nothing to act on when the trunk is not trained.
        needs_full_weights: whether the method compares the weights with earlier ones of the same shape
            and name while training, which adapters (LoRA) do not have.
        post_hoc: whether the method only edits weights after the task, so that one fine-tune serves every
            value of its knob.
        whole_only: why the method needs whole weights or whole batches while training, so that it cannot be
            trained sharded (`train.strategy: fsdp`); None if it can.
        compares: whether its loss compares the samples of a (micro-)batch with each other, which sharded workers then
            take together; it reads the others' through `Step.rows`.
        own_head: why the heads cannot start from a probe (`train.head: probe`); None if they can.
        stands_for: fields of `train` -> value: plain training with these is the same training, to the bit.
        trains_nothing: whether no weight is trained: only heads are fitted.
        renews_statistics: whether the method re-estimates BatchNorm's running statistics at the edited weights.
        needs_text: whether the method needs the model's text tower.
        needs_validation: whether the method reads the task's validation data.
        needs_numbers: whether the method knows a sample by its number in the data set.
        later: fields that came after runs with the method were recorded: at their defaults they are no part of what
            tells runs apart, so that those records stand.
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
    claims: ClassVar[frozenset[Claim]] = frozenset()
    keeps: ClassVar[type[State]] = State
    needs_trunk: ClassVar[bool] = True
    needs_full_weights: ClassVar[bool] = False
    post_hoc: ClassVar[bool] = False
    whole_only: ClassVar[str | None] = None
    compares: ClassVar[bool] = False
    own_head: ClassVar[str | None] = None
    stands_for: ClassVar[dict[str, Any]] = {}
    trains_nothing: ClassVar[bool] = False
    renews_statistics: ClassVar[bool] = False
    needs_text: ClassVar[bool] = False
    needs_validation: ClassVar[bool] = False
    needs_numbers: ClassVar[bool] = False
    later: ClassVar[frozenset[str]] = frozenset()
    order: ClassVar[int] = 0
    title: ClassVar[str]
    formula: ClassVar[str]
    cost: ClassVar[str] = "not measured"
    advice: ClassVar[str] = ""
    source: ClassVar[str]

    def __init_subclass__(cls, abstract: bool = False, **options: Any) -> None:
        super().__init_subclass__(**options)

    @classmethod
    def __pydantic_init_subclass__(cls, abstract: bool = False, **options: Any) -> None:
        """Check the class.

        Raises:
            BadMethod: it contradicts itself or the protocol.
        """
        super().__pydantic_init_subclass__(**options)
        if not abstract:
            check_class(cls, Mitigation, hooks())

    @property
    def is_absent(self) -> bool:
        """Whether the knob stands at the value where the method does nothing."""
        return self.knob is not None and self.absent is not None and getattr(self, self.knob) == self.absent

    @property
    def needs_past(self) -> bool:
        """Whether the method does nothing (or no more than its knob's absence) in the first stage of a stream."""
        return False

    @property
    def feeds_back(self) -> bool:
        """Whether the next task starts from the weights as edited, so that a post-hoc method shapes training."""
        return False

    @property
    def averages(self) -> bool:
        """Whether a task ends with an average of the weights along its way; buffers stay the last step's."""
        return False

    def passes_per_step(self, steps: float) -> float:
        """How often a step takes the gradient of the whole objective, on average; forecasts read it.

        More than 1 where `around_gradient` calls its `gradient` more than once in a step.

        Args:
            steps: that a task takes; infinite where nobody knows.
        """
        return 1.0

    def extra_samples(self, batch_size: int) -> float:
        """How many samples its `extra_batches` add to a batch of the task's own, at most; forecasts read it.

        As many as the batch has, where a method says nothing.
        """
        return 0.0 if type(self).extra_batches is Mitigation.extra_batches else float(batch_size)

    def further_passes(self, times: float) -> float:
        """Passes per sample that it makes by itself, at most, beside those of the objective; forecasts read it.

        Forward and backward count one each.

        Args:
            times: how often the steps go through the data.
        """
        return 0.0

    @property
    def only_edits(self) -> bool:
        """Whether it edits weights after the task that nothing is trained on."""
        return self.post_hoc and not self.feeds_back

    @property
    def acts_in_training(self) -> bool:
        """Whether it does more than arrange the stages or edit weights that nothing is trained on."""
        return self.place != "stages" and not self.only_edits

    @property
    def identity(self) -> dict[str, Any]:
        """Its fields as plain values, as far as they tell one run from another."""
        plain = self.model_dump(mode="json")
        fields = type(self).model_fields
        same = {name for name in self.later if getattr(self, name) == fields[name].default}
        return {name: value for name, value in plain.items() if name not in same}

    def with_knob(self, value: float) -> Mitigation:
        """The same method at another strength."""
        if self.knob is None:
            raise UserError(f"'{self.name}' has no knob to turn.")
        return type(self)(**{**self.model_dump(), self.knob: value})

    # -- before anything ---------------------------------------------------------------------------------
    def check(self, model: FoundationModel, tasks: Sequence[Experience]) -> None:
        """Refuse what this model or these tasks cannot give, before anything is measured or trained.

        Raises:
            UserError: the method cannot do what it is asked for here.
        """

    def remarks(self, model: FoundationModel) -> Sequence[str]:
        """Sentences that whoever reads a result has to know of this method on this model; recorded with the run.

        Args:
            model: the pre-trained model.
        """
        return ()

    def findings(self, state: Own) -> Sequence[str]:
        """Sentences on what the method found while it trained; recorded with the run, beside its remarks."""
        return ()

    def references(self) -> Sequence[str | dict[str, Any]]:
        """Suites and streams whose data the method reads, as an experiment file names them."""
        return ()

    # -- stages ----------------------------------------------------------------------------------------
    def arrange(self, stages: list[tuple[Experience, ...]]) -> list[tuple[Experience, ...]]:
        """Regroup the experiences; those of one group are trained together."""
        return stages

    # -- around one task -------------------------------------------------------------------------------
    def start_task(self, task: Task, state: Own) -> None:
        """Before the first step of a task: check what the task offers, fill `state`.

        Not called where a task goes on from a checkpoint, which holds the state.
        """

    def request_outputs(self, task: Task, state: Own) -> None:
        """Ask `task.frozen` for what the steps will read of frozen models, so that one pass computes all of it.

        Called after every method's `start_task`, and again where a task goes on from a checkpoint.
        """

    def shape_parameters(self, task: Task, state: Own) -> None:
        """Choose what is trained: set `requires_grad`, insert adapters.

        Called again where a task goes on from a checkpoint (`task.resumed`): it must choose the same parameters
        then, and leave what `state` holds. The values of the parameters come from the checkpoint afterwards.
        """

    def finish_training(self, task: Task, state: Own) -> None:
        """After the last step, adapters still in place (re-fit the head, ...)."""

    def restore_parameters(self, task: Task, state: Own) -> None:
        """Undo `shape_parameters`: merge adapters, so that parameter names are the model's own again."""

    def end_task(self, task: Task, state: Own) -> None:
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
    def training_data(self, task: Task, samples: Prepared, state: Own) -> Prepared:
        """What the steps are taken on in the place of one of the task's data sets. Claims `Claim.TRAINING_DATA`.

        Called before every method's `start_task`, and again where a task goes on from a checkpoint. As many samples
        have to come back, in the same order: plans, weights and memories know them by their number. After the last
        step the task has its own data again, which later tasks replay.
        """
        return samples

    def sample_weights(self, step: Step, state: Own) -> Tensor | None:
        """(batch,) factors on the losses of the task's own samples; not normalised.

        Factors of several methods multiply. Replayed and reference batches (`extra_batches`) are left alone: their
        weight is `Extra.factor`.
        """
        return None

    def unit_weights(self, step: Step, state: Own) -> Tensor | None:
        """(units,) factors on the units' losses (tokens of a language model), before the sample mean.

        They are part of the cross-entropy wherever it is taken, so this runs on replayed batches, too (those of
        `extra_batches` without a loss of their own). A method that weights the task's own data only returns None
        where `step.batch.samples` is none of `step.task.sources`.
        """
        return None

    def extra_batches(self, task: Task, number: int, state: Own) -> list[Extra]:
        """Batches of other data for step `number` (replay, reference data), each with its term in the loss."""
        return []

    # -- loss ------------------------------------------------------------------------------------------
    def feature_depths(self, model: FoundationModel) -> Sequence[str]:
        """Depths at which the student's features are needed in the loss."""
        return ()

    def objective(self, step: Step, state: Own) -> Tensor | None:
        """Replaces the cross-entropy of the task's own batch: (batch,) losses. Claims "task loss"."""
        return None

    def penalty(self, step: Step, state: Own) -> Tensor | None:
        """A scalar added to the loss (its strength included)."""
        return None

    # -- gradient --------------------------------------------------------------------------------------
    def add_gradient(self, update: Update, state: Own) -> None:
        """Add a penalty's closed-form gradient to `update.parameters.gradients`, in place, no autograd.

        It belongs to every gradient of the step, so where a method takes several (SAM takes two) it runs once in
        each, at the weights as they then are. What is to happen once in a step belongs into `after_step`, or asks
        whether `update.number` is new. What it adds to the loss is not computed, and does not stand in the log.
        """

    # -- step ------------------------------------------------------------------------------------------
    def around_gradient(self, update: Update, gradient: Callable[[], Tensor], state: Own) -> Tensor:
        """Take the step's gradient; `gradient()` fills `.grad` afresh, at the weights as they then are.

        It covers the whole objective (every micro-batch, every penalty, closed-form ones included) and
        returns the loss. The log shows the terms of the first call, those at the weights of the step. A term that
        is added here, beside them, enters the log as `update.terms[self.name] = term` (a scalar, its strength
        included) and is part of the loss that is returned.
        """
        return gradient()

    def around_update(self, update: Update, apply: Callable[[], None], state: Own) -> None:
        """Take the optimiser's step; `apply()` does it."""
        apply()

    def after_step(self, update: Update, state: Own) -> None:
        """After the update (path integrals, running averages)."""

    def should_stop(self, update: Update, state: Own) -> bool:
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


def hooks() -> dict[str, Callable[..., Any]]:
    """What the chain calls of a method, by name."""
    return {
        name: value
        for name, value in vars(Mitigation).items()
        if inspect.isfunction(value) and not name.startswith("_") and name != "with_knob"
    }
