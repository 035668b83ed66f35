"""A real open_clip model and real streams, small enough that a whole simulation takes a second."""

from __future__ import annotations

import numpy as np
import torch

from cl_forget.models import MODELS
from cl_forget.models.clip import ClipModel
from cl_forget.streams import STREAMS, SUITES
from cl_forget.streams.base import Experience, ImageData, LabelSpace

MODELS.add("tiny-clip", "tiny:tiny_clip")
MODELS.add("tiny-clip-float64", "tiny:tiny_clip_float64")
MODELS.add("tiny-resnet", "tiny:tiny_resnet")
STREAMS.add("squares", "tiny:squares")
STREAMS.add("colour-probe", "tiny:colour_probe")
STREAMS.add("other-colours", "tiny:other_colours")
SUITES.add("colours", "tiny:colours")

SIDE = 16
COLOURS = {"red": (200, 40, 40), "green": (40, 180, 60), "blue": (40, 60, 200), "grey": (128, 128, 128)}


def tiny_clip() -> ClipModel:
    """open_clip's own CLIP class: two image blocks of width 32, one text block, random but fixed weights."""
    import open_clip
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
    from open_clip.transform import image_transform

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        clip = CLIP(
            embed_dim=16,
            vision_cfg=CLIPVisionCfg(layers=2, width=32, head_width=16, patch_size=8, image_size=SIDE),
            text_cfg=CLIPTextCfg(context_length=16, width=32, heads=2, layers=1),
        )
    model = ClipModel(
        clip, image_transform(SIDE, is_train=False), open_clip.get_tokenizer("ViT-B-32", context_length=16)
    )
    model.spec = "tiny-clip"
    return model


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


def images(classes: int, per_class: int, seed: int, darker: int = 0) -> ImageData:
    """Noisy squares, one colour a class."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), per_class)
    colours = np.array(list(COLOURS.values()))[:classes]
    noise = random.integers(-35, 35, (len(labels), 3, SIDE, SIDE))
    pixels = np.clip(colours[labels][:, :, None, None] + noise - darker, 0, 255).astype(np.uint8)
    return ImageData(labels, array=pixels)


def experience(name: str, seed: int, classes: int = 3, per_class: int = 8) -> Experience:
    """A task: name the colour."""
    labels = LabelSpace(name, tuple(COLOURS)[:classes], ("a {} square.",))
    return Experience(
        name,
        labels,
        train=images(classes, per_class, seed),
        validation=images(classes, 4, seed + 1),
        test=images(classes, 5, seed + 2),
        shifted={"darker": images(classes, 3, seed + 3, darker=40)},
    )


def squares(tasks: int = 3, per_class: int = 8) -> list[Experience]:
    """A stream of colour tasks."""
    return [experience(f"squares-{i + 1}", seed=100 * (i + 1), per_class=per_class) for i in range(tasks)]


def colours() -> Experience:
    """A generality suite: four colours, no training data of its own."""
    probe = experience("colours", seed=900, classes=4)
    return Experience("colours", probe.labels, None, probe.validation, probe.test)


def colour_probe() -> list[Experience]:
    """A task that is probed and never tuned on."""
    return [experience("colour-probe", seed=950, classes=4)]


def other_colours() -> list[Experience]:
    """A task with other classes than the rest: a head of another size."""
    return [experience("other-colours", seed=970, classes=2)]
