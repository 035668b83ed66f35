"""The only training loop: one task, one chain of mitigations.

Every step is the same few lines, whatever is composed: take the gradient of the whole objective (through
SAM, if it is there), clip it, update (through MoFO, if it is there). All randomness is drawn from
generators named after (seed, task, purpose, step), so a run continued from a checkpoint is the run itself.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from cl_forget.ground.errors import TrainingDiverged
from cl_forget.ground.progress import bar
from cl_forget.ground.records import Cost
from cl_forget.ground.seeds import seed_dropout
from cl_forget.models.base import Batch, Prepared
from cl_forget.training.compiling import compile_blocks, interpret
from cl_forget.training.context import Step, Task, Trainable, Update, part_like
from cl_forget.training.head import resume_from_probe, start_from_probe, starts_from_probe
from cl_forget.training.hooks import Hooks
from cl_forget.training.options import Training
from cl_forget.training.workers import Workers

Groups = dict[str, dict[str, Tensor]]


def steps_of(sources: list[Prepared], train: Training) -> int:
    """Optimiser steps of a stage: every epoch takes each source's batches once, the last one short."""
    if train.steps is not None:
        return train.steps * len(sources)
    return train.epochs * sum(math.ceil(len(source) / train.batch_size) for source in sources)


def fine_tune(
    task: Task,
    chain: Hooks,
    train: Training,
    cost: Cost,
    resume: Groups | None = None,
    save: Callable[[int, Groups], None] | None = None,
    log: Callable[[dict[str, Any]], object] | None = None,
    workers: Workers | None = None,
) -> None:
    """Train `task.model` on one stage, in place.

    Args:
        task: the stage; its model holds the weights to start from.
        chain: the mitigations; their state is carried on.
        train: epochs, batch size, optimiser.
        cost: added to, in place.
        resume: what `save` was last given in this stage, to go on from.
        save: called now and then with the number of steps done and everything needed to go on.
        log: called with a record per step; asks with a true answer for `save` at once.
        workers: the processes that train together; by default this one alone. Each calls this function.

    Raises:
        TrainingDiverged: a loss or gradient is NaN or infinite; names the step, the term and the cure.
    """
    FineTune(task, chain, train, cost, log or (lambda record: None), workers).run(resume, save)


