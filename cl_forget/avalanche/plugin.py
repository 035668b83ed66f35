"""Our mitigations as a plugin of Avalanche's own strategies."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from torch import Tensor, nn

from cl_forget.avalanche.model import (
    AvalancheSamples,
    LiveSamples,
    ModuleModel,
    named_experience,
    on_the_fly,
)
from cl_forget.ground.errors import UserError
from cl_forget.mitigations.chain import Chain
from cl_forget.mitigations.protocol import Mitigation
from cl_forget.models.base import Prepared
from cl_forget.training.context import Edit, Step, Task, Trainable, Update, Weights
from cl_forget.training.frozen import FrozenCache, FrozenModel, FrozenOutputs

WITHOUT_MEANING = {
    "arrange": "it decides which experiences are trained together; use Avalanche's JointTraining",
    "training_data": "it trains on other data; give them to Avalanche as a benchmark",
    "train_task": "it is a training loop of its own",
    "learning_rate_factor": "it sets learning rates; set them in the optimiser given to Avalanche",
    "step_share": "it takes fewer steps; give Avalanche fewer epochs",
}


def as_plugin(
    mitigations: Mitigation | Iterable[Mitigation],
    features: Sequence[str] = (),
    embedding: str | None = None,
    validation: Iterable[Any] = (),
    seed: int = 0,
) -> SupervisedPlugin:
    """Mitigations as one Avalanche plugin, for any classifier in `Naive` and strategies built like it.

    The model must have all its classes from the start. `θ0` is the model before the first experience.
    Post-hoc edits stand in the model while Avalanche evaluates; the next experience is trained from the
    tuned weights. Place it last in the list of plugins, so that the others see the tuned ones.

    Args:
        mitigations: one or several; they compose as everywhere.
        features: submodules whose outputs are the features by depth (LDIFS).
        embedding: submodule whose output is the embedding; None takes the input of the last linear layer.
        validation: one Avalanche experience with validation data per training experience, for early_stopping
            and hma.
        seed: of the mitigations' own random numbers.

    Raises:
        UserError: a mitigation that has no meaning inside Avalanche's loop, with the reason; mitigations that
            do not go together.
    """
    chain = Chain([mitigations] if isinstance(mitigations, Mitigation) else mitigations)
    held = list(validation)
    for m in chain:
        _check(m, bool(held), bool(features))
    return MitigationPlugin(chain, tuple(features), embedding, held, seed)


def _check(mitigation: Mitigation, validation: bool, features: bool) -> None:
    reasons = [
        reason
        for hook, reason in WITHOUT_MEANING.items()
        if getattr(type(mitigation), hook) is not getattr(Mitigation, hook)
    ]
    if mitigation.needs_text:
        reasons.append("it needs a text tower, and Avalanche's models have none")
    if mitigation.needs_numbers:
        reasons.append("it weights samples by their number, which Avalanche's minibatches do not carry")
    if mitigation.needs_validation and not validation:
        reasons.append("it needs validation data; pass validation=benchmark.streams['valid']")
    if Chain([mitigation]).using("feature_depths") and not features:
        reasons.append("it needs features; name submodules in features=[...]")
    if reasons:
        raise UserError(f"'{mitigation.name}' is no Avalanche plugin: {reasons[0]}.")


class MitigationPlugin(SupervisedPlugin):
    """A chain of mitigations at the hooks of Avalanche's loop; made by `as_plugin`."""

    def __init__(
        self, chain: Chain, features: Sequence[str], embedding: str | None, validation: list[Any], seed: int
    ) -> None:
        super().__init__()
        self.chain, self.seed = chain, seed
        self._features, self._embedding, self._validation = features, embedding, validation
        self._model: ModuleModel | None = None
        self._past: list[Prepared] = []
        self._history: list[Callable[[], Weights]] = []
        self._starts: list[Callable[[], Weights]] = []
        self._go_on: Weights | None = None
        self._probed: Weights = {}
        self._cache = FrozenCache(None)
        self._again = False  # whether a further pass of the same step is under way

    # -- around an experience --------------------------------------------------------------------------
    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Start the task."""
        if self._model is None:
            self._model = ModuleModel(strategy.model, self._features, self._embedding)
            self._pretrained = _weights(self._model)
            self._base = FrozenModel(self._model)
        model = self._model
        if self._go_on is not None:
            model.load_state_dict(self._go_on)
        self._check_shapes(model)
        self.task = self._task(strategy, model)
        self._live = LiveSamples(self.task.sources[0])  # type: ignore[arg-type]
        self._number = 0
        self.chain.start(self.task)
        tunable = set(model.tunable(self.task.stage[0]))
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in tunable)
        self._reshape("shape_parameters", strategy)
        named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        self.parameters = Trainable([n for n, _ in named], [p for _, p in named])
        self.depths = self.chain.feature_depths(model)
        if self.chain.using("around_update"):
            take = strategy.optimizer_step
            strategy.optimizer_step = lambda: self.chain.around("around_update", self._update(strategy), take)

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """End the task, and edit the weights."""
        assert self._model is not None
        task, model = self.task, self._model
        vars(strategy).pop("optimizer_step", None)
        self.chain.each("finish_training", task)
        self._reshape("restore_parameters", strategy)
        was_training = model.training
        tunable = set(model.tunable(task.stage[0]))
        model.requires_grad_(False).eval()
        self.chain.each("end_task", task)
        self._probed = task.probed
        self._past.extend(task.sources)
        if self.chain.using("edit_weights") or self.chain.using("next_start"):
            self._edit(task, model)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in tunable)
        model.train(was_training)

    def _edit(self, task: Task, model: ModuleModel) -> None:
        tuned, start = _weights(model), {**task.start, **task.heads}
        self._history.append(lambda: tuned)
        self._starts.append(lambda: start)
        edit = Edit(
            model,
            pretrained=task.pretrained,
            start=task.start,
            history=list(self._history),
            starts=list(self._starts),
            task=task,
        )
        with torch.no_grad():
            edited = self.chain.edit_weights(edit, tuned)
            self._go_on = self.chain.next_start(edit, tuned)
            model.load_state_dict(edited)

    def _reshape(self, hook: str, strategy: Any) -> None:
        """Insert or merge adapters, and let the optimiser know."""
        if not self.chain.using(hook):
            return
        self.chain.each(hook, self.task)
        strategy.make_optimizer(remove_params=True)

    def _task(self, strategy: Any, model: ModuleModel) -> Task:
        index = len(self._past)
        device = torch.device(strategy.device)
        data = strategy.experience.dataset
        last = model.head_parameters(None)  # type: ignore[arg-type]
        classes = len(model.get_parameter(last[0])) if last else 0
        targets = torch.tensor([int(target) for target in data.targets])
        experience = named_experience(index + 1, targets, classes)
        held = self._validation[index : index + 1]
        return Task(
            model=model,
            stage=(experience,),
            index=index,
            sources=[AvalancheSamples(data, experience, "train", device)],
            validation=[AvalancheSamples(e.dataset, experience, "validation", device) for e in held],
            past=list(self._past),
            pretrained=self._pretrained,
            start=_weights(model),
            probed=dict(self._probed),
            frozen=FrozenOutputs(
                self._cache,
                {"pretrained": self._base, "previous": FrozenModel(model) if index else self._base},
            ),
            seed=self.seed,
            steps=strategy.train_epochs * len(strategy.dataloader),
            batch_size=strategy.train_mb_size,
            label_smoothing=getattr(strategy._criterion, "label_smoothing", 0.0),
        )

    def _check_shapes(self, model: ModuleModel) -> None:
        now, then = _weights(model), self._pretrained
        if now.keys() != then.keys() or any(now[n].shape != then[n].shape for n in now):
            raise UserError(
                f"{model.spec} grew during training, so its weights have no earlier values to compare with; "
                "give it all its classes (and heads) from the start."
            )

    # -- in a step -------------------------------------------------------------------------------------
    def before_forward(self, strategy: Any, **kwargs: Any) -> None:
        """Watch the pass for features."""
        assert self._model is not None
        if not self._again and self.chain.using("around_gradient"):
            self._random = torch.random.get_rng_state()  # a further pass sees the same dropout masks
        self._watching = contextlib.ExitStack()
        self._found = self._watching.enter_context(self._model.capture(self.depths))

    def after_forward(self, strategy: Any, **kwargs: Any) -> None:
        """Make the step of the pass."""
        assert self._model is not None
        self._watching.close()
        rest = strategy.mbatch[2:][-1:]
        batch = on_the_fly(strategy.mb_x, strategy.mb_y, rest, self._live)
        forward = self._model.read(batch, strategy.mb_output, self._found, self.depths)
        self.step = Step(self.task, batch, forward, self._number)
        for m in self.chain:
            flat = any(feature.shape[1] == 1 for feature in forward.features.values())
            if flat and getattr(m, "normalise", None) == "token":
                raise UserError(
                    f"'{m.name}' divides features by their norm over the tokens, and here a feature is one "
                    "vector: set its normalise to channel or none."
                )

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        """The loss, weighted or replaced where a method asks for it, plus every penalty."""
        losses = self.chain.objective(self.step)
        weights = self.chain.factor("sample_weights", self.step)
        if losses is not None or weights is not None or self.chain.using("unit_weights"):
            if losses is None:
                _needs_cross_entropy(strategy)
                losses = self._cross_entropy(self.step)
            task_loss = (losses if weights is None else losses * weights).mean()
            strategy.loss = strategy.loss + (task_loss - strategy.criterion())
        for term in self.chain.penalties(self.step).values():
            strategy.loss = strategy.loss + term
        if not strategy.loss.requires_grad:  # nothing is trained in steps, and Avalanche calls backward
            strategy.loss = strategy.loss.detach().requires_grad_()

    def _cross_entropy(self, step: Step) -> Tensor:
        units = step.forward.unit_losses(self.task.label_smoothing)
        weights = self.chain.factor("unit_weights", step)
        return step.forward.per_sample(units if weights is None else units * weights)

    def after_backward(self, strategy: Any, **kwargs: Any) -> None:
        """The rest of the gradient: other batches, closed forms; then further passes where a method asks."""
        update = self._update(strategy)
        idle = [tensor for tensor in self.parameters.tensors if tensor.grad is None]
        for extra in self.chain.extra_batches(self.task, self._number):
            step = Step(self.task, extra.batch, self.task.model(extra.batch, self.depths), self._number)
            term = extra.loss(step) if extra.loss else self._cross_entropy(step).mean()
            (extra.factor * term).backward()
        with torch.no_grad():
            self.chain.each("add_gradient", update)
        if self.chain.using("around_gradient") and not self._again:
            first = [strategy.loss.detach().squeeze()]
            self.chain.around(
                "around_gradient", update, lambda: first.pop() if first else self._another_pass(strategy)
            )
        for tensor in idle:  # no gradient is not a zero one: momentum would move the head of an old task
            if tensor.grad is not None and not tensor.grad.any():
                tensor.grad = None

    def _another_pass(self, strategy: Any) -> Tensor:
        """`.grad` afresh at the weights as they are, through Avalanche's own hooks."""
        kept = strategy.loss, strategy.mb_output, self.step, torch.random.get_rng_state()
        self._again = True
        try:
            torch.random.set_rng_state(self._random)
            strategy.optimizer.zero_grad()
            strategy.loss = strategy._make_empty_loss()
            strategy._before_forward()
            strategy.mb_output = strategy.forward()
            strategy._after_forward()
            strategy.loss = strategy.loss + strategy.criterion()
            strategy._before_backward()
            strategy.backward()
            strategy._after_backward()
            loss: Tensor = strategy.loss.detach().squeeze()
            return loss
        finally:
            self._again = False
            strategy.loss, strategy.mb_output, self.step = kept[:3]
            torch.random.set_rng_state(kept[3])

    def after_update(self, strategy: Any, **kwargs: Any) -> None:
        """After the optimiser's step."""
        update = self._update(strategy)
        self.chain.each("after_step", update)
        self._number += 1
        if self.chain.should_stop(update):
            strategy.stop_training()

    def _update(self, strategy: Any) -> Update:
        return Update(self.task, self.parameters, strategy.optimizer, self._number)


def _weights(model: nn.Module) -> Weights:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def _needs_cross_entropy(strategy: Any) -> None:
    criterion = strategy._criterion
    plain = isinstance(criterion, nn.CrossEntropyLoss) and criterion.reduction == "mean"
    if not plain or criterion.weight is not None:
        raise UserError(
            "a mitigation that weights samples needs the strategy's criterion to be CrossEntropyLoss() with "
            "the mean over samples."
        )
