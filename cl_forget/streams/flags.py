"""The flags of 90 countries in the emoji set, which pre-training never sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cl_forget.streams._drawn import Drawing, Task, place, roughen
from cl_forget.streams._emoji import position_of
from cl_forget.streams.base import Experience

if TYPE_CHECKING:
    import numpy as np

STYLES = {"train": "twemoji", "validation": "emojione-v1", "test": "openmoji", "round": "emojione"}
TEMPLATES = ("the flag of {}", "an emoji of flag of {}.", "the national flag of {}")


def flags(limit: int | None = None) -> list[Experience]:
    """One task: which of 90 countries does a flag belong to?

    The flags of countries are held out of the embedded models' pre-training. Four styles draw them, and each is in
    one split only: 720 train images of one style (eight copies of every flag, at slightly different fixed sizes,
    places and background tints), 180 validation images of a second, 270 test images of a third, which has outlines.
    Shifted: `round`, 270 images of the fourth, which draws flags as round badges.

    Args:
        limit: at most this many images in each split, balanced over the classes; None keeps all.
    """
    from cl_forget.streams.emoji import DATA, load

    countries = [
        concept
        for concept in load().concepts
        if concept.country_flag and all((concept.slug, style) in position_of() for style in STYLES.values())
    ]
    drawings: dict[str, dict[int, list[Drawing]]] = {
        split: {label: [(concept.slug, style)] for label, concept in enumerate(countries)}
        for split, style in STYLES.items()
    }
    task = Task(
        "flags",
        tuple(concept.name.removeprefix("flag of ") for concept in countries),
        TEMPLATES,
        _draw,
        {split: drawings[split] for split in ("train", "validation", "test")},
        {"round": drawings["round"]},
        {"train": 8, "validation": 2, "test": 3, "round": 3},
        sources=(__file__, str(DATA / "checksums.json")),
    )
    return [task.experience(limit)]


def _draw(drawing: Drawing, copy: int, rough: bool) -> np.ndarray:
    from cl_forget.streams.emoji import load

    slug, style = map(str, drawing)
    page = place(load().images[position_of()[slug, style]].numpy(), slug, style, copy)
    return roughen(page, slug, style, copy) if rough else page
