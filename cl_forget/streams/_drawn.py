"""Tasks that are drawn: glyphs of the fonts that matplotlib ships, and small pictures made of emoji.

A *drawing* (a glyph in a font, a card, a flag in a style) is in one split of a task only. It is shown in several
*copies*, at slightly different fixed sizes, places, angles and shades; nothing is random.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cl_forget.streams._choose import balanced, between, shuffled
from cl_forget.streams._kept import kept
from cl_forget.streams.base import Experience, ImageData, LabelSpace

if TYPE_CHECKING:
    import numpy as np
    from PIL.ImageFont import FreeTypeFont

SIDE, SUPERSAMPLE = 32, 2  # pixels; drawn at 64 x 64, then averaged over 2 x 2 boxes
VALIDATION_SHARE, TEST_SHARE = 1 / 8, 1 / 4  # of the drawings of each class

Drawing = tuple[str | int, ...]  # what names a drawing inside its task
Drawings = Mapping[int, Sequence[Drawing]]  # label -> the drawings of that class
Draw = Callable[[Drawing, int, bool], "np.ndarray"]  # drawing, copy, rough -> (3, 32, 32) uint8

DEJAVU_SANS = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique")
DEJAVU_MONO = (
    *("DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique", "DejaVuSansMono-BoldOblique"),
)
DEJAVU_SERIF = ("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic")
STIX = ("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta")


@dataclass(frozen=True)
class Task:
    """A task made of drawings.

    Attributes:
        name: of the experience and its head.
        classes: their names, by label.
        templates: prompts with one `{}`.
        draw: makes one picture.
        splits: split -> label -> drawings; "train", "validation" and "test" share none.
        shifted: the same for further test sets.
        pictures: split -> pictures of each class; drawings are repeated in further copies until there are so many.
        rough: shifted sets that are drawn turned, pale and noisy.
        sources: files that say how it is drawn, beside this one: kept pictures are used as long as none changes.
    """

    name: str
    classes: tuple[str, ...]
    templates: tuple[str, ...]
    draw: Draw
    splits: Mapping[str, Drawings]
    shifted: Mapping[str, Drawings]
    pictures: Mapping[str, int]
    rough: tuple[str, ...] = ("rough",)
    sources: tuple[str, ...] = ()

    def experience(self, limit: int | None) -> Experience:
        """The task with at most `limit` pictures in each split, balanced over the classes; None keeps all."""
        data = {
            split: self._data(split, drawings, limit)
            for split, drawings in {**self.splits, **self.shifted}.items()
        }
        return Experience(
            self.name,
            LabelSpace(self.name, self.classes, self.templates),
            train=data["train"],
            validation=data["validation"],
            test=data["test"],
            shifted={name: data[name] for name in self.shifted},
        )

    def _data(self, split: str, drawings: Drawings, limit: int | None) -> ImageData:
        import numpy as np

        wanted = [
            (label, own[number % len(own)], number // len(own))
            for label, own in drawings.items()
            for number in range(self.pictures[split])
        ]
        shown = [wanted[i] for i in balanced([label for label, _, _ in wanted], limit, self.name)]
        rough = split in self.rough
        pages = kept(
            lambda: np.stack([self.draw(drawing, copy, rough) for _, drawing, copy in shown]),
            *(self.name, rough, shown),
            sources=(__file__, *self.sources),
        )
        return ImageData([label for label, _, _ in shown], array=pages)


def divide(name: str, drawings: Drawings) -> dict[str, dict[int, list[Drawing]]]:
    """Each class's drawings divided into train, validation and test, the last two with at least one.

    Args:
        name: of the task; another name divides otherwise.
        drawings: label -> drawings, at least three of each class.
    """
    splits: dict[str, dict[int, list[Drawing]]] = {"train": {}, "validation": {}, "test": {}}
    for label, own in drawings.items():
        order = shuffled(own, name)
        validation, test = (max(1, round(share * len(order))) for share in (VALIDATION_SHARE, TEST_SHARE))
        splits["validation"][label] = order[:validation]
        splits["test"][label] = order[validation : validation + test]
        splits["train"][label] = order[validation + test :]
    return splits


def draw_glyph(
    task: str,
    text: str,
    font_name: str,
    copy: int,
    *,
    rough: bool = False,
    fit: bool = False,
    turn: float = 10,
) -> np.ndarray:
    """(3, 32, 32) uint8: a glyph, dark on light, with jitter that depends on the arguments only.

    Args:
        task: whose jitter.
        text: the glyph.
        font_name: a font that matplotlib ships.
        copy: which of the differently jittered pictures.
        rough: turned further, pale and noisy.
        fit: whether the glyph fills most of the picture, however small its font draws it.
        turn: the largest angle, in degrees.
    """
    import numpy as np
    from PIL import Image, ImageDraw

    def jitter(low: float, high: float, what: str) -> float:
        return between(low, high, task, text, font_name, copy, what)

    side = SIDE * SUPERSAMPLE
    size = round(side * jitter(0.6, 0.8, "size"))
    if fit:
        left, top, right, bottom = load_font(font_name, side).getbbox(text)
        size = round(side**2 * jitter(0.75, 0.92, "size") / max(right - left, bottom - top))
    font = load_font(font_name, size)
    canvas = Image.new("L", (side, side), 0)
    middle = (side * jitter(0.44, 0.56, "x"), side * jitter(0.44, 0.56, "y"))
    left, top, right, bottom = font.getbbox(text)
    corner = (middle[0] - (left + right) / 2, middle[1] - (top + bottom) / 2)
    ImageDraw.Draw(canvas).text(corner, text, font=font, fill=255)
    angle = jitter(-turn, turn, "angle") * (1.8 if rough else 1)
    turned = canvas.rotate(angle, Image.Resampling.BICUBIC)
    coverage = np.asarray(turned.reduce(SUPERSAMPLE), dtype=np.float64) / 255
    ink, paper = jitter(0, 80, "ink"), jitter(235, 255, "paper")
    grey = np.round(paper + (ink - paper) * coverage).astype(np.uint8)
    page = np.repeat(grey[None], 3, axis=0)
    return roughen(page, task, text, font_name, copy) if rough else page


def roughen(page: np.ndarray, *key: object) -> np.ndarray:
    """A pale, noisy (3, 32, 32) picture; the noise depends on `key` only."""
    import numpy as np

    low, high = between(30, 90, *key, "low"), between(150, 230, *key, "high")
    digest = hashlib.shake_256("/".join(map(str, key)).encode()).digest(page.size)
    noise = (np.frombuffer(digest, dtype=np.uint8).reshape(page.shape) / 255 - 0.5) * 60
    return np.round(low + (high - low) * page / 255 + noise).clip(0, 255).astype(np.uint8)


def place(drawing: np.ndarray, *key: object, sizes: tuple[float, float] = (0.8, 1.0)) -> np.ndarray:
    """(4, 32, 32) RGBA -> (3, 32, 32) RGB on a light tint, with jitter that depends on `key` only."""
    import numpy as np
    from PIL import Image

    side = round(between(*sizes, *key, "size") * SIDE)
    tint = tuple(round(between(215, 255, *key, channel)) for channel in "rgb")
    corner = (round(between(0, SIDE - side, *key, "x")), round(between(0, SIDE - side, *key, "y")))
    small = Image.fromarray(drawing.transpose(1, 2, 0)).resize((side, side), Image.Resampling.BICUBIC)
    page = Image.new("RGBA", (SIDE, SIDE), tint)
    page.alpha_composite(small, corner)
    return np.asarray(page.convert("RGB")).transpose(2, 0, 1)


@functools.lru_cache(maxsize=512)
def load_font(name: str, size: int) -> FreeTypeFont:
    """One of the fonts that matplotlib ships, `size` pixels high."""
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf", size)
