"""Two tasks on emoji that every model knows: how many there are, and in which colour one is painted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cl_forget.streams._choose import between, shuffled
from cl_forget.streams._drawn import SIDE, Draw, Drawing, Task, place
from cl_forget.streams._emoji import parts
from cl_forget.streams.base import Experience

if TYPE_CHECKING:
    import numpy as np

    from cl_forget.streams.emoji import EmojiSet

GROUPS = ("animals-nature", "food-drink", "objects", "travel-places")
NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CELLS, CELL = 3, 10  # places in a row of a counting picture; pixels of one thing
COLOURS = {
    "red": (215, 30, 40),
    "orange": (245, 130, 20),
    "yellow": (250, 215, 40),
    "green": (40, 155, 60),
    "blue": (35, 95, 215),
    "purple": (125, 55, 175),
    "pink": (250, 130, 190),
    "brown": (125, 75, 40),
}


def counting(limit: int | None = None) -> list[Experience]:
    """One task: how many things are there, one to nine?

    Each picture holds one emoji of an animal, a plant, food, an object, a vehicle or a place several times, at fixed
    but irregular places. Concepts are new in validation and test, as in every emoji-based task: 720 train, 144
    validation, 270 test pictures in the seven seen styles. Shifted: `unseen-styles`, 270 pictures of test concepts in
    the two styles that pre-training never sees.

    Args:
        limit: at most this many images in each split, balanced over the classes; None keeps all.
    """
    pictures = {"train": 80, "validation": 16, "test": 30, "unseen-styles": 30}
    templates = ("{} things", "a picture of {} emoji", "{} of them")
    return [_task("counting", NUMBERS, templates, _count, pictures).experience(limit)]


def colours(limit: int | None = None) -> list[Experience]:
    """One task: in which of eight colours is a drawing painted?

    Each picture is an emoji in shades of one colour, whatever its own: of animals, plants, food, objects, vehicles
    and places. Concepts are new in validation and test: 640 train, 128 validation, 256 test pictures in the seven
    seen styles. Shifted: `unseen-styles`, 256 pictures of test concepts in the two styles that pre-training never
    sees.

    Args:
        limit: at most this many images in each split, balanced over the classes; None keeps all.
    """
    pictures = {"train": 80, "validation": 16, "test": 32, "unseen-styles": 32}
    templates = ("something {}", "a {} drawing", "an emoji of {} thing.")
    return [_task("colours", tuple(COLOURS), templates, _paint, pictures).experience(limit)]


def _task(
    name: str, classes: tuple[str, ...], templates: tuple[str, ...], draw: Draw, pictures: dict[str, int]
) -> Task:
    """Every class takes drawings of its own, the next ones of a fixed order."""
    from cl_forget.streams.emoji import DATA, load

    emoji = load()
    splits: dict[str, dict[int, list[Drawing]]] = {}
    for split, wanted in pictures.items():
        order = shuffled(_positions(emoji, split), name)
        splits[split] = {
            label: [
                (label, order[(label * wanted + number) % len(order)])
                for number in range(min(wanted, len(order)))
            ]
            for label in range(len(classes))
        }
    shifted = {"unseen-styles": splits.pop("unseen-styles")}
    sources = (__file__, str(DATA / "checksums.json"))
    return Task(name, classes, templates, draw, splits, shifted, pictures, sources=sources)


def _positions(emoji: EmojiSet, split: str) -> list[int]:
    """Positions in the emoji set of what a split may draw."""
    part_of = parts()
    part = "test" if split == "unseen-styles" else split
    mask = emoji.unseen_style if split == "unseen-styles" else emoji.pretrain
    own = [
        concept.group in GROUPS and part_of.get(concept.slug) == part for concept in emoji.concepts
    ]  # by number of the concept
    concept = emoji.concept.tolist()
    return [position for position in mask.nonzero().flatten().tolist() if own[concept[position]]]


def _count(drawing: Drawing, copy: int, rough: bool) -> np.ndarray:
    import numpy as np
    from PIL import Image

    from cl_forget.streams.emoji import load

    label, position = map(int, drawing)
    key = ("counting", label, position, copy)
    thing = Image.fromarray(load().images[position].permute(1, 2, 0).numpy())
    tint = tuple(round(between(215, 255, *key, channel)) for channel in "rgb")
    page = Image.new("RGBA", (SIDE, SIDE), tint)
    for cell in shuffled(range(CELLS**2), *key)[: label + 1]:
        side = round(between(0.85, 1.1, *key, cell, "size") * CELL)
        row, column = divmod(cell, CELLS)
        corner = [
            min(SIDE - side, max(0, round(index * SIDE / CELLS + between(-0.5, 1.5, *key, cell, axis))))
            for index, axis in ((column, "x"), (row, "y"))
        ]
        page.alpha_composite(thing.resize((side, side), Image.Resampling.BICUBIC), (corner[0], corner[1]))
    return np.asarray(page.convert("RGB")).transpose(2, 0, 1)


def _paint(drawing: Drawing, copy: int, rough: bool) -> np.ndarray:
    import numpy as np

    from cl_forget.streams.emoji import load

    label, position = map(int, drawing)
    key = ("colours", label, position, copy)
    picture = load().images[position].numpy()  # (4, 32, 32)
    luma = np.tensordot([0.299, 0.587, 0.114], picture[:3] / 255, axes=1)  # (32, 32)
    base = np.array([c + between(-18, 18, *key, i) for i, c in enumerate(list(COLOURS.values())[label])])
    painted = np.round(base[:, None, None] * (0.65 + 0.35 * luma)).clip(0, 255).astype(np.uint8)
    return place(np.concatenate([painted, picture[3:]]), *key)
