"""LDIFS against the authors' computation written out, and its traps: axis, scale, anchor, one forward."""

from __future__ import annotations

import copy

import pytest
import torch
from drive import TASKS, assert_close, clip, distance, moved, naive, resumed, step_of, task_of, tuned
from pydantic import ValidationError
from torch.nn import functional as F

from cl_forget.ground.errors import UserError
from cl_forget.mitigations.ldifs import LDIFS
from cl_forget.training.frozen import FrozenModel


def world():
    model = clip()
    base = FrozenModel(model)
    moved(model)
    return base, task_of(model, TASKS[1:2], TASKS[:1], base=base)


def slices(visual, images):
    """Tokens after ln_pre and after each block, every module called by hand: (batch, tokens, width) each."""
    x = visual.conv1(images).flatten(2).transpose(1, 2)
    x = torch.cat([visual.class_embedding.expand(len(x), 1, -1), x], 1) + visual.positional_embedding
    found = [visual.ln_pre(x)]
    for block in visual.transformer.resblocks:
        found.append(block(found[-1]))
    return found


def official(one, two, axis=1):
    """The released loss: each slice over its norm along axis 1, means over everything."""
    slice_terms = []
    for a, b in zip(one, two, strict=True):
        a = a / (a.square().sum(axis, keepdim=True).sqrt() + 1e-10)
        b = b / (b.square().sum(axis, keepdim=True).sqrt() + 1e-10)
        slice_terms.append(((a - b) ** 2).mean(-1).mean(-1))
    return torch.stack(slice_terms, 1).mean(-1).mean(0)


def loss_of(task, teacher, **options):
    def loss(images, targets, indices, number):
        visual = task.model.clip.visual
        logits = task.model.heads["squares-2"](F.normalize(visual(images), dim=-1))
        with torch.no_grad():
            frozen = slices(teacher.clip.visual, images)
        return F.cross_entropy(logits, targets) + 100 * official(slices(visual, images), frozen, **options)

    return loss


@pytest.mark.parametrize("anchor", ["pretrained", "previous"])
def test_token_form_agrees_with_the_official_loss(anchor: str) -> None:
    ours = tuned(world()[1], LDIFS(strength=100.0, anchor=anchor))
    base, task = world()
    teachers = {"pretrained": base.model, "previous": copy.deepcopy(task.model)}
    assert_close(ours, naive(task, loss_of(task, teachers[anchor])))
    for wrong in ({"axis": 2}, {}):
        _, task = world()
        other = "previous" if anchor == "pretrained" else "pretrained"
        teacher = teachers[anchor if wrong else other]  # the wrong axis; the wrong anchor
        assert distance(ours, naive(task, loss_of(task, teacher, **wrong))) > 1e-5


@pytest.mark.parametrize("normalise", ["token", "channel", "none"])
def test_value_of_each_scaling_and_the_three_differ(normalise: str) -> None:
    base, task = world()
    step = step_of(task)
    one = slices(task.model.clip.visual, step.batch.inputs)
    two = slices(base.model.clip.visual, step.batch.inputs)
    if normalise == "none":
        expected = torch.stack([(a - b).square().mean() for a, b in zip(one, two, strict=True)]).mean()
    else:
        expected = official(one, two, axis={"token": 1, "channel": 2}[normalise])
    values = {
        n: float(LDIFS(strength=1.0, normalise=n).penalty(step, {}).detach())
        for n in ("token", "channel", "none")
    }
    assert values[normalise] == pytest.approx(float(expected.detach()), rel=1e-9)
    assert min(abs(a / b - 1) for a in values.values() for b in values.values() if a != b) > 0.1


def test_official_slices_of_a_deeper_model_are_ln_pre_and_each_quarter() -> None:
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    from cl_forget.models.clip import ClipModel

    donor = clip()
    tower = CLIP(
        16, CLIPVisionCfg(layers=12, width=32, head_width=16, patch_size=8, image_size=16),
        CLIPTextCfg(context_length=16, width=32, heads=2, layers=1, vocab_size=64),
    )  # fmt: skip
    deep = ClipModel(tower, task_preprocess(), donor._tokenizer)
    assert deep.default_depths == ("ln_pre", "block 3", "block 6", "block 9", "block 12")


def task_preprocess():
    from open_clip.transform import image_transform

    return image_transform(16, is_train=False)


def test_one_student_forward_serves_loss_and_features() -> None:
    _, task = world()
    calls = []
    task.model.clip.visual.conv1.register_forward_hook(lambda *_: calls.append(1))
    tuned(task, LDIFS())
    assert len(calls) == task.steps


def test_no_distance_at_the_start() -> None:
    _, task = world()
    assert float(LDIFS(anchor="previous").penalty(step_of(task), {}).detach()) < 1e-20


def test_an_unknown_depth_gets_one_clear_line() -> None:
    with pytest.raises(UserError) as error:
        tuned(world()[1], LDIFS(depths=("ln_pre", "block 7")))
    assert str(error.value) == (
        "ldifs.depths: no 'block 7'. Did you mean 'block 2'? Known: ln_pre, block 1, block 2."
    )


def test_resumes_to_the_same_bits() -> None:
    resumed(lambda: world()[1], LDIFS(depths=("block 2",)))


@pytest.mark.parametrize(
    "fields", [{"strength": -1}, {"normalise": "batch"}, {"depths": ()}, {"anchor": "x"}]
)
def test_bad_values_are_refused(fields) -> None:
    with pytest.raises(ValidationError):
        LDIFS(**fields)
