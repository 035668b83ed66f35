"""ZSCL: distil the pre-trained model on reference data, and hold the weights together."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from cl_forget.ground.lazy import torch
from cl_forget.mitigations.protocol import Mitigation
from cl_forget.training.state import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from cl_forget.training.context import Extra, Step, Task, Update
    from cl_forget.training.state import Tensors


class Averaging(State):
    """What ZSCL keeps of a task.

    Attributes:
        head: (texts, width) the pre-trained classifier of the reference classes.
        average: the mean of the weights so far, by parameter.
        count: how many weights are in it.
        steps: steps taken.
    """

    head: Tensor
    average: Tensors
    count: Tensor
    steps: Tensor


class ZSCL(Mitigation):
    """Adds, on a reference batch, `λ·T²·[CE(p_img*, p_img) + CE(p_txt*, p_txt)]`, p = softmax(s·I·T*ᵀ/T).

    T* are the pre-trained text tower's embeddings of the reference class names, I the image embeddings (of
    the pre-trained model where starred); p_img runs over texts, p_txt over the images of the batch. The
    labels of the reference data are not read. To this come `Σ(θ-θ_previous)²` in closed form, and the
    average of the weights at the task's start, after every k steps and after the last one, which is the
    task's result. The authors train both towers with the live zero-shot head and label smoothing .2: list
    `{flyp_ce: {train_scale: false}}` beside it and set `train.label_smoothing`. Their average has the weights after
    steps 1, k+1, 2k+1, ... and not the last ones (`average_points: authors`). Strength 0 leaves out the weight terms,
    too.

    Attributes:
        reference: suite or stream of one task with the reference data: its training data, or its validation
            data where it has none. It should not be a suite that the run is measured on.
        strength: λ.
        temperature: T of the distillation.
        l2: factor of the distance to the weights at the start of the task, a sum over parameters.
        average_every: k, steps between the weights averaged; null for no averaging.
        average_points: which weights are averaged with those at the start: "multiples" of k and the last ones, or
            those of the "authors".
        batch_size: reference samples in a step, all in one pass; null for as many as the task's.
    """

    name = "zscl"
    place = "loss"
    knob = "strength"
    grid = (0.1, 0.3, 1.0, 3.0, 10.0)
    absent = 0.0
    needs_full_weights = True
    keeps = Averaging
    needs_text = True
    later = frozenset({"average_points"})
    title = "ZSCL"
    formula = "loss + λ·T²·[CE(p_img*,p_img)+CE(p_txt*,p_txt)] + l2·Σ(θ-θ_prev)², weights averaged"
    cost = "a reference batch through model and teacher per step"
    advice = "For CLIP with unlabelled reference images at hand."
    source = "Zheng et al. 2023, arXiv:2303.06628, eq. 3-8"

    reference: str | dict[str, Any] = Field(description="suite or stream of the reference data")
    strength: float = Field(default=1.0, ge=0, allow_inf_nan=False, description="λ")
    temperature: float = Field(default=2.0, gt=0, allow_inf_nan=False, description="T")
    l2: float = Field(default=1.0, ge=0, allow_inf_nan=False, description="factor of Σ(θ-θ_prev)²")
    average_every: int | None = Field(default=100, ge=1, description="k, steps")
    average_points: Literal["multiples", "authors"] = Field(
        default="multiples", description="after which steps"
    )
    batch_size: int | None = Field(default=None, ge=2, description="reference samples in a step")

    @property
    def averages(self) -> bool:
        """Where weights are averaged at all."""
        return self.average_every is not None

    def references(self) -> Sequence[str | dict[str, Any]]:
        """The reference data."""
        return [self.reference]

    def start_task(self, task: Task, state: Averaging) -> None:
        """The pre-trained classifier of the reference classes, and a fresh average."""
        samples = task.reference(self.reference)
        base = task.frozen.models["pretrained"].model
        state.clear()
        with torch.no_grad():
            state.head = base.class_weights(samples.experience)
        state.count, state.steps = torch.tensor(1), torch.tensor(0)

    def request_outputs(self, task: Task, state: Averaging) -> None:
        """Ask for the pre-trained embeddings."""
        task.frozen.request("pretrained", ["embedding"])

    def extra_samples(self, batch_size: int) -> float:
        """A batch of reference data."""
        return float(self.batch_size or batch_size)

    def extra_batches(self, task: Task, number: int, state: Averaging) -> list[Extra]:
        """A random reference batch with its distillation term."""
        from cl_forget.training.context import Extra

        samples = task.reference(self.reference)
        size = min(len(samples), self.batch_size or task.batch_size)
        chosen = torch.randperm(len(samples), generator=task.generator("zscl", number))[:size]
        batch = replace(samples.batch(chosen), headless=True)
        return [Extra(batch, self.strength, partial(self._distil, head=state.head))]

    def _distil(self, step: Step, head: Tensor) -> Tensor:
        from cl_forget.models.base import full_precision

        teacher = step.task.frozen.read(step.batch, "pretrained", ["embedding"])["embedding"]
        normalize = torch.nn.functional.normalize
        head = head.to(step.forward.embedding.device)
        now = normalize(step.forward.embedding, dim=-1) @ head.T  # (images, texts)
        now = full_precision(now) / self.temperature
        with torch.autocast(teacher.device.type, enabled=False):  # frozen, so never in half precision
            base = normalize(teacher, dim=-1) @ head.T / self.temperature
        to_text = -(base.softmax(1) * now.log_softmax(1)).sum(1).mean()
        to_image = -(base.softmax(0) * now.log_softmax(0)).sum(0).mean()
        return self.temperature**2 * (to_text + to_image)

    def add_gradient(self, update: Update, state: Averaging) -> None:
        """`grad += 2·l2·(θ-θ_prev)`."""
        parameters = update.parameters
        difference = torch._foreach_sub(parameters.values, parameters.align(update.task.anchor("previous")))
        torch._foreach_add_(parameters.gradients, difference, alpha=2 * self.l2)

    def shape_parameters(self, task: Task, state: Averaging) -> None:
        """The average starts from the weights that training starts from."""
        if self.average_every is not None and not task.resumed:
            trained = {name: p for name, p in task.model.named_parameters() if p.requires_grad}
            state.average.update({name: parameter.detach().clone() for name, parameter in trained.items()})

    def after_step(self, update: Update, state: Averaging) -> None:
        """Every k steps the weights enter the average."""
        state.steps = torch.tensor(update.number + 1)
        if self._enters(update.number + 1):
            self._average(update.parameters.own(state.average), update.parameters.values, state)

    def _enters(self, steps: int) -> bool:
        """Whether the weights after so many steps enter the average."""
        if self.average_every is None:
            return False
        return (steps - (self.average_points == "authors")) % self.average_every == 0

    def _average(self, average: list[Tensor], weights: list[Tensor], state: Averaging) -> None:
        state.count = state.count + 1
        torch._foreach_lerp_(average, weights, 1 / int(state.count))

    def finish_training(self, task: Task, state: Averaging) -> None:
        """The average is the task's result."""
        names = list(state.average)
        weights = [task.model.get_parameter(name).detach() for name in names]
        steps = int(state.steps)
        # However short the task, the last weights are in it.
        if self.average_every is not None and self.average_points == "multiples" and not self._enters(steps):
            self._average([state.average[name] for name in names], weights, state)
        for name, weight in zip(names, weights, strict=True):
            weight.copy_(state.average.pop(name))
