"""What the log says of a step: every term of its loss, for the whole batch, at the weights of the step."""

from __future__ import annotations

import math

import pytest
import torch
from drive import TASKS, TRAIN, clip, moved, task_of

from cl_forget.ground.errors import TrainingDiverged
from cl_forget.ground.records import Cost
from cl_forget.mitigations import Chain
from cl_forget.mitigations.derpp import DarkExperienceReplayPlus
from cl_forget.mitigations.er import ExperienceReplay
from cl_forget.mitigations.kd import KnowledgeDistillation
from cl_forget.mitigations.sam import SAM
from cl_forget.training.frozen import FrozenModel
from cl_forget.training.loop import fine_tune

REPLAY = [ExperienceReplay(share=0.5, memory=6), DarkExperienceReplayPlus(memory=6)]


def logged(*mitigations, micro: int | None = None) -> list[dict]:
    """The records of a second task that starts away from the pre-trained model."""
    train = TRAIN.model_copy(update={"micro_batch_size": micro})
    model = clip()
    base = FrozenModel(model)
    moved(model)
    chain, records = Chain(mitigations), []
    chain.each("end_task", task_of(model, TASKS[:1], base=base))
    task = task_of(model, TASKS[1:2], past=TASKS[:1], train=train, base=base)
    fine_tune(task, chain, train, Cost(), log=records.append)
    return records


@pytest.mark.parametrize("micro", [None, 5, 2])
@pytest.mark.parametrize("step", [[], [SAM(rho=0.5)]], ids=["plain", "sam"])
def test_the_terms_of_a_step_add_up_to_its_loss(micro: int | None, step: list) -> None:
    for record in logged(KnowledgeDistillation(strength=0.1), *REPLAY, *step, micro=micro):
        assert set(record["terms"]) == {"task", "kd", "er", "derpp"}
        assert all(value > 0 for value in record["terms"].values())
        assert math.isclose(sum(record["terms"].values()), record["loss"], rel_tol=1e-6)


def test_micro_batches_do_not_change_them() -> None:
    whole, parts = (logged(KnowledgeDistillation(), micro=micro)[0]["terms"] for micro in (None, 3))
    assert whole == pytest.approx(parts, rel=1e-9)


class Broken(ExperienceReplay):
    """Replay whose term is not a number."""

    def extra_batches(self, task, number, state):
        extras = super().extra_batches(task, number, state)
        for extra in extras:
            extra.loss = lambda step: step.forward.logits.sum() * torch.nan
        return extras


def test_a_replayed_loss_that_is_not_finite_is_named() -> None:
    with pytest.raises(TrainingDiverged, match="the er loss is not finite; lower er"):
        logged(Broken(memory=6))


class NotAlways(KnowledgeDistillation):
    """A penalty that is infinite where sample 0 is in the batch."""

    def penalty(self, step, state):
        worst = torch.inf if 0 in step.batch.indices else 1.0
        return super().penalty(step, state) * worst


def test_a_loss_that_is_not_finite_in_the_first_micro_batch_only_is_named(monkeypatch) -> None:
    order = torch.randperm
    monkeypatch.setattr(
        torch, "randperm", lambda n, **options: torch.arange(n) if n == 24 else order(n, **options)
    )
    with pytest.raises(TrainingDiverged, match="the kd loss is not finite"):
        logged(NotAlways(), micro=5)
