"""FLYP and FLYP-CE against CLIP's loss written out."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from drive import (
    TASKS,
    TRAIN,
    Bigrams,
    assert_close,
    clip,
    distance,
    naive,
    resumed,
    sentences,
    step_of,
    task_of,
    tuned,
)
from torch.nn import functional as F

from cl_forget.ground.errors import UserError
from cl_forget.mitigations import Chain
from cl_forget.mitigations.flyp import FLYP
from cl_forget.mitigations.flyp_ce import FLYPCrossEntropy
from cl_forget.mitigations.lp_ft import LinearProbeThenFineTune

TEMPLATES = ("a {} square.", "something {}", "the {} one")
TASK = dataclasses.replace(TASKS[0], labels=dataclasses.replace(TASKS[0].labels, templates=TEMPLATES))
HEADS = ("heads.squares-1.weight", "heads.squares-1.bias")


def world():
    model = clip([TASK, *TASKS[1:]])
    return task_of(model, [TASK])


def contrastive(task, one_sided=False):
    model = task.model

    def loss(images, targets, indices, number):
        drawn = torch.randint(3, (len(targets),), generator=task.generator("flyp templates", number))
        captions = [TEMPLATES[t].format(TASK.labels.classes[c]) for t, c in zip(drawn, targets, strict=True)]
        image = model.clip.encode_image(images, normalize=True)
        text = model.clip.encode_text(model._tokenizer(captions), normalize=True)
        logits = model.clip.logit_scale.exp() * image @ text.T
        rows = F.cross_entropy(logits, torch.arange(len(targets)))
        return rows if one_sided else (rows + F.cross_entropy(logits.T, torch.arange(len(targets)))) / 2

    return loss


def live_head(task):
    model = task.model

    def loss(images, targets, indices, number):
        prompts = [t.format(c) for c in TASK.labels.classes for t in TEMPLATES]
        text = model.clip.encode_text(model._tokenizer(prompts), normalize=True)
        head = F.normalize(torch.stack([part.mean(0) for part in text.split(3)]), dim=-1)
        image = model.clip.encode_image(images, normalize=True)
        return F.cross_entropy(model.clip.logit_scale.exp() * image @ head.T, targets)

    return loss


@pytest.mark.parametrize(("method", "reference"), [(FLYP, contrastive), (FLYPCrossEntropy, live_head)])
def test_agrees_with_the_loss_written_out_and_rebuilds_every_head(method, reference) -> None:
    ours = tuned(world(), method())
    task = world()
    text = task.model.text_parameters()
    assert "clip.logit_scale" in text and "clip.token_embedding.weight" in text
    naive(task, reference(task), extra=text, frozen=HEADS)
    task.model._zero_shot.clear()
    for experience in (TASK, *TASKS[1:]):
        head = task.model.heads[experience.labels.head]
        head.weight.data.copy_(task.model.zero_shot_head(experience.labels).weight)
    assert_close(ours, task.model.state_dict())
    stale = {**ours, **{name: task.start[name] for name in task.start if name.startswith("heads.")}}
    assert distance(ours, stale) > 1e-4


@pytest.mark.parametrize(("method", "reference"), [(FLYP, contrastive), (FLYPCrossEntropy, live_head)])
def test_the_logit_scale_may_stay(method, reference) -> None:
    ours = tuned(world(), method(train_scale=False))
    task = world()
    text = [name for name in task.model.text_parameters() if name != "clip.logit_scale"]
    naive(task, reference(task), extra=text, frozen=HEADS)
    book = task.model.state_dict()
    assert torch.equal(ours["clip.logit_scale"], task.start["clip.logit_scale"])
    assert_close(*({n: t for n, t in end.items() if not n.startswith("heads.")} for end in (ours, book)))


def test_both_directions_count() -> None:
    task = world()
    ours = tuned(world(), FLYP())
    naive(task, contrastive(task, one_sided=True), extra=task.model.text_parameters(), frozen=HEADS)
    name = "clip.visual.proj"
    assert float((ours[name] - task.model.state_dict()[name]).abs().max()) > 1e-5


@pytest.mark.parametrize("method", [FLYP(), FLYPCrossEntropy()])
def test_resumes_to_the_same_bits(method) -> None:
    resumed(world, method)


@pytest.mark.parametrize("method", [FLYP(), FLYPCrossEntropy()])
def test_a_model_without_a_text_tower_is_refused(method) -> None:
    with pytest.raises(UserError, match="'bigrams' has no text tower"):
        tuned(task_of(Bigrams(), [sentences()]), method)


def test_one_task_loss_and_one_head() -> None:
    with pytest.raises(UserError, match="both decide the"):
        Chain([FLYP(), FLYPCrossEntropy()])
    with pytest.raises(UserError, match="both decide the head initialisation"):
        Chain([FLYP(), LinearProbeThenFineTune()])


def test_label_smoothing_of_the_task_reaches_the_live_head() -> None:
    train = TRAIN.model_copy(update={"label_smoothing": 0.2})
    plain, smooth = (
        step_of(task_of(clip([TASK]), [TASK], train=t), number=0) for t in (TRAIN, train)
    )  # fmt: skip
    head = smooth.task.model.class_weights(TASK)
    torch.testing.assert_close(head, smooth.task.model.zero_shot_head(TASK.labels).weight)
    logits = F.normalize(smooth.forward.embedding, dim=-1) @ head.T
    expected = F.cross_entropy(logits, smooth.batch.targets, reduction="none", label_smoothing=0.2)
    torch.testing.assert_close(FLYPCrossEntropy().objective(smooth, {}), expected)
    assert not torch.allclose(FLYPCrossEntropy().objective(plain, {}), expected)
