"""The 24 clock faces of the emoji set, which pre-training never sees."""

from __future__ import annotations

from cl_forget.streams import _drawn
from cl_forget.streams._choose import balanced
from cl_forget.streams._drawn import place
from cl_forget.streams._emoji import position_of
from cl_forget.streams._kept import kept
from cl_forget.streams.base import Experience, ImageData, LabelSpace

TEMPLATES = ("a clock showing {}", "a clock face at {}", "an emoji of a clock showing {}")
STYLES = {
    "train": ("noto", "twemoji", "emojione-v1", "openmoji", "emojione"),
    "validation": ("noto-v1",),
    "test": ("fluent-emoji-flat",),
    "unseen-styles": ("fluent-emoji", "fluent-emoji-high-contrast"),
}
COPIES = {"train": 6, "validation": 4, "test": 4, "unseen-styles": 4}  # jittered pictures of each drawing


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

    from cl_forget.streams.emoji import DATA, load

    emoji = load()
    faces = [number for number, concept in enumerate(emoji.concepts) if concept.clock_face]
    chosen = [
        (label, style, copy)
        for label in range(len(faces))
        for style in STYLES[split]
        for copy in range(COPIES[split])
    ]
    shown = [chosen[index] for index in balanced([label for label, _, _ in chosen], limit, "clocks")]

    def draw(label: int, style: str, copy: int) -> np.ndarray:
        slug = emoji.concepts[faces[label]].slug
        return place(emoji.images[position_of()[slug, style]].numpy(), slug, style, copy)

    pages = kept(
        lambda: np.stack([draw(*one) for one in shown]),
        *("clocks", shown),
        sources=(__file__, _drawn.__file__, DATA / "checksums.json"),
    )
    return ImageData([label for label, _, _ in shown], array=pages)
