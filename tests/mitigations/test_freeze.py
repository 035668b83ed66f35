"""Freezing: which parameters, and that the rest learns as ever."""

from __future__ import annotations

import pytest
import torch
from drive import TASKS, TRAIN, assert_close, clip, naive, resumed, task_of, tuned, weights
from pydantic import ValidationError
from test_sam import resnet, statistics
from torch.nn import functional as F

from cl_forget.ground.errors import UserError
from cl_forget.mitigations import Chain
from cl_forget.mitigations.freeze import Freeze
from cl_forget.mitigations.frozen_trunk import FrozenTrunk

EARLY = ("clip.visual.conv1", "clip.visual.class_embedding", "clip.visual.positional", "clip.visual.ln_pre")
FIRST = (*EARLY, "clip.visual.transformer.resblocks.0.")


def changed(after, before=None):
    before = before or weights(clip())
    return {name for name in after if not torch.equal(after[name], before[name])}


def test_the_first_block_and_all_before_it_stay_and_the_rest_learns_as_ever() -> None:
    task = task_of(clip(), TASKS[:1])
    frozen = [name for name in task.model.tunable(TASKS[0]) if name.startswith(FIRST)]
    ours = tuned(task_of(clip(), TASKS[:1]), Freeze(blocks=1))

    def loss(images, targets, indices, number):
        embedding = F.normalize(task.model.clip.visual(images), dim=-1)
        return F.cross_entropy(task.model.heads["squares-1"](embedding), targets)

    assert_close(ours, naive(task, loss, frozen=frozen))
    assert changed(ours) == set(task.model.tunable(TASKS[0])) - set(frozen)


def test_patterns_freeze_more_or_train_nevertheless() -> None:
    tunable = clip().tunable(TASKS[0])
    ours = tuned(task_of(clip(), TASKS[:1]), Freeze(blocks=2, train=("*bias",)))
    head_and_after = {
        n for n in tunable if n.startswith(("heads", "clip.visual.ln_post", "clip.visual.proj"))
    }
    assert changed(ours) == {n for n in tunable if n.endswith("bias")} | head_and_after
    ours = tuned(task_of(clip(), TASKS[:1]), Freeze(also=("*visual*",)))
    assert changed(ours) == {n for n in tunable if n.startswith("heads")}


def test_nothing_to_freeze_is_the_same_as_no_method() -> None:
    one, two = tuned(task_of(clip(), TASKS[:1]), Freeze(blocks=0)), tuned(task_of(clip(), TASKS[:1]))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert list(Chain([Freeze()])) == []


def test_models_without_blocks_are_refused_with_the_cure() -> None:
    model = resnet()
    model._block_paths = []
    with pytest.raises(UserError, match=r"freeze\.also"):
        tuned(task_of(model, TASKS[:1]), Freeze(blocks=1))


def test_the_blocks_of_a_resnet_are_its_stages() -> None:
    before = resnet().state_dict()
    after = tuned(task_of(resnet(), TASKS[:1]), Freeze(blocks=2))
    moved = set(changed(after, before))
    assert any("layer3" in name for name in moved)
    assert not any(
        part in name for name in moved for part in ("layer1", "layer2", "visual.conv1", "visual.bn3")
    )


def test_a_frozen_batch_norm_keeps_its_statistics() -> None:
    before = weights(resnet())
    update = TRAIN.model_copy(update={"batch_norm": "update"})
    after = tuned(task_of(resnet(), TASKS[:1]), Freeze(also=("*layer1*", "*visual.bn1*")), train=update)
    moved = set(changed(statistics(after), statistics(before)))
    assert moved and not any("layer1" in name or "visual.bn1" in name for name in moved)


def test_a_frozen_trunk_stays_to_the_bit_statistics_included() -> None:
    for make in (clip, resnet):
        after = tuned(task_of(make(), TASKS[:1]), FrozenTrunk())
        heads = {name for name in after if name.startswith("heads.squares-1")}
        assert changed(after, weights(make())) == heads


def test_a_frozen_trunk_trains_the_head_like_the_loop_would() -> None:
    task = task_of(clip(), TASKS[:1])
    trunk = [name for name in task.model.tunable(TASKS[0]) if name.startswith("clip")]

    def loss(images, targets, indices, number):
        embedding = F.normalize(task.model.clip.visual(images), dim=-1)
        return F.cross_entropy(task.model.heads["squares-1"](embedding), targets)

    assert_close(tuned(task_of(clip(), TASKS[:1]), FrozenTrunk()), naive(task, loss, frozen=trunk))


def test_both_resume_to_the_same_bits() -> None:
    resumed(lambda: task_of(clip(), TASKS[:1]), Freeze(blocks=1))
    resumed(lambda: task_of(clip(), TASKS[:1]), FrozenTrunk())


def test_what_they_do_not_go_with() -> None:
    with pytest.raises(UserError, match="never trains the trunk"):
        Chain([FrozenTrunk(), Freeze(blocks=1)])


def test_bad_values_are_refused() -> None:
    with pytest.raises(ValidationError):
        Freeze(blocks=-1)
