"""One look per method, for every figure in every medium.

The colours were chosen by search so that any two differ clearly (at least 12 units of OKLab distance times
100) with normal sight and under protanopia and deuteranopia, and have a contrast of at least 3:1 to the
ground; the marker repeats the distinction for those who see no colour at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

LIGHT = ("#3F5BD6", "#D6761B", "#3AA491", "#885080", "#7A5900", "#319AEF", "#3E1499")
DARK = ("#5769CA", "#D48400", "#44BC99", "#995B7B", "#EBD976", "#6699D3", "#CCBDFD")
NEUTRAL, NEUTRAL_DARK = "#343A42", "#E6E8EB"
SYMBOLS = ("square", "diamond", "triangle-up", "triangle-down", "pentagon", "hexagon", "cross", "x")


@dataclass(frozen=True)
class Style:
    """Colour on light and on dark ground ("#rrggbb") and the marker by its plotly name."""

    color: str
    color_dark: str
    symbol: str


def method_styles(
    names: Iterable[str], control: str | None = None, reference: str | None = None
) -> dict[str, Style]:
    """The style of each method: the same set of names always gets the same styles, whatever its order.

    Args:
        names: the methods compared.
        control: plain fine-tuning, drawn in neutral ink so that the mitigations carry the colour.
        reference: the pre-trained model, a star in neutral ink.
    """
    styles = {}
    special = {
        control: Style(NEUTRAL, NEUTRAL_DARK, "circle"),
        reference: Style(NEUTRAL, NEUTRAL_DARK, "star"),
    }
    coloured = sorted(
        {name for name in names if name not in special}, key=lambda name: (name.casefold(), name)
    )
    for k, name in enumerate(coloured):
        # 7 colours and 8 markers share no factor: the pair repeats only after 56 methods.
        styles[name] = Style(LIGHT[k % len(LIGHT)], DARK[k % len(DARK)], SYMBOLS[k % len(SYMBOLS)])
    return styles | {name: style for name, style in special.items() if name is not None}
