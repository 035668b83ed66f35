"""A strategy of Avalanche that trains the stages of a simulation."""

from __future__ import annotations

import importlib
import inspect
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch
from avalanche.benchmarks import benchmark_from_datasets, with_classes_timeline, with_task_labels
from avalanche.benchmarks.utils import _make_taskaware_classification_dataset
from avalanche.core import SupervisedPlugin
from avalanche.models import MultiTaskModule
from torch import Tensor, nn

from cl_forget.ground.errors import TrainingDiverged, UserError
from cl_forget.ground.records import Cost
from cl_forget.ground.registry import closest
from cl_forget.ground.seeds import seeded
from cl_forget.models.base import Batch, FoundationModel, Prepared
from cl_forget.streams.base import Experience
from cl_forget.training.context import Task
from cl_forget.training.head import fit_heads
from cl_forget.training.loop import learning_rate, training_mode
from cl_forget.training.options import Training

OURS = (
    "self", "model", "feature_extractor", "classifier", "optimizer", "criterion", "train_mb_size",
    "train_epochs", "eval_mb_size", "device", "plugins", "evaluator", "eval_every", "peval_mode",
    "base_kwargs", "kwargs",
)  # fmt: skip
"""Arguments of a strategy that the experiment decides."""

NO_TASK_LABELS = ("DER", "ICaRL")
"""Strategies that call the model without task labels."""


def train_task(
    strategy: str, options: dict[str, Any], task: Task, train: Training, live: dict[str, Any]
) -> None:
    """Train one stage by an Avalanche strategy, which is kept in `live` for the next one.

    Args:
        strategy: name in `avalanche.training`, or "package.module:Class".
        options: the strategy's own arguments.
        task: the stage.
        train: epochs, batch size, optimiser.
        live: of the chain; where the strategy is missing, the earlier stages are trained again.

    Raises:
        UserError: unknown strategy or option, a stream the strategy cannot take, or earlier stages that come
            out differently when trained again.
    """
    if train.micro_batch_size is not None:
        raise UserError("Avalanche's loop has no micro-batches: leave train.micro_batch_size out.")
    if "avalanche" not in live:
        live["avalanche"] = _Sequence(strategy, options, task, train)
    live["avalanche"].train(task)


