"""Printed letters of other alphabets, in the fonts that matplotlib ships."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cl_forget.streams._drawn import (
    DEJAVU_MONO,
    DEJAVU_SANS,
    DEJAVU_SERIF,
    STIX,
    Drawing,
    Task,
    divide,
    draw_glyph,
)
from cl_forget.streams.base import Experience

if TYPE_CHECKING:
    import numpy as np

GREEK = {
    "alpha": "Αα",
    "beta": "Ββ",
    "gamma": "Γγ",
    "delta": "Δδ",
    "epsilon": "Εε",
    "zeta": "Ζζ",
    "eta": "Ηη",
    "theta": "Θθ",
    "iota": "Ιι",
    "kappa": "Κκ",
    "lambda": "Λλ",
    "mu": "Μμ",
    "nu": "Νν",
    "xi": "Ξξ",
    "omicron": "Οο",
    "pi": "Ππ",
    "rho": "Ρρ",
    "sigma": "Σσ",
    "tau": "Ττ",
    "upsilon": "Υυ",
    "phi": "Φφ",
    "chi": "Χχ",
    "psi": "Ψψ",
    "omega": "Ωω",
}
#: Sounds as English transcribes them; the two signs and "short i" by their names.
CYRILLIC = dict(
    zip(
        (
            *("a", "be", "ve", "ge", "de", "ye", "zhe", "ze", "i", "short i", "ka", "el", "em", "en", "o"),
            *("pe", "er", "es", "te", "u", "ef", "kha", "tse", "che", "sha", "shcha", "hard sign", "yery"),
            *("soft sign", "e", "yu", "ya"),
        ),
        (chr(code) + chr(code + 32) for code in range(ord("А"), ord("Я") + 1)),
        strict=True,
    )
)
GEORGIAN = dict(
    zip(
        (
            *("an", "ban", "gan", "don", "en", "vin", "zen", "tan", "in", "k'an", "las", "man", "nar", "on"),
            *(
                "p'ar",
                "zhar",
                "rae",
                "san",
                "t'ar",
                "un",
                "par",
                "kan",
                "ghan",
                "q'ar",
                "shin",
                "chin",
                "tsan",
            ),
            *("dzil", "ts'il", "ch'ar", "khan", "jhan", "hae"),
        ),
        (chr(code) for code in range(ord("ა"), ord("ჰ") + 1)),
        strict=True,
    )
)
LATIN_FONTS = (*DEJAVU_SANS, *DEJAVU_MONO, *DEJAVU_SERIF)


def greek(limit: int | None = None) -> list[Experience]:
    """One task: the 24 Greek letters, upper and lower case alike, dark on white at 32 x 32.

    A glyph (a letter, a case and a font) is in one split only; each letter has 24 of them in the twelve DejaVu fonts:
    15 are trained on, 3 validate and 6 test. Glyphs are shown in several copies, at slightly different fixed sizes,
    places, angles and shades: 720 train, 144 validation, 288 test. Shifted: `unseen-fonts`, 384 pictures in the four
    STIX fonts, which no other split contains.

    Args:
        limit: at most this many images in each split, balanced over the classes; None keeps all.
    """
    pictures = {"train": 30, "validation": 6, "test": 12, "unseen-fonts": 16}
    return [_alphabet("greek", GREEK, "Greek", LATIN_FONTS, STIX, pictures).experience(limit)]


def cyrillic(limit: int | None = None) -> list[Experience]:
    """One task: 32 Cyrillic letters of the Russian alphabet, upper and lower case alike.

    As `greek`: 960 train, 192 validation, 384 test; `unseen-fonts` (STIX), 512 pictures.

    Args:
        limit: at most this many images in each split, balanced over the classes; None keeps all.
    """
    pictures = {"train": 30, "validation": 6, "test": 12, "unseen-fonts": 16}
    return [_alphabet("cyrillic", CYRILLIC, "Cyrillic", LATIN_FONTS, STIX, pictures).experience(limit)]


def georgian(limit: int | None = None) -> list[Experience]:
    """One task: the 33 Georgian letters, which have no cases.

    As `greek`, in the eight DejaVu fonts without serifs: 825 train, 132 validation, 264 test; `unseen-fonts` (DejaVu
    Serif), 396 pictures.

    Args:
        limit: at most this many images in each split, balanced over the classes; None keeps all.
    """
    seen = (*DEJAVU_SANS, *DEJAVU_MONO)
    pictures = {"train": 25, "validation": 4, "test": 8, "unseen-fonts": 12}
    return [_alphabet("georgian", GEORGIAN, "Georgian", seen, DEJAVU_SERIF, pictures).experience(limit)]


def _alphabet(
    name: str,
    letters: dict[str, str],
    language: str,
    seen: tuple[str, ...],
    unseen: tuple[str, ...],
    pictures: dict[str, int],
) -> Task:
    """A task of letters; `letters` maps a name to its glyphs, one per case."""

    def glyphs(fonts: tuple[str, ...]) -> dict[int, list[Drawing]]:
        return {
            label: [(glyph, font) for glyph in cases for font in fonts]
            for label, cases in enumerate(letters.values())
        }

    def draw(drawing: Drawing, copy: int, rough: bool) -> np.ndarray:
        glyph, font = map(str, drawing)
        return draw_glyph(name, glyph, font, copy, rough=rough)

    return Task(
        name,
        tuple(letters),
        (f"the {language} letter {{}}", f"a printed {language} letter {{}}", f"{{}}, a {language} letter"),
        draw,
        divide(name, glyphs(seen)),
        {"unseen-fonts": glyphs(unseen)},
        pictures,
        sources=(__file__,),
    )