class FineTune:
    """One call of `fine_tune` under way: `run` does it all; `set_up` and `step` serve who drives it by hand."""

    def __init__(
        self,
        task: Task,
        chain: Hooks,
        train: Training,
        cost: Cost,
        log: Callable[[dict[str, Any]], object],
        workers: Workers | None = None,
    ) -> None:
        self.task, self.chain, self.train, self.cost, self.log = task, chain, train, cost, log
        self.workers = workers or Workers()
        self.own_data = task.sources
        self.save_asked = False  # by `log`, of the step under way
        self.passes: list[dict[str, Tensor]] = []  # of the step under way: the terms of each pass's loss
        task.cost, task.workers = cost, self.workers

    def run(self, resume: Groups | None, save: Callable[[int, Groups], None] | None) -> None:
        """Train the stage to its end."""
        task, chain = self.task, self.chain
        done = int(resume["loop"]["steps"]) if resume else 0
        with self._timed():
            self.set_up(resume)
        own_loop = chain.using("train_task")
        if own_loop:
            own_loop[0].train_task(task, self.train, chain.live)
        elif self.parameters.tensors:
            self._steps(done, save)
        with self._timed():
            self._make_whole()
            task.sources = self.own_data
            chain.each("finish_training", task)
            chain.each("restore_parameters", task)
            task.model.requires_grad_(False).eval()
            if self.train.gradient_checkpointing:
                task.model.checkpoint_activations(False)
            if self.train.compile:
                interpret(task.model)
            chain.each("end_task", task)

    @contextmanager
    def _timed(self) -> Iterator[None]:
        """What a method does before and after its steps (heads, Fisher matrices, frozen outputs) is its cost, too."""
        started = time.perf_counter()
        yield
        self.cost.train_seconds += time.perf_counter() - started

    def set_up(self, resume: Groups | None = None) -> None:
        """Everything before the first step: heads, data, state, trainable parameters, optimiser, frozen outputs."""
        self.task.resumed = resume is not None
        if resume:
            resume_from_probe(self.task, resume.get("heads", {}), resume.get("probed", {}))
        elif starts_from_probe(self.train.head, self.task.model, self.task.stage):
            start_from_probe(self.task)
        self.task.sources = self.chain.training_data(self.task)
        self.chain.start(self.task)
        self.parameters, self.optimizer = self._prepare()
        if resume:
            self._restore(resume)
        self.depths = self.chain.feature_depths(self.task.model)
        if self.train.gradient_checkpointing:
            self.task.model.checkpoint_activations(True)
        if self.train.compile:
            compile_blocks(self.task.model, read=bool(self.depths))
        for source in self.task.sources:
            self.task.frozen.prefetch(source)

    def _prepare(self) -> tuple[Trainable, torch.optim.Optimizer]:
        task, chain, train = self.task, self.chain, self.train
        names = {name for experience in task.stage for name in task.model.tunable(experience)}
        for name, parameter in task.model.named_parameters():
            parameter.requires_grad_(name in names)
        chain.each("shape_parameters", task)
        self.whole_model = task.model
        task.model = self.workers.shard(task.model, train.batch_norm)
        named = [(n, p) for n, p in task.model.named_parameters() if p.requires_grad]
        self.cost.trainable_parameters = sum(p.numel() for _, p in named)
        groups: dict[float, list[Tensor]] = {}
        for name, parameter in named:
            groups.setdefault(chain.learning_rate_factor(task.model, name), []).append(parameter)
        optimizer = torch.optim.AdamW(
            [{"params": parameters, "factor": factor} for factor, parameters in groups.items()]
            or [{"params": [torch.zeros(1)], "factor": 1.0}],
            lr=train.lr,
            betas=train.betas,
            weight_decay=train.weight_decay,
            fused=True,
        )
        return Trainable([n for n, _ in named], [p for _, p in named]), optimizer

    # -- steps -----------------------------------------------------------------------------------------
    def _steps(self, done: int, save: Callable[[int, Groups], None] | None) -> None:
        task, last_save = self.task, time.monotonic()
        training_mode(task.model, self.train.batch_norm)
        with bar(f"training {' + '.join(e.name for e in task.stage)}", task.steps, "steps", done) as advance:
            for number, batch in batches(task, self.train, done):
                started = time.perf_counter()
                loss = self.step(number, batch)
                stop = self.chain.should_stop(Update(task, self.parameters, self.optimizer, number))
                self.cost.train_seconds += time.perf_counter() - started
                advance(1, f"loss {loss:.3f}", loss=loss)
                if stop:
                    break
                due = self.save_asked or time.monotonic() - last_save >= self.train.checkpoint_seconds
                if save and number + 1 < task.steps and self.workers.agree(due):
                    save(number + 1, self._snapshot(number + 1))
                    last_save = time.monotonic()

    def _make_whole(self) -> None:
        """What was sharded for the steps is whole again, on every worker."""
        self.workers.gather(self.task.model, self.whole_model)
        self.task.model = self.whole_model
        for state in self.chain.state.values():
            state.update(self.workers.whole({"": state})[""])

    def step(self, number: int, batch: tuple[Prepared, Tensor]) -> float:
        """One optimiser step on (source, indices); returns the loss."""
        task, train, started = self.task, self.train, time.perf_counter()
        update = Update(task, self.parameters, self.optimizer, number)
        self.passes = []
        rate = train.lr * learning_rate(number, task.steps, train)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]

        loss = self.chain.around("around_gradient", update, lambda: self._gradient(update, batch))
        norm = torch.nn.utils.get_total_norm(self.parameters.gradients)
        whole_norm = self.workers.full(norm)
        self.passes.append(update.terms)  # what methods add around the passes is checked, too
        self._check(number, loss, whole_norm)
        if train.clip is not None:
            torch.nn.utils.clip_grads_with_norm_(self.parameters.tensors, train.clip, norm)
        self.chain.around("around_update", update, self.optimizer.step)
        self.chain.each("after_step", update)

        self.cost.steps += 1
        self.cost.samples_seen += len(batch[1])
        # SAM takes more passes, elsewhere; the loss is that of the first one, at the weights of the step.
        terms = {
            name: float(self.workers.mean(term)) for name, term in {**self.passes[0], **update.terms}.items()
        }
        answer = self.log(
            {
                "step": number,
                "loss": float(loss),
                "terms": terms,
                "lr": rate,
                "norm": float(whole_norm),
                "samples": len(batch[1]),
                "seconds": round(time.perf_counter() - started, 6),
            }
        )
        self.save_asked = bool(answer)
        return float(loss)

    def _gradient(self, update: Update, batch: tuple[Prepared, Tensor]) -> Tensor:
        """Fill `.grad` with the gradient of the whole objective at the weights as they are."""
        task, number = self.task, update.number
        source, indices = batch
        # The same dropout masks at every call within a step: SAM's two passes must see one function.
        seed_dropout(task.generator("dropout", number).initial_seed(), task.model.device)
        augmentation = task.generator("augmentation", number)
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=task.model.device)
        terms: dict[str, Tensor] = {}
        self.passes.append(terms)
        if self.train.micro_batch_size:
            indices = source.grouped(indices)
        self._count_passes(len(indices))
        size, together = self.train.micro_batch_size, self.chain.compares
        for part, share in self.workers.parts(indices, size, together):
            with self._precision():
                parts = self._loss(source.batch(part, augmentation), number, idle=not share)
            loss = reduce(torch.add, parts.values()) * share
            loss.backward()
            total += loss.detach()
            _add(terms, parts, share)
        for extra in self.chain.extra_batches(task, number):
            self._count_passes(len(extra.batch) * self.workers.count)  # every worker runs all of it
            with self._precision():
                step = self._forward(extra.batch, number)
                term = extra.loss(step) if extra.loss else self._cross_entropy(step).mean()
            (extra.factor * term).backward()
            total += extra.factor * term.detach()
            _add(terms, {extra.method: term}, extra.factor)
        self.workers.settle(self.parameters.tensors)
        with torch.no_grad():
            self.chain.each("add_gradient", update)
        return self.workers.mean(total)

    def _count_passes(self, samples: int) -> None:
        self.cost.forward_samples += samples
        self.cost.backward_samples += samples

    def _precision(self) -> torch.autocast:
        bf16 = self.train.precision == "bf16"
        return torch.autocast(self.task.model.device.type, dtype=torch.bfloat16, enabled=bf16)

    def _forward(self, batch: Batch, number: int) -> Step:
        batch = self.workers.place(batch)
        return Step(self.task, batch, self.task.model(batch, self.depths), number)

    def _loss(self, batch: Batch, number: int, idle: bool) -> dict[str, Tensor]:
        """Mean task loss of a batch, weighted where a method asks for it, and every penalty by method."""
        step = replace(self._forward(batch, number), workers=self.workers, idle=idle)
        losses = self.chain.objective(step)
        if losses is None:
            losses = self._cross_entropy(step)
        weights = self.chain.factor("sample_weights", step)
        task_loss = (losses if weights is None else losses * weights).mean()
        return {"task": task_loss, **self.chain.penalties(step)}

    def _cross_entropy(self, step: Step) -> Tensor:
        units = step.forward.unit_losses(self.train.label_smoothing)
        weights = self.chain.factor("unit_weights", step)
        return step.forward.per_sample(units if weights is None else units * weights)

    def _check(self, number: int, loss: Tensor, norm: Tensor) -> None:
        if bool(torch.isfinite(loss) & torch.isfinite(norm)):
            return
        bad = [
            name for terms in self.passes for name, term in terms.items() if not bool(torch.isfinite(term))
        ]
        what = f"the {bad[0]} loss" if bad else "the gradient"
        methods = [m.name for m in self.chain.using("add_gradient") or self.chain.using("penalty")]
        cause = next((name for name in bad if name != "task"), None) or (methods[0] if methods else None)
        cure = f"lower {cause}'s strength or train.lr" if cause else "lower train.lr or set train.clip"
        raise TrainingDiverged(
            f"step {number + 1} of {self.task.steps} on '{self.task.stage[0].name}': {what} is not finite; "
            f"{cure} (lr {self.train.lr:g}), and begin anew with --overwrite. What was saved before is kept, but "
            "--resume would come to the same numbers again."
        )

    # -- checkpoints -----------------------------------------------------------------------------------
    def _snapshot(self, done: int) -> Groups:
        """Everything that changes inside a task."""
        moments: dict[str, Tensor] = {}
        for name, parameter in zip(self.parameters.names, self.parameters.tensors, strict=True):
            moments.update(
                {f"{name}\t{key}": value for key, value in self.optimizer.state[parameter].items()}
            )
        # A head is kept also where it is not trained: a probe may have set it when the task began.
        heads = {name for e in self.task.stage for name in self.task.model.head_parameters(e)}
        tuned: dict[str, Tensor] = {
            n: p for n, p in self.task.model.named_parameters() if p.requires_grad or n in heads
        }
        return self.workers.whole(
            {
                "loop": {"steps": torch.tensor(done)},
                "tuned": tuned,
                "buffers": dict(self.task.model.named_buffers()),
                "moments": moments,
                **self.task.probes(),
                **{f"state/{name}": state for name, state in self.chain.state.items()},
            }
        )

    def _restore(self, groups: Groups) -> None:
        model = self.task.model
        with torch.no_grad():
            for name, value in {**groups["tuned"], **groups.get("buffers", {})}.items():
                target = model.get_parameter(name) if name in groups["tuned"] else model.get_buffer(name)
                target.copy_(part_like(value, target))
        named = dict(zip(self.parameters.names, self.parameters.tensors, strict=True))
        for key, value in groups.get("moments", {}).items():
            name, _, moment = key.rpartition("\t")
            parameter = named[name]
            value = value.to(parameter.device).clone()
            # The count of steps is the same on all workers; the moments are split like their parameter.
            same_shape = value.shape == parameter.shape
            self.optimizer.state[parameter][moment] = part_like(value, parameter) if same_shape else value


