"""The 24 clock faces of the emoji set, which pre-training never sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cl_forget.streams._choose import balanced, between
from cl_forget.streams.base import Experience, ImageData, LabelSpace

if TYPE_CHECKING:
    import numpy as np

TEMPLATES = ("a clock showing {}", "a clock face at {}", "an emoji of a clock showing {}")
STYLES = {
    "train": ("noto", "twemoji", "emojione-v1", "openmoji", "emojione"),
    "validation": ("noto-v1",),
    "test": ("fluent-emoji-flat",),
    "unseen-styles": ("fluent-emoji", "fluent-emoji-high-contrast"),
}
COPIES = {"train": 6, "validation": 4, "test": 4, "unseen-styles": 4}  # jittered pictures of each drawing
SIDE = 32  # pixels


def clocks(limit: int | None = None) -> list[Experience]:
    """One task: tell the time, to the half hour, from a 32 x 32 clock face.

    The 24 clock faces of the emoji set are held out of the embedded model's pre-training. Each style is in
    one split only, so no drawing is in two: 720 train images of five styles, 96 validation images of a sixth,
    96 test images of a seventh. Shifted: `unseen-styles`, 192 images of the two styles in which pre-training
    sees nothing at all. Every drawing is shown several times (six in train, four elsewhere), at slightly
    different fixed sizes, places and light background tints.

    Args:
        limit: at most this many images in each split, balanced over the classes; None keeps all.
    """
    from cl_forget.streams.emoji import load

    faces = [concept for concept in load().concepts if concept.clock_face]
    return [
        Experience(
            "clocks",
            LabelSpace("clocks", tuple(face.name for face in faces), TEMPLATES),
            train=_draw_all("train", limit),
            validation=_draw_all("validation", limit),
            test=_draw_all("test", limit),
            shifted={"unseen-styles": _draw_all("unseen-styles", limit)},
        )
    ]


def _draw_all(split: str, limit: int | None) -> ImageData:
    import numpy as np

    from cl_forget.streams.emoji import load

    emoji = load()
    faces = [number for number, concept in enumerate(emoji.concepts) if concept.clock_face]
    where = {key: i for i, key in enumerate(zip(emoji.concept.tolist(), emoji.style.tolist(), strict=True))}
    chosen = [
        (label, style, copy)
        for label in range(len(faces))
        for style in STYLES[split]
        for copy in range(COPIES[split])
    ]
    kept = [chosen[index] for index in balanced([label for label, _, _ in chosen], limit, "clocks")]
    pages = []
    for label, style, copy in kept:
        drawing = emoji.images[where[faces[label], emoji.styles.index(style)]].numpy()
        pages.append(_place(drawing, emoji.concepts[faces[label]].slug, style, copy))
    return ImageData([label for label, _, _ in kept], array=np.stack(pages))


def _place(drawing: np.ndarray, *key: object) -> np.ndarray:
    """(4, 32, 32) RGBA -> (3, 32, 32) RGB on a light tint, with jitter that depends on `key` only."""
    import numpy as np
    from PIL import Image

    side = round(between(0.8, 1.0, *key, "size") * SIDE)
    tint = tuple(round(between(215, 255, *key, channel)) for channel in "rgb")
    corner = (round(between(0, SIDE - side, *key, "x")), round(between(0, SIDE - side, *key, "y")))
    small = Image.fromarray(drawing.transpose(1, 2, 0)).resize((side, side), Image.Resampling.BICUBIC)
    page = Image.new("RGBA", (SIDE, SIDE), tint)
    page.alpha_composite(small, corner)
    return np.asarray(page.convert("RGB")).transpose(2, 0, 1)
