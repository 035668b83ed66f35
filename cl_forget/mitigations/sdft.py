"""SDFT: learn on one's own answers from oneself, with the right answer in sight."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from cl_forget.ground.lazy import torch
from cl_forget.mitigations.claim import Claim
from cl_forget.mitigations.protocol import Mitigation
from cl_forget.mitigations.shared import average as _average

if TYPE_CHECKING:
    from torch import Tensor

    from cl_forget.models.base import Batch, FoundationModel, Prepared
    from cl_forget.streams.base import Experience
    from cl_forget.training.context import Step, Task, Update
    from cl_forget.training.frozen import Teacher

SHOWN = (
    "{prompt}\n\nThis is one good answer:\n{response}\n\nGive an answer of your own to the question above."
)


class SDFT(Mitigation):
    """The student answers each prompt itself; at every token it is drawn to the teacher, who is the same model with
    the data's answer in its prompt.

    A step samples one answer to each prompt of its batch (in batches, with a cache of keys and values) and takes
    `mean over the answer's tokens of KL(p_teacher‖p_θ)` in the place of the cross-entropy; no gradient flows through
    the sampling or the teacher. Of the teacher's vocabulary the largest logits count and the rest is one outcome.
    The data's answers are seen by the teacher alone. So it teaches what the model can make of an example that it is
    shown: a model that takes no notice of one learns nothing, which `template` can mend.

    The teacher is an average of the student that follows it, `θ̄ ← θ̄ + rate·(θ-θ̄)` after each step from the start of
    the task; at rate 1 it is the student, at rate 0 a frozen model. A sampled answer counts as one forward pass,
    since with a cache each of its tokens passes the model once; the time it takes is longer than that of a pass.

    Attributes:
        rate: how fast the teacher follows the student.
        anchor: the frozen teacher at rate 0: the pre-trained model, or the model at the start of the current task.
        direction: "forward" is KL(p_teacher‖p_θ), "reverse" KL(p_θ‖p_teacher).
        top: how many of the teacher's logits count by themselves.
        temperature: of the sampling.
        length: tokens of an answer at most; null for as many as the scoring allows.
        template: what the teacher is asked: a text with {prompt} and {response}, for the last turn of a conversation.
    """

    name = "sdft"
    place = "loss"
    knob = "rate"
    grid = (0.0, 0.001, 0.01, 0.1, 1.0)
    claims = frozenset({Claim.TASK_LOSS, Claim.TRAINING_DATA})
    keeps = _average.Average
    conflicts = dict.fromkeys(
        ("eaft", "stm", "talr", "dft", "asft"),
        "sdft has a loss of its own, without the cross-entropy it weights",
    )
    whole_only = (
        "workers would decode answers of different lengths, and a pass needs the weights of all of them"
    )
    title = "SDFT"
    formula = "mean over tokens of an own answer y ~ p_θ(·|x) of KL(p_θ̄(·|x, gold)‖p_θ(·|x))"
    cost = "2.0 of a plain step in passes (one to sample, one of the teacher); more in time, for sampling"
    advice = "For language models that follow an example, when what they say elsewhere should stay."
    source = "Shenfeld et al. 2026, arXiv:2601.19897"

    rate: float = Field(default=0.01, ge=0, le=1, description="how fast the teacher follows the student")
    anchor: Literal["pretrained", "previous"] = Field(
        default="pretrained", description="the frozen teacher at rate 0"
    )
    direction: Literal["forward", "reverse"] = Field(
        default="forward", description="forward = KL(p_teacher‖p_θ)"
    )
    top: int = Field(default=20, ge=1, description="logits of the teacher that count by themselves")
    temperature: float = Field(default=1.0, gt=0, le=100, description="of the sampling")
    length: int | None = Field(default=None, ge=1, description="tokens of an answer; null: the scoring's")
    template: str = Field(default=SHOWN, description="what the teacher is asked")

    @field_validator("template")
    @classmethod
    def _shows_the_answer(cls, template: str) -> str:
        if "{response}" not in template:
            raise ValueError("the template needs {response}, where the teacher is shown the answer")
        return template

    def check(self, model: FoundationModel, tasks: Sequence[Experience]) -> None:
        """Refuse a model that gives no answers, and tasks without prompts."""
        for task in tasks:
            model.check_prompts(task)

    def further_passes(self, times: float) -> float:
        """An answer and what the teacher says of it, each time."""
        return 2.0 * times

    def training_data(self, task: Task, samples: Prepared, state: _average.Average) -> Prepared:
        """The same prompts, answered by the student."""
        asked = task.model.prompts(samples, length=self.length)
        shown = task.model.prompts(samples, shown=self.template, length=self.length)
        from cl_forget.mitigations.shared.on_policy import OnPolicy

        return OnPolicy(task, samples, asked, shown, self.temperature)

    def start_task(self, task: Task, state: _average.Average) -> None:
        """The teacher starts where the student does."""
        state.clear()

    def objective(self, step: Step, state: _average.Average) -> Tensor:
        """(batch,) mean divergence over the tokens of the student's answer."""
        from cl_forget.mitigations.shared.on_policy import OnPolicy

        samples = step.batch.samples
        assert isinstance(samples, OnPolicy)
        teacher = samples.teacher(step.batch, partial(self._teacher, step.task, state))
        divergence = teacher.kl(step.forward.logits, reverse=self.direction == "reverse")  # (units,)
        return step.forward.per_sample(divergence)

    def _teacher(self, task: Task, state: _average.Average, batch: Batch) -> Teacher:
        from cl_forget.models.base import evaluating
        from cl_forget.training.frozen import Teacher, cut, teacher

        if self.rate == 0:
            task.frozen.passed(len(batch))
            logits = task.frozen.models[self.anchor].run(batch, ["logits"])["logits"]
        else:
            task.cost.forward_samples += len(batch)
            model, weights = task.model, dict(state.average)  # none before the first step: the student itself
            with torch.no_grad(), torch.autocast(model.device.type, enabled=False), evaluating(model):
                logits = torch.func.functional_call(model, weights, (batch,)).logits
        return Teacher(logits) if self.top >= logits.shape[1] else teacher(cut(logits, self.top))

    def around_update(self, update: Update, apply: Callable[[], None], state: _average.Average) -> None:
        """Before the first step: the weights that the teacher starts from."""
        if 0 < self.rate < 1:
            _average.begin(update, state)
        apply()

    def after_step(self, update: Update, state: _average.Average) -> None:
        """The teacher follows."""
        if 0 < self.rate < 1:
            _average.follow(update, state, self.rate)

    def end_task(self, task: Task, state: _average.Average) -> None:
        """The teacher has done its work."""
        state.clear()
