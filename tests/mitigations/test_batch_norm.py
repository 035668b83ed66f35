"""Running statistics of a real open_clip ResNet tower after averaging its weights."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from drive import TASKS, assert_close, weights
from edits import apply, edit_of, same_bits
from pydantic import ValidationError
from tiny import SIDE
from torch import nn

from cl_forget.mitigations.batch_norm import BatchNormStatistics
from cl_forget.mitigations.wise_ft import WiseFT
from cl_forget.models.clip import ClipModel
from cl_forget.streams.base import ImageData


def resnet() -> ClipModel:
    import open_clip
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
    from open_clip.transform import image_transform

    side = 2 * SIDE
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        clip = CLIP(
            embed_dim=16,
            vision_cfg=CLIPVisionCfg(layers=(1, 1, 1, 1), width=4, head_width=16, image_size=side),
            text_cfg=CLIPTextCfg(context_length=16, width=32, heads=2, layers=1),
        )
    tokenizer = open_clip.get_tokenizer("ViT-B-32", context_length=16)
    model = ClipModel(clip, image_transform(side, is_train=False), tokenizer).double()
    model.spec = "tiny-resnet"
    model.add_task(TASKS[0])
    return model


def statistics(tensors: dict) -> list[str]:
    return [name for name in tensors if name.endswith(("running_mean", "running_var"))]


def test_plain_mean_over_batches_at_the_edited_weights() -> None:
    edit = edit_of(resnet())
    averaged = apply(edit, WiseFT(alpha=0.5))
    found = apply(edit, BatchNormStatistics(batch_size=8), WiseFT(alpha=0.5))
    twin = copy.deepcopy(edit.model)
    twin.load_state_dict(averaged)
    for module in twin.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    twin.train()
    for indices in torch.randperm(24, generator=torch.Generator().manual_seed(0)).split(8):
        twin(edit.task.sources[0].batch(indices))
    expected = weights(twin)
    names = statistics(found)
    assert names
    assert_close({n: found[n] for n in names}, {n: expected[n] for n in names}, atol=1e-10)
    # The trap: averaged statistics are those of no model.
    assert any((averaged[n] - found[n]).abs().max() > 0.05 for n in names)
    same_bits(*({n: t for n, t in s.items() if n not in names} for s in (found, averaged)))
    assert not any(m.training for m in edit.model.modules() if isinstance(m, nn.BatchNorm2d))


def test_data_in_the_order_of_their_classes_have_the_variance_of_all() -> None:
    """A batch of one class would have the variance within it."""
    edit = edit_of(resnet())
    pictures = np.zeros((64, 3, SIDE, SIDE), np.uint8)
    pictures[32:] = 255
    data = ImageData([0] * 32 + [1] * 32, array=pictures)
    edit.task.sources = [edit.model.prepare(data, TASKS[0], "train")]
    first = next(name for name in statistics(weights(edit.model)) if name.endswith("running_var"))
    whole = apply(edit, BatchNormStatistics(batch_size=64))[first]
    drawn = apply(edit, BatchNormStatistics(batch_size=16))[first]
    assert whole.min() > 0
    torch.testing.assert_close(drawn, whole, rtol=0.1, atol=1e-6)
    half = apply(edit, BatchNormStatistics(batch_size=16, samples=32))[first]
    torch.testing.assert_close(half, whole, rtol=0.3, atol=1e-6)


def test_a_single_sample_has_no_statistics() -> None:
    edit = edit_of(resnet())
    one = TASKS[0].train.subset([0])
    edit.task.sources = [edit.model.prepare(one, TASKS[0], "train")]
    same_bits(apply(edit, BatchNormStatistics()), weights(edit.model))


def test_wise_ft_alone_averages_the_statistics() -> None:
    edit = edit_of(resnet())
    tuned = weights(edit.model)
    for name in statistics(tuned):
        edit.model.get_buffer(name).add_(1.0)
    found = apply(edit, WiseFT(alpha=0.25))
    for name in statistics(tuned):
        torch.testing.assert_close(found[name], edit.pretrained[name] + 0.25)
    counts = [name for name in tuned if name.endswith("num_batches_tracked")]
    assert counts and all(found[n].dtype == torch.int64 and torch.equal(found[n], tuned[n]) for n in counts)


def test_a_model_without_batch_norm_stays_as_it_is() -> None:
    edit = edit_of()
    same_bits(apply(edit, BatchNormStatistics()), weights(edit.model))


@pytest.mark.parametrize("fields", [{"batch_size": 1}, {"samples": 0}])
def test_bad_settings_are_refused(fields: dict) -> None:
    with pytest.raises(ValidationError):
        BatchNormStatistics(**fields)