class _Sequence:
    """One strategy over the stages of one simulation."""

    def __init__(self, strategy: str, options: dict[str, Any], task: Task, train: Training) -> None:
        self.name = strategy
        self.student = _student(strategy, task.model)
        self.student.batch_norm = train.batch_norm
        self.clock = _Bookkeeping(self.student, train)
        self.heads: list[str] = []  # a head's position is its task label
        self.classes: list[list[int]] = []  # of each stage so far, for iCaRL
        self.strategy = _make(strategy, options, self.student, task, train, self.clock)
        if task.index > 0:
            self._again(task)

    def _again(self, task: Task) -> None:
        """Train the stages before `task` again, for what the strategy keeps between them."""
        trainable = {name: p.requires_grad for name, p in task.model.named_parameters()}
        task.model.load_state_dict(task.pretrained)
        for index, source in enumerate(task.past):
            tuned = set(task.model.tunable(source.experience))
            for name, parameter in task.model.named_parameters():
                parameter.requires_grad_(name in tuned)
            earlier = replace(
                task, index=index, stage=(source.experience,), sources=[source], cost=Cost(), heads={}
            )
            if task.heads:  # it started from a probe, and so did they
                fit_heads(earlier, "current")
            self.train(earlier)
        if any(not torch.equal(tensor, task.start[n]) for n, tensor in task.model.state_dict().items()):
            raise UserError(
                "the earlier tasks came out differently when trained again (another machine, or another "
                "number of threads?); start the run over without --resume."
            )
        for name, parameter in task.model.named_parameters():
            parameter.requires_grad_(trainable[name])
        with torch.no_grad():
            for name, head in task.heads.items():
                task.model.get_parameter(name).copy_(head)

    def train(self, task: Task) -> None:
        """One stage."""
        labels = [self._task_label(source.experience) for source in task.sources]
        self.student.start(task, self.heads)
        self.clock.cost = self.student.cost = task.cost
        self.strategy.optimizer.state.clear()  # a fresh optimiser for every task, as in the loop it replaces
        started = time.perf_counter()
        with seeded(task.generator("avalanche").initial_seed()):
            self.strategy.train(self._experience(task, labels), eval_streams=[])
        if self.name == "ICaRL":
            _write_nearest_mean(self.strategy, task)
        task.cost.train_seconds += time.perf_counter() - started

    def _task_label(self, experience: Experience) -> int:
        head = _head(experience)
        if head not in self.heads:
            if self.heads and self.name in NO_TASK_LABELS:
                raise UserError(
                    f"avalanche's {self.name} takes no task labels, and '{experience.name}' has a head of "
                    "its own; use a stream whose tasks share one head."
                )
            self.heads.append(head)
        return self.heads.index(head)

    def _experience(self, task: Task, labels: Sequence[int]) -> Any:
        """The stage as an Avalanche experience."""
        datasets = [
            _make_taskaware_classification_dataset(
                _Samples(source), task_labels=label, targets=_targets(source).tolist()
            )
            for source, label in zip(task.sources, labels, strict=True)
        ]
        together = datasets[0]
        for dataset in datasets[1:]:
            together = together.concat(dataset)
        scenario = with_task_labels(with_classes_timeline(benchmark_from_datasets(train=[together])))
        experience = next(iter(scenario.streams["train"]))
        classes = sorted({int(c) for source in task.sources for c in _targets(source).unique()})
        if self.name == "ICaRL":
            if any(set(classes) & set(earlier) for earlier in self.classes):
                raise UserError(
                    f"avalanche's ICaRL needs new classes in every task, and '{task.stage[0].name}' repeats "
                    "some; use a class-incremental stream."
                )
            self.classes.append(classes)
            seen = [c for stage in self.classes for c in stage]
            # It makes room for every class there will be when the first task ends.
            later = [c for c in range(self._classes(task)) if c not in seen]
            experience.benchmark = SimpleNamespace(
                n_classes_per_exp=[*map(len, self.classes), len(later)], classes_order=[*seen, *later]
            )
        return experience

    def _classes(self, task: Task) -> int:
        labels = task.stage[0].labels
        assert labels is not None
        return len(labels.classes)


# -- the model -------------------------------------------------------------------------------------------
class _Student(nn.Module):
    """A foundation model as the classifier that Avalanche trains: images in, logits out.

    Only the parameters trained so far are shown, so that importances and constraints leave the rest out.
    """

    def __init__(self, model: FoundationModel) -> None:
        super().__init__()
        self.model = model
        self.cost = Cost()
        self.batch_norm = "frozen"
        self.shown: set[str] = set()
        self.experiences: dict[int, Experience] = {}  # by task label, without their data

    def start(self, task: Task, heads: Sequence[str]) -> None:
        """Before a stage: show what it trains, and know its heads."""
        self.shown |= {f"model.{n}" for n, p in self.model.named_parameters() if p.requires_grad}
        for source in task.sources:
            # A strategy may copy the whole model: it must not carry data along.
            bare: Any = {"train": None, "validation": None, "test": None, "shifted": {}}
            self.experiences[heads.index(_head(source.experience))] = replace(source.experience, **bare)

    def train(self, mode: bool = True) -> _Student:
        """Training or evaluation mode; BatchNorm as `train.batch_norm` says."""
        super().train(mode)
        if mode:
            training_mode(self.model, self.batch_norm)
        return self

    def named_parameters(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Parameter]]:
        """The parameters trained so far."""
        return ((n, p) for n, p in super().named_parameters(*args, **kwargs) if n in self.shown)

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """The parameters trained so far."""
        return (parameter for _, parameter in self.named_parameters())

    def embed(self, x: Tensor) -> Tensor:
        """(batch, width) the trunk's output; the pass is counted."""
        self.cost.forward_samples += len(x)
        self.cost.backward_samples += len(x) if torch.is_grad_enabled() else 0
        positions = torch.arange(len(x))
        nobody: Any = None
        return self.model(Batch(x, positions, positions, nobody, headless=True)).embedding

    def answer(self, embedding: Tensor, label: int) -> Tensor:
        """(batch, classes) the head of task `label`."""
        return self.model.head_logits(self.experiences[label], embedding)


