"""One look per method, for every figure in every medium.

The colours were chosen by search so that any two differ clearly (at least 12 units of OKLab distance times
100) with normal sight and under protanopia and deuteranopia, and have a contrast of at least 3:1 to the
ground; there are no more than seven such. The marker tells those apart that share one, and repeats the distinction
for those who see no colour at all.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

LIGHT = ("#3F5BD6", "#D6761B", "#3AA491", "#885080", "#7A5900", "#319AEF", "#3E1499")
DARK = ("#5769CA", "#D48400", "#44BC99", "#995B7B", "#EBD976", "#6699D3", "#CCBDFD")
NEUTRAL, NEUTRAL_DARK = "#343A42", "#E6E8EB"
SYMBOLS = (
    "square", "diamond", "triangle-up", "triangle-down", "pentagon", "hexagon", "cross", "x", "bowtie",
    "hourglass", "triangle-left", "triangle-right", "hexagram",
)  # fmt: skip
LOOKS = len(LIGHT) * len(SYMBOLS)
KEPT = 64
"""Looks for the methods of this package, those to come included: a new method moves no look of another arm."""

REGISTERED = (
    "wise_ft", "l2_sp", "ldifs", "lora", "linear_probe", "kd", "ewc", "flow", "sam", "lwf", "joint", "er", "mofo",
    "lines", "flyp", "si", "mas", "l1_sp", "derpp", "zscl", "kl_to_base", "low_lr", "lp_ft", "early_stopping",
    "fewer_steps", "freeze", "frozen_trunk", "layer_decay", "lora_null", "o_lora", "eaft", "stm", "talr", "dft",
    "asft", "lfl", "flyp_ce", "asam", "ema", "looksam", "star", "model_soup", "task_arithmetic", "magmax", "ties",
    "dare", "model_stock", "hma", "restart", "batch_norm", "avalanche", "class_means", "ridge_head",
    "osf", "clora", "weight_decay", "fda", "opcm", "self_sft", "sdft", "intruder_reduction",
)  # fmt: skip
"""The methods of this package. A place in this list is a look for good: a new method goes to its end."""

ALIASES = {
    "joint training": "joint", "der++": "derpp", "experience replay": "er", "low learning rate": "low_lr",
    "layer-wise learning-rate decay": "layer_decay", "frozen blocks": "freeze", "kd (squared logits)": "kd",
    "batchnorm re-estimation": "batch_norm",
}  # fmt: skip
"""What methods are called elsewhere -> their names, where these are not the same letters."""


@dataclass(frozen=True)
class Style:
    """Colour on light and on dark ground ("#rrggbb") and the marker by its plotly name."""

    color: str
    color_dark: str
    symbol: str


def method_styles(
    names: Iterable[str], control: str | None = None, reference: str | None = None
) -> dict[str, Style]:
    """The style of each method, which follows from its name and from nothing else in the report.

    A method of this package has a pair of colour and marker of its own, so that no two of them are ever drawn alike.
    Other arms (several methods together, another setting, a method from elsewhere) have one that no method of this
    package has, found from their name; should two of them in one report meet on the same, the one later in the
    alphabet takes the next.

    Args:
        names: the methods compared.
        control: plain fine-tuning, drawn in neutral ink so that the mitigations carry the colour.
        reference: the pre-trained model, a star in neutral ink.
    """
    special = {
        control: Style(NEUTRAL, NEUTRAL_DARK, "circle"),
        reference: Style(NEUTRAL, NEUTRAL_DARK, "star"),
    }
    taken: set[int] = set()
    places: dict[str, int] = {}
    arms = sorted({name for name in names if name not in special}, key=lambda name: (name.casefold(), name))
    for name in arms:
        known = registered(name)
        if known is not None and (place := REGISTERED.index(known)) not in taken:
            places[name] = place
            taken.add(place)
    for name in arms:
        if name not in places:
            place = _other_place(name)
            while place in taken and len(taken) < LOOKS:
                place = (place + 1) % LOOKS
            places[name] = place
            taken.add(place)
    styles = {name: _style(place) for name, place in places.items()}
    return styles | {name: style for name, style in special.items() if name is not None}


def registered(name: str) -> str | None:
    """The method of this package that an arm of this name is; None for any other arm."""
    return _BY_LETTERS.get(_letters(ALIASES.get(name.casefold(), name)))


def _other_place(name: str) -> int:
    """Of an arm that is no method of this package: one that none of these has."""
    # The parts of a composed arm by their registered names: "ldifs + wise_ft" looks as "LDIFS + WiSE-FT" does.
    parts = [registered(part.strip()) or part.strip() for part in name.split(" + ")]
    return KEPT + zlib.crc32("+".join(parts).encode()) % (LOOKS - KEPT)


def _style(place: int) -> Style:
    # 7 colours and 13 markers share no factor, so a number below 91 stands for a pair of both.
    return Style(LIGHT[place % len(LIGHT)], DARK[place % len(DARK)], SYMBOLS[place % len(SYMBOLS)])


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", name.casefold())


_BY_LETTERS = {_letters(name): name for name in REGISTERED}
