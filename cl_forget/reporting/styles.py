"""One look per method, for every figure in every medium.

The colours were chosen by search so that any two differ clearly (at least 12 units of OKLab distance times
100) with normal sight and under protanopia and deuteranopia, and have a contrast of at least 3:1 to the
ground; the marker repeats the distinction for those who see no colour at all.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

LIGHT = ("#3F5BD6", "#D6761B", "#3AA491", "#885080", "#7A5900", "#319AEF", "#3E1499")
DARK = ("#5769CA", "#D48400", "#44BC99", "#995B7B", "#EBD976", "#6699D3", "#CCBDFD")
NEUTRAL, NEUTRAL_DARK = "#343A42", "#E6E8EB"
SYMBOLS = ("square", "diamond", "triangle-up", "triangle-down", "pentagon", "hexagon", "cross", "x")

# In this order they have the first choice of a look, so that the methods most often compared keep theirs.
WELL_KNOWN = (
    "WiSE-FT", "L2-SP", "LDIFS", "LoRA", "linear probe", "KD", "EWC", "FLOW", "SAM", "LwF", "joint training",
    "ER", "MoFO", "LiNeS", "FLYP", "SI", "MAS", "L1-SP", "DER++", "ZSCL", "KL to base", "low learning rate",
)  # fmt: skip


@dataclass(frozen=True)
class Style:
    """Colour on light and on dark ground ("#rrggbb") and the marker by its plotly name."""

    color: str
    color_dark: str
    symbol: str


def method_styles(
    names: Iterable[str], control: str | None = None, reference: str | None = None
) -> dict[str, Style]:
    """The style of each method, which follows from its name.

    Every name has a look of its own choice, the same in every report and every figure. It gets another one
    only where a method that goes before it (`WELL_KNOWN`, then the alphabet) has taken the colour: up to seven
    methods differ in colour and in marker, up to 56 in the pair of both.

    Args:
        names: the methods compared.
        control: plain fine-tuning, drawn in neutral ink so that the mitigations carry the colour.
        reference: the pre-trained model, a star in neutral ink.
    """
    special = {
        control: Style(NEUTRAL, NEUTRAL_DARK, "circle"),
        reference: Style(NEUTRAL, NEUTRAL_DARK, "star"),
    }
    styles: dict[str, Style] = {}
    taken: set[tuple[int, int]] = set()
    for name in sorted({name for name in names if name not in special}, key=_precedence):
        color, symbol = look = _free(_preferred(name), taken)
        taken.add(look)
        styles[name] = Style(LIGHT[color], DARK[color], SYMBOLS[symbol])
    return styles | {name: style for name, style in special.items() if name is not None}


def _precedence(name: str) -> tuple[int, str, str]:
    rank = WELL_KNOWN.index(name) if name in WELL_KNOWN else len(WELL_KNOWN)
    return rank, name.casefold(), name


def _preferred(name: str) -> tuple[int, int]:
    # 7 colours and 8 markers share no factor, so a number stands for a pair of both.
    number = WELL_KNOWN.index(name) if name in WELL_KNOWN else zlib.crc32(name.encode())
    return number % len(LIGHT), number % len(SYMBOLS)


def _free(wanted: tuple[int, int], taken: set[tuple[int, int]]) -> tuple[int, int]:
    """The look nearest to the wanted one: a colour and a marker nobody has, else a colour, else a pair."""
    looks = [
        ((wanted[0] + c) % len(LIGHT), (wanted[1] + s) % len(SYMBOLS))
        for c, s in product(range(len(LIGHT)), range(len(SYMBOLS)))
    ]
    colors, symbols = ({look[k] for look in taken} for k in (0, 1))
    for good in (
        lambda look: look[0] not in colors and look[1] not in symbols,
        lambda look: look[0] not in colors,
        lambda look: look not in taken,
    ):
        if free := [look for look in looks if good(look)]:
            return free[0]
    return wanted
