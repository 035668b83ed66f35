"""Self-SFT: fine-tune on answers that the model gave before fine-tuning, where they were right."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from cl_forget.ground.errors import UserError
from cl_forget.ground.lazy import torch
from cl_forget.ground.progress import bar
from cl_forget.mitigations.claim import Claim
from cl_forget.mitigations.protocol import Mitigation
from cl_forget.training.state import State

if TYPE_CHECKING:
    from torch import Tensor

    from cl_forget.models.base import FoundationModel, Prepared, Prompts
    from cl_forget.streams.base import Experience
    from cl_forget.training.context import Task
    from cl_forget.training.state import Tensors

AT_ONCE = 256
"""Answers between two steps of the progress bar; they do not depend on it."""

logger = logging.getLogger("cl_forget")


class Kept(State):
    """What was drawn, by experience; of earlier tasks the counts alone.

    Attributes:
        answers: (tokens of all answers,) ids end to end.
        lengths: (samples,) tokens of each answer; 0 where the data's own stays.
        places: (samples,) the item whose prompt stands in each place.
        counts: (3,) items, items with an accepted answer, answers drawn.
    """

    answers: Tensors
    lengths: Tensors
    places: Tensors
    counts: Tensors


class SelfSFT(Mitigation):
    """Before a task, each of its prompts is answered by θ* up to `tries` times; the first answer that the task's own
    judge accepts takes the place of the data's, and fine-tuning goes on as ever.

    The steps are as many as without it, whatever was kept, and the run says how much that was. Answers keep their
    tokens as they were drawn. Where no answer is accepted, the data's own stays, or the item is left out and another
    one's accepted answer takes its place. A judge that asks for the response to the letter can only accept what the
    data say already; answers in words of one's own need a judge that reads them (`judge: last number` of a file, or
    `Scoring(judge=...)`). What later tasks replay is the data's own.

    A sampled answer counts as one pass of the frozen model, since with a cache each of its tokens passes it once.

    Attributes:
        tries: answers drawn for an item at most.
        anchor: θ*: the pre-trained model, or the model at the start of the current task.
        temperature: of the sampling.
        length: tokens of an answer at most; null for as many as the scoring allows.
        otherwise: what becomes of an item without an accepted answer.
    """

    name = "self_sft"
    place = "data"
    knob = "tries"
    grid = (1, 4, 16)
    absent = 0.0
    claims = frozenset({Claim.TRAINING_DATA})
    keeps = Kept
    title = "Self-SFT"
    formula = "loss on y' ~ p_θ*(·|x) that the judge accepts, the first of `tries`, in the place of y"
    cost = "up to `tries` answers sampled from the frozen model for each item, then plain steps"
    advice = (
        "For language models whose own wording should stay, when a judge can tell right answers in any words."
    )
    source = "Chen et al. 2025, arXiv:2510.18874"

    tries: int = Field(default=4, ge=0, le=10_000, description="answers drawn for an item at most")
    anchor: Literal["pretrained", "previous"] = Field(default="pretrained", description="θ*")
    temperature: float = Field(default=1.0, gt=0, le=100, description="of the sampling")
    length: int | None = Field(default=None, ge=1, description="tokens of an answer; null: the scoring's")
    otherwise: Literal["gold", "left out"] = Field(
        default="gold", description="what becomes of items without an accepted answer"
    )

    def check(self, model: FoundationModel, tasks: Sequence[Experience]) -> None:
        """Refuse a model that gives no answers, and tasks without prompts or a judge."""
        for task in tasks:
            model.check_prompts(task, judged=True)

    def further_passes(self, times: float) -> float:
        """The tries, if none before the last is accepted."""
        return float(self.tries)

    def training_data(self, task: Task, samples: Prepared, state: Kept) -> Prepared:
        """The prompts with θ*'s answers where they were accepted."""
        task.model.check_prompts(samples.experience, judged=True)
        prompts, name = task.model.prompts(samples, length=self.length), samples.experience.name
        if name not in state.counts:  # a resumed task has them from its checkpoint
            self._draw(task, samples, prompts, state)
            logger.info(self._said(name, state.counts[name]))
        parts = state.answers[name].cpu().split(state.lengths[name].tolist())
        return prompts.answered(state.places[name].tolist(), [own.tolist() or None for own in parts])

    def _draw(self, task: Task, samples: Prepared, prompts: Prompts, state: Kept) -> None:
        """Ask each item until it has an accepted answer or had its tries."""
        name, frozen = samples.experience.name, task.frozen.models[self.anchor].model
        found: list[list[int]] = [[] for _ in range(len(samples))]
        drawn = 0
        for attempt in range(self.tries):
            missing = [i for i, own in enumerate(found) if not own]
            if not missing:
                break
            seed = task.generator(f"self_sft {name}", attempt).initial_seed()
            with bar(f"answers to {name}, try {attempt + 1}", len(missing), "answers") as advance:
                for part in torch.tensor(missing).split(AT_ONCE):
                    said = prompts.answer(frozen, part, seed, self.temperature)
                    for i, answer in zip(part.tolist(), said, strict=True):
                        if prompts.accepts(i, answer):
                            found[i] = answer
                    advance(len(part), "")
            drawn += len(missing)
        task.frozen.passed(drawn)
        kept = torch.tensor([i for i, own in enumerate(found) if own], dtype=torch.int64)
        items = torch.arange(len(found))
        if self.otherwise == "left out":
            if not len(kept):
                raise UserError(
                    f"self_sft: none of {drawn:,} answers to '{name}' was accepted, so nothing is left to train on; "
                    "give it more tries, or `otherwise: gold`."
                )
            items = self._filled(task, name, items, kept)
        answers = [found[i] for i in items.tolist()]
        state.places[name] = items
        state.lengths[name] = torch.tensor([len(own) for own in answers])
        state.answers[name] = torch.tensor([token for own in answers for token in own], dtype=torch.int64)
        state.counts[name] = torch.tensor([len(found), len(kept), drawn])

    def _filled(self, task: Task, name: str, items: Tensor, kept: Tensor) -> Tensor:
        """The places of items left out go to the others in random turns."""
        order = kept[torch.randperm(len(kept), generator=task.generator(f"self_sft places {name}"))]
        free = ~torch.isin(items, kept)
        turns = torch.arange(int(free.sum())) % len(kept)
        return items.masked_scatter(free, order[turns])

    def end_task(self, task: Task, state: Kept) -> None:
        """The answers have served; what share they were is kept."""
        for source in task.sources:
            for kind in (state.answers, state.lengths, state.places):
                kind.pop(source.experience.name)

    def findings(self, state: Kept) -> list[str]:
        """What share of each task's items has an answer of its own."""
        return [self._said(name, counts) for name, counts in state.counts.items()]

    def _said(self, name: str, counts: Tensor) -> str:
        items, kept, drawn = counts.tolist()
        model = "pre-trained model" if self.anchor == "pretrained" else "model before the task"
        rest = "keep the data's" if self.otherwise == "gold" else "are left out"
        return (
            f"On {name} {kept / items:.0%} of {items:,} items have an accepted answer of the {model} ({drawn:,} "
            f"drawn); the others {rest}."
        )
