"""STAR: ask what later moves of the weights would make of old answers, and step against it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pydantic import Field

from cl_forget.ground.lazy import torch
from cl_forget.ground.seeds import seed_dropout
from cl_forget.mitigations.flyp import HEAD_MADE_ANEW
from cl_forget.mitigations.protocol import Mitigation
from cl_forget.mitigations.shared import memory as _memory
from cl_forget.mitigations.shared.sharpness import TINY, displaced

if TYPE_CHECKING:
    from torch import Tensor

    from cl_forget.models.base import Batch
    from cl_forget.training.context import Task, Update

NOISE = 0.01
"""How far the search for the worst move starts from θ, as a share of γ: at θ itself the divergence is least."""


class STAR(Mitigation):
    """Adds `λ·mean KL(p_θ(x)‖p_{θ+δ}(x))` over old samples x that θ answers rightly, δ = the worst move nearby.

    δ is one step of ascent on the divergence, `δ_l = γ·‖θ_l‖·g_l/‖g_l‖` in each tensor l with two dimensions or
    more, taken from a random point close to θ; p_θ gets no gradient. So the answers that are still right become
    those that later tasks disturb least. It is a term beside any rehearsal: list `er` or `derpp` with it, which keep
    the same samples. The memory has a fixed size, split evenly among the experiences so far.

    The authors start the ascent at θ plus 1e-20 of its norm, which single precision rounds to θ, where the gradient
    is rounding alone; here it starts at a hundredth of γ. Its passes are taken in full precision.

    Attributes:
        strength: λ.
        gamma: γ, the length of the move relative to the norm of each tensor.
        share: old samples per new one.
        memory: samples kept in all.
    """

    name = "star"
    place = "step"
    order = 1
    knob = "strength"
    grid = (0.01, 0.03, 0.1, 0.3, 1.0)
    absent = 0.0
    keeps = _memory.Memory
    conflicts = {"joint": "joint training already sees every task's data", **HEAD_MADE_ANEW}  # noqa: RUF012
    title = "STAR"
    formula = "loss + λ·mean KL(p_θ(x')‖p_{θ+δ}(x')), δ = argmax over ‖δ_l‖ ≤ γ‖θ_l‖"
    cost = "three passes over old samples per step"
    advice = "Beside rehearsal, when few old samples may be kept."
    source = "Eskandar et al. 2025, arXiv:2503.01595, eq. 5, algorithm 1"

    strength: float = Field(default=0.1, ge=0, allow_inf_nan=False, description="λ")
    gamma: float = Field(default=0.05, gt=0, le=10, description="γ, the move relative to each tensor's norm")
    share: float = Field(default=1.0, gt=0, le=100, description="old samples per new one")
    memory: int = Field(default=500, ge=1, description="samples kept in all")

    @property
    def needs_past(self) -> bool:
        """The memory is empty."""
        return True

    def further_passes(self, times: float) -> float:
        """Over old samples: one forward, and two forward and backward."""
        return 5.0 * self.share * times

    def shape_parameters(self, task: Task, state: _memory.Memory) -> None:
        """Old heads are trained with the trunk."""
        _memory.train_past_heads(task)

    def around_gradient(
        self, update: Update, gradient: Callable[[], Tensor], state: _memory.Memory
    ) -> Tensor:
        """The step's gradient, and that of the divergence at the worst move; returns the loss with its term."""
        from cl_forget.training.context import part_like

        loss = gradient()
        task, values = update.task, update.parameters.values
        old = self._recall(task, update.number, state)
        answers = [_answers(task, batch, update.number) for batch in old]
        right = sum(int(mask.sum()) for _, mask in answers)
        if not right:
            return loss

        def divergence(at: list[Tensor]) -> tuple[float, list[Tensor]]:
            """Its mean over the right answers and its gradient, at θ moved by `at`."""
            with displaced(update, at):
                return _divergence(update, old, answers, right)

        draw = task.generator("star", update.number)
        drawn = [torch.randn(value.shape, generator=draw, dtype=torch.float64) for value in values]
        noise = [
            part_like(t.to(value.device, value.dtype), value) for t, value in zip(drawn, values, strict=True)
        ]
        start = _scaled(noise, values, NOISE * self.gamma)
        _, ascent = divergence(start)
        move = torch._foreach_add(start, _scaled(ascent, values, self.gamma))
        worst, against = divergence(list(move))
        torch._foreach_add_(update.parameters.gradients, against, alpha=self.strength)
        term = torch.as_tensor(self.strength * worst).to(loss)
        update.terms[self.name] = term
        return loss + term

    def _recall(self, task: Task, number: int, state: _memory.Memory) -> list[Batch]:
        """Old samples of one experience each."""
        count = max(1, round(self.share * task.batch_size))
        augmentation = task.generator("star augmentation", number)
        draws = _memory.recall(task, count, "star samples", number, state)
        return [draw.source.batch(draw.indices, augmentation) for draw in draws]

    def end_task(self, task: Task, state: _memory.Memory) -> None:
        """Make room for this task's samples."""
        _memory.remember(task, self.memory, state)


def _scaled(tensors: list[Tensor], values: list[Tensor], length: float) -> list[Tensor]:
    """`length·‖θ_l‖·t_l/‖t_l‖`; nothing in biases, norms and other vectors."""
    scales = [
        length * value.norm() / (tensor.norm() + TINY) if value.ndim > 1 else torch.zeros(()).to(value)
        for tensor, value in zip(tensors, values, strict=True)
    ]
    return [tensor * scale for tensor, scale in zip(tensors, scales, strict=True)]


def _run(task: Task, batch: Batch, number: int) -> Tensor:
    """(units, classes) logits, with the same dropout masks in every pass of a step."""
    seed_dropout(task.generator("star dropout", number).initial_seed(), task.model.device)
    task.cost.forward_samples += len(batch) * task.workers.count  # every worker runs all of it
    return task.model(task.workers.place(batch)).logits


def _answers(task: Task, batch: Batch, number: int) -> tuple[Tensor, Tensor]:
    """(units, classes) what the model says now, and (units,) whether it is right."""
    with torch.no_grad():
        logits = _run(task, batch, number)
    return logits.softmax(-1), logits.argmax(-1) == batch.targets.to(logits.device)


def _divergence(
    update: Update, old: list[Batch], answers: list[tuple[Tensor, Tensor]], right: int
) -> tuple[float, list[Tensor]]:
    """Mean KL from the answers at θ over the right ones, at the weights as they are, and its gradient."""
    task, tensors = update.task, update.parameters.tensors
    total, kept = 0.0, [tensor.grad for tensor in tensors]
    for tensor in tensors:
        tensor.grad = None
    for batch, (before, mask) in zip(old, answers, strict=True):
        with torch.enable_grad():
            log_now = _run(task, batch, update.number).log_softmax(-1)
            divergence = torch.nn.functional.kl_div(log_now, before, reduction="none").sum(-1)  # (units,)
            part = (divergence * mask).sum() / right
            part.backward()  # into `.grad`, which is where sharded weights get theirs
        task.cost.backward_samples += len(batch) * task.workers.count
        total += float(part.detach())
    gradients = [torch.zeros_like(tensor) if tensor.grad is None else tensor.grad for tensor in tensors]
    for tensor, gradient in zip(tensors, kept, strict=True):
        tensor.grad = gradient
    return total, gradients