class _SharedHead(_Student):
    def forward(self, x: Tensor) -> Tensor:
        return self.answer(self.embed(x), 0)


class _HeadPerTask(_Student, MultiTaskModule):
    def forward(self, x: Tensor, task_labels: Tensor | None) -> Any:  # type: ignore[override]
        embedding = self.embed(x)
        if task_labels is None:
            return {label: self.answer(embedding, label) for label in self.experiences}
        rows = {int(label): task_labels == label for label in task_labels.unique()}
        answers = {label: self.answer(embedding[chosen], label) for label, chosen in rows.items()}
        width = max(answer.shape[1] for answer in answers.values())
        # Avalanche fills narrower heads up with 0, a logit like any other; here those classes are impossible.
        logits = embedding.new_full((len(x), width), -1e4)
        for label, answer in answers.items():
            logits[rows[label], : answer.shape[1]] = answer
        return logits


class _Features(nn.Module):
    """iCaRL's feature extractor: what the head sees."""

    def __init__(self, student: _Student) -> None:
        super().__init__()
        self.student = student

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.normalize(self.student.embed(x), dim=-1)


def _student(strategy: str, model: FoundationModel) -> _Student:
    heads = getattr(model, "heads", ())
    shared = len(heads) <= 1 or strategy in NO_TASK_LABELS
    return _SharedHead(model) if shared else _HeadPerTask(model)


def _head(experience: Experience) -> str:
    if experience.labels is None:
        raise UserError(f"'{experience.name}' has no classes; Avalanche's strategies are for classifiers.")
    return experience.labels.head


def _write_nearest_mean(strategy: Any, task: Task) -> None:
    """Make the head answer as iCaRL does, by the nearest class mean.

    On normalised embeddings x, `-‖x-m‖²/2 = m·x - ‖m‖²/2` up to a constant: a linear head. Its scale, which
    no prediction depends on, is that of the pre-trained head. Classes not seen have m = 0.
    """
    weight, bias = task.model.head_parameters(task.stage[0])
    scale = task.pretrained[weight].norm(dim=1).mean()
    means = strategy.model.eval_classifier.class_means
    with torch.no_grad():
        head = task.model.get_parameter(weight)
        head.zero_()
        head[: len(means)] = scale * means.to(head)
        task.model.get_parameter(bias).copy_(-head.square().sum(1) / (2 * scale))


# -- the data --------------------------------------------------------------------------------------------
class _Samples(torch.utils.data.Dataset[Any]):
    """Prepared samples one by one, on the CPU; augmentation draws from the seeded global generator."""

    def __init__(self, source: Prepared) -> None:
        self.source = source
        self.targets = _targets(source).tolist()

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        batch = self.source.batch(torch.tensor([position]))
        return batch.inputs[0].cpu(), self.targets[position]


def _targets(source: Prepared) -> Tensor:
    if source.targets is None:
        raise UserError(
            f"'{source.experience.name}' has no class labels; Avalanche's strategies are for classifiers."
        )
    return source.targets


# -- the strategy ----------------------------------------------------------------------------------------
class _Bookkeeping(SupervisedPlugin):
    """The experiment's learning-rate schedule and clipping, and what training costs."""

    def __init__(self, student: _Student, train: Training) -> None:
        super().__init__()
        self.student, self.train = student, train
        self.cost = Cost()

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        self.done = 0

    def before_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        if self.done == 0:  # only now has every plugin set its data loader
            self.steps = self.train.steps or self.train.epochs * len(strategy.dataloader)
        rate = self.train.lr * learning_rate(self.done, self.steps, self.train)
        for group in strategy.optimizer.param_groups:
            group["lr"] = rate

    def before_update(self, strategy: Any, **kwargs: Any) -> None:
        trained = [p for group in strategy.optimizer.param_groups for p in group["params"]]
        norm = torch.nn.utils.get_total_norm([p.grad for p in trained if p.grad is not None])
        if not bool(torch.isfinite(strategy.loss).all() & torch.isfinite(norm)):
            raise TrainingDiverged(
                f"step {self.done + 1} of {self.steps}: the loss or gradient of avalanche's "
                f"{type(strategy).__name__} is not finite; lower its strength or train.lr "
                f"(lr {self.train.lr:g})."
            )
        if self.train.clip is not None:
            torch.nn.utils.clip_grads_with_norm_(trained, self.train.clip, norm)

    def after_update(self, strategy: Any, **kwargs: Any) -> None:
        self.done += 1
        if self.done == self.train.steps:
            strategy.stop_training()
        self.cost.steps += 1
        self.cost.samples_seen += len(strategy.mb_y)


