"""A real open_clip model and real streams, small enough that a whole simulation takes a second."""

from __future__ import annotations

import torch

from cl_forget.models import MODELS
from cl_forget.models.clip import ClipModel
from cl_forget.streams import STREAMS
from cl_forget.streams.base import Experience
from cl_forget.testing.worlds import (
    COLOURS,
    SIDE,
    colour_probe,
    colours,
    experience,
    images,
    squares,
    tiny_clip,
)

__all__ = [
    "COLOURS",
    "SIDE",
    "colour_probe",
    "colours",
    "experience",
    "images",
    "squares",
    "tiny_clip",
]

MODELS.add("tiny-clip-float64", "tiny:tiny_clip_float64")
MODELS.add("tiny-resnet", "tiny:tiny_resnet")
STREAMS.add("other-colours", "tiny:other_colours")


def tiny_clip_float64() -> ClipModel:
    """The same in double precision, in which sums in another order differ by next to nothing."""
    model = tiny_clip().double()
    model.spec = "tiny-clip-float64"
    return model


def tiny_resnet() -> ClipModel:
    """open_clip's own ModifiedResNet tower, BatchNorm and all, in double precision; random but fixed weights."""
    import open_clip
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
    from open_clip.transform import image_transform

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        clip = CLIP(
            embed_dim=16,
            vision_cfg=CLIPVisionCfg(layers=(1, 1, 1, 1), width=4, head_width=16, image_size=2 * SIDE),
            text_cfg=CLIPTextCfg(context_length=16, width=32, heads=2, layers=1),
        )
    model = ClipModel(
        clip,
        image_transform(2 * SIDE, is_train=False),
        open_clip.get_tokenizer("ViT-B-32", context_length=16),
    )
    model.spec = "tiny-resnet"
    return model.double()


def other_colours() -> list[Experience]:
    """A task with other classes than the rest: a head of another size."""
    return [experience("other-colours", seed=970, classes=2)]