def _add(terms: dict[str, Tensor], parts: dict[str, Tensor], factor: float) -> None:
    """Add a part of the batch to the terms of a pass."""
    for name, part in parts.items():
        share = factor * part.detach()
        terms[name] = terms[name] + share if name in terms else share


def training_mode(model: torch.nn.Module, batch_norm: str = "frozen") -> None:
    """Training mode, except for BatchNorm that keeps its statistics.

    Running statistics are part of what the model knows, and one task's batches overwrite them.

    Args:
        model: what is trained.
        batch_norm: `train.batch_norm`; with "update" the layers whose own parameters are trained normalise by
            each batch and update their statistics, the others still keep them.
    """
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            parameters = list(module.parameters())
            fixed = bool(parameters) and not any(parameter.requires_grad for parameter in parameters)
            if batch_norm == "frozen" or fixed:
                module.eval()


def restore_state(chain: Hooks, groups: Groups) -> None:
    """Put the mitigations' tensors of a checkpoint back into the chain."""
    chain.restore(groups)


def learning_rate(number: int, steps: int, train: Training) -> float:
    """The factor on the peak learning rate at step `number` (0-based): linear warm-up, then the schedule."""
    warmup = round(train.warmup * steps)
    if number < warmup:
        return (number + 1) / warmup
    if train.schedule == "constant":
        return 1.0
    progress = (number - warmup) / max(1, steps - warmup)
    return 1.0 - progress if train.schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * progress))


def batches(task: Task, train: Training, done: int) -> Iterator[tuple[int, tuple[Prepared, Tensor]]]:
    """(step number, (source, indices)) from step `done` on; a batch never mixes experiences."""
    number = 0
    for epoch in itertools.count() if train.steps is not None else range(train.epochs):
        generator = task.generator("order", epoch)
        batches = [
            (source, part)
            for source in task.sources
            for part in torch.randperm(len(source), generator=generator).split(train.batch_size)
        ]
        if len(task.sources) > 1:
            order = torch.randperm(len(batches), generator=generator)
            batches = [batches[i] for i in order.tolist()]
        for batch in batches:
            if number == task.steps:  # which may be fewer than the epochs hold
                return
            if number >= done:
                yield number, batch
            number += 1
