"""Arrows, dice, dominoes, playing cards and braille, drawn with the fonts that matplotlib ships.

Few of those fonts have such glyphs, so that the shifted set of most of these tasks is another rendering: `rough`
pictures of the test drawings are turned further, pale and noisy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cl_forget.streams._drawn import (
    DEJAVU_MONO,
    DEJAVU_SANS,
    DEJAVU_SERIF,
    Draw,
    Drawing,
    Drawings,
    Task,
    divide,
    draw_glyph,
)
from cl_forget.streams.base import Experience

if TYPE_CHECKING:
    import numpy as np

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
DIRECTIONS = ("left", "up", "right", "down", "up left", "up right", "down right", "down left")
#: Arrows in the order of the directions, and the fonts that draw them all.
ARROWS = {
    "←↑→↓↖↗↘↙": (*DEJAVU_SANS, *DEJAVU_MONO, *DEJAVU_SERIF),
    "⇐⇑⇒⇓⇖⇗⇘⇙": (*DEJAVU_SANS, *DEJAVU_MONO, *DEJAVU_SERIF),
    "⬅⬆➡⬇⬉⬈⬊⬋": DEJAVU_SANS,
    "⇦⇧⇨⇩⬁⬀⬂⬃": (*DEJAVU_SANS, *DEJAVU_SERIF),
}
ARROWS_OF_UNSEEN_FONTS = {"←↑→↓↖↗↘↙": ("STIXGeneral", "STIXGeneralBol"), "⇐⇑⇒⇓⇖⇗⇘⇙": ("STIXGeneral",)}
SUITS = ("spades", "hearts", "diamonds", "clubs")
RANKS = (*range(1, 12), 13, 14)  # ace to ten, jack, queen, king; 12 is the knight


def arrows(limit: int | None = None) -> list[Experience]:
    """One task: in which of eight directions does an arrow point?

    A glyph (an arrow of one of four designs in one of up to twelve DejaVu fonts) is in one split only: 720 train, 120
    validation, 240 test pictures. Shifted: `unseen-fonts`, 240 pictures of the STIX fonts.

    Args:
        limit: at most this many images in each split, balanced over the classes; None keeps all.
    """

    def glyphs(designs: dict[str, tuple[str, ...]]) -> dict[int, list[Drawing]]:
        return {
            label: [(design[label], font) for design, fonts in designs.items() for font in fonts]
            for label in range(len(DIRECTIONS))
        }

    task = Task(
        "arrows",
        DIRECTIONS,
        ("an arrow pointing {}", "the arrow points {}"),
        _glyph("arrows"),
        divide("arrows", glyphs(ARROWS)),
        {"unseen-fonts": glyphs(ARROWS_OF_UNSEEN_FONTS)},
        {"train": 90, "validation": 15, "test": 30, "unseen-fonts": 30},
        sources=(__file__,),
    )
    return [task.experience(limit)]


def dice(limit: int | None = None) -> list[Experience]:
    """One task: how many spots does the face of a die show?

    Six fonts of the DejaVu family draw the six faces, in one split each (four train, one validates, one tests): 480
    train, 120 validation, 240 test pictures. Shifted: `unseen-fonts`, 240 pictures of STIX. With six drawings to
    a class, read differences of a few points with care.

    Args:
        limit: at most this many images in each split, balanced over the classes; None keeps all.
    """

    def faces(fonts: tuple[str, ...]) -> dict[int, list[Drawing]]:
        return {label: [(chr(0x2680 + label), font) for font in fonts] for label in range(6)}

    task = Task(
        "dice",
        NUMBERS[1:7],
        ("a die showing {}", "the face of a die with {} spots"),
        _glyph("dice"),
        divide("dice", faces((*DEJAVU_SANS, "DejaVuSansMono", "DejaVuSansMono-Bold"))),
        {"unseen-fonts": faces(("STIXGeneral",))},
        {"train": 80, "validation": 20, "test": 40, "unseen-fonts": 40},
        sources=(__file__,),
    )
    return [task.experience(limit)]


def dominoes(limit: int | None = None) -> list[Experience]:
    """One task: how many spots does a domino have in all?

    The 49 tiles lie or stand, in four fonts; a tile in one position and font is in one split only. Eleven classes,
    one to eleven spots (the tiles with none and with twelve are single): 770 train, 165 validation, 330 test
    pictures.
    Shifted: `rough`, 330 pictures of the test drawings.

    Args:
        limit: at most this many images in each split, balanced over the classes; None keeps all.
    """
    tiles = [(first, second) for first in range(7) for second in range(7)]
    drawings: dict[int, list[Drawing]] = {label: [] for label in range(11)}
    for start in (0x1F031, 0x1F063):  # lying, standing
        for number, (first, second) in enumerate(tiles):
            if 0 < first + second < 12:
                own = [(chr(start + number), font) for font in DEJAVU_SANS]
                drawings[first + second - 1] += own
    templates = ("a domino with {} spots", "a domino tile of {} spots in all")
    return [_rough_task("dominoes", (*NUMBERS[1:], "eleven"), templates, drawings, (70, 15, 30), limit)]


def cards(limit: int | None = None) -> list[Experience]:
    """One task: which suit does a playing card have?

    52 cards in four fonts; a card in one font is in one split only: 480 train, 120 validation, 240 test pictures.
    Shifted: `rough`, 240 pictures of the test drawings.

    Args:
        limit: at most this many images in each split, balanced over the classes; None keeps all.
    """
    drawings: dict[int, list[Drawing]] = {
        label: [(chr(0x1F0A0 + 16 * label + rank), font) for rank in RANKS for font in DEJAVU_SANS]
        for label in range(len(SUITS))
    }
    templates = ("a playing card of {}", "a card of the suit of {}")
    return [_rough_task("cards", SUITS, templates, drawings, (120, 30, 60), limit)]


def braille(limit: int | None = None) -> list[Experience]:
    """One task: how many dots does a braille cell have?

    A cell of eight places has 254 patterns of one to seven dots, in eight fonts. A *pattern* is in one split only, so
    test patterns are new: 560 train, 140 validation, 280 test pictures. Shifted: `rough`, 280 pictures of the test
    patterns.

    Args:
        limit: at most this many images in each split, balanced over the classes; None keeps all.
    """
    patterns: dict[int, list[Drawing]] = {label: [] for label in range(7)}
    for pattern in range(1, 255):
        patterns[pattern.bit_count() - 1].append((chr(0x2800 + pattern),))
    fonts = (*DEJAVU_SANS, *DEJAVU_SERIF)
    by_font = _glyph("braille")

    def draw(drawing: Drawing, copy: int, rough: bool) -> np.ndarray:
        # Which font a pattern is drawn in depends on the copy; that it is known from another font never happens.
        return by_font((drawing[0], fonts[(ord(str(drawing[0])) + copy) % len(fonts)]), copy, rough)

    templates = ("a braille cell with {} dots", "braille, {} dots")
    return [_rough_task("braille", NUMBERS[1:8], templates, patterns, (80, 20, 40), limit, draw)]


def _rough_task(
    name: str,
    classes: tuple[str, ...],
    templates: tuple[str, ...],
    drawings: Drawings,
    pictures: tuple[int, int, int],
    limit: int | None,
    draw: Draw | None = None,
) -> Experience:
    """A task whose shifted set is another rendering of the test drawings; `pictures` of each class by split."""
    splits = divide(name, drawings)
    train, validation, test = pictures
    return Task(
        name,
        classes,
        templates,
        draw or _glyph(name),
        splits,
        {"rough": splits["test"]},
        {"train": train, "validation": validation, "test": test, "rough": test},
        sources=(__file__,),
    ).experience(limit)


def _glyph(task: str) -> Draw:
    def draw(drawing: Drawing, copy: int, rough: bool) -> np.ndarray:
        text, font = map(str, drawing)
        return draw_glyph(task, text, font, copy, rough=rough, fit=True)

    return draw
