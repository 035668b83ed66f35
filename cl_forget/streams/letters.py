"""Printed letters in the fonts that matplotlib ships."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cl_forget.streams import _drawn
from cl_forget.streams._choose import balanced, shuffled
from cl_forget.streams._drawn import DEJAVU_MONO, DEJAVU_SANS, DEJAVU_SERIF, STIX, draw_glyph
from cl_forget.streams._kept import kept
from cl_forget.streams.base import Experience, ImageData, LabelSpace

if TYPE_CHECKING:
    import numpy as np

SEEN_FONTS = (*DEJAVU_SANS, *DEJAVU_MONO, *DEJAVU_SERIF, *STIX)
#: Knuth's Computer Modern: roman, bold, italic, mathematical italic, sans serif, typewriter.
UNSEEN_FONTS = ("cmr10", "cmb10", "cmti10", "cmmi10", "cmss10", "cmtt10")
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
TEMPLATES = ("the letter {}", "a printed letter {}", "the letter {} of the alphabet")
VALIDATION_FONTS, TEST_FONTS = 2, 4  # of the 16 seen fonts, chosen anew for each glyph
COPIES = 2  # jittered pictures of each glyph


def letters(limit: int | None = None) -> list[Experience]:
    """One task: the 26 letters, upper and lower case alike, in 22 fonts, dark on white at 32 x 32.

    A glyph (a letter, a case and a font) is in one split only: each of the 52 upper and lower case letters is
    trained on in 10 of the 16 seen fonts (DejaVu Sans, Mono and Serif, STIX), validated in 2 others and
    tested in the remaining 4; which ones changes from letter to letter. Every glyph is drawn twice, at
    slightly different fixed sizes, places, angles and shades: 1,040 train, 208 validation, 416 test. Shifted:
    `unseen-fonts`, 624 images of six fonts of the Computer Modern family, which no other split contains.

    Args:
        limit: at most this many images in each split, balanced over the classes; None keeps all.
    """
    train, validation, test, unseen = [], [], [], []
    for letter in ALPHABET + ALPHABET.lower():
        fonts = shuffled(SEEN_FONTS, "letters", letter)
        validation += [(letter, font) for font in fonts[:VALIDATION_FONTS]]
        test += [(letter, font) for font in fonts[VALIDATION_FONTS:][:TEST_FONTS]]
        train += [(letter, font) for font in fonts[VALIDATION_FONTS + TEST_FONTS :]]
        unseen += [(letter, font) for font in UNSEEN_FONTS]
    return [
        Experience(
            "letters",
            LabelSpace("letters", tuple(ALPHABET), TEMPLATES),
            train=_draw_all(train, limit),
            validation=_draw_all(validation, limit),
            test=_draw_all(test, limit),
            shifted={"unseen-fonts": _draw_all(unseen, limit)},
        )
    ]


def _draw_all(glyphs: list[tuple[str, str]], limit: int | None) -> ImageData:
    import numpy as np

    pictures = [(letter, font, copy) for letter, font in glyphs for copy in range(COPIES)]
    labels = [ALPHABET.index(letter.upper()) for letter, _, _ in pictures]
    shown = balanced(labels, limit, "letters")
    pages = kept(
        lambda: np.stack([_draw(*pictures[i]) for i in shown]),
        *("letters", [pictures[i] for i in shown]),
        sources=(__file__, _drawn.__file__),
    )
    return ImageData([labels[i] for i in shown], array=pages)


def _draw(letter: str, font_name: str, copy: int) -> np.ndarray:
    """(3, 32, 32) uint8: one glyph, with jitter that depends on the three arguments only."""
    return draw_glyph("letters", letter, font_name, copy)