def _make(
    name: str,
    options: dict[str, Any],
    student: _Student,
    task: Task,
    train: Training,
    clock: _Bookkeeping,
) -> Any:
    cls = strategy_class(name)
    _check_options(name, cls, options)
    student.shown |= {f"model.{n}" for n, p in student.model.named_parameters() if p.requires_grad}
    given: dict[str, Any] = {
        "train_mb_size": train.batch_size,
        # An epoch has a step at least, and the one too many takes the sign back that the bookkeeping stops it by.
        "train_epochs": train.epochs if train.steps is None else train.steps + 1,
        "eval_mb_size": train.batch_size,
        "device": task.model.device,
        "plugins": [clock],
        "evaluator": None,
    }
    if name == "ICaRL":
        features = _Features(student)
        classifier = _classifier(task)
        modules: dict[str, Any] = {"feature_extractor": features, "classifier": classifier}
        given |= {"memory_size": 200, "fixed_memory": True, "buffer_transform": None}
        parameters = [*features.parameters(), *classifier.parameters()]
    else:
        modules = {"model": student, "criterion": nn.CrossEntropyLoss(label_smoothing=train.label_smoothing)}
        parameters = list(student.parameters())
    optimizer = torch.optim.AdamW(
        parameters, lr=train.lr, betas=train.betas, weight_decay=train.weight_decay, fused=True
    )
    try:
        with warnings.catch_warnings():
            # Measuring and logging are not Avalanche's here.
            warnings.filterwarnings("ignore", message="No loggers specified")
            return cls(optimizer=optimizer, **{**given, **modules, **options})
    except (TypeError, AssertionError, ValueError) as error:
        raise UserError(f"avalanche's {name}: {error}; mend its options.") from error


def _classifier(task: Task) -> nn.Linear:
    weight, bias = (
        task.model.get_parameter(name).detach() for name in task.model.head_parameters(task.stage[0])
    )
    head = nn.Linear(weight.shape[1], weight.shape[0], device=weight.device, dtype=weight.dtype)
    head.load_state_dict({"weight": weight, "bias": bias})
    return head


def strategy_class(name: str) -> Any:
    """A strategy by its name in `avalanche.training`, or as module:class.

    Raises:
        UserError: there is none, it is no class, or it needs what is not installed.
    """
    module, _, attribute = name.rpartition(":")
    try:
        found = getattr(importlib.import_module(module or "avalanche.training"), attribute)
    except (ImportError, AttributeError) as error:
        raise UserError(f"avalanche strategy '{name}' cannot be loaded: {error}.") from error
    if not inspect.isclass(found):
        raise UserError(f"avalanche strategy '{name}' is no class; name one of avalanche.training.")
    if name == "GEM":
        import qpsolvers

        if "quadprog" not in qpsolvers.available_solvers:
            raise UserError("avalanche's GEM needs the solver quadprog: pip install 'cl-forget[gem]'.")
    return found


def _check_options(name: str, cls: Any, options: dict[str, Any]) -> None:
    parameters = inspect.signature(cls.__init__).parameters
    own = [p for p in parameters if p not in OURS]
    for option in options:
        if option not in own:
            raise UserError(
                f"avalanche's {name} has no option '{option}'.{closest(option, own)} "
                f"Options: {', '.join(own) or 'none'}."
            )
    preset = {"memory_size", "fixed_memory", "buffer_transform"} if name == "ICaRL" else set()
    for option in own:
        if (
            parameters[option].default is inspect.Parameter.empty
            and option not in options
            and option not in preset
        ):
            raise UserError(f"avalanche's {name} needs the option '{option}'.")
