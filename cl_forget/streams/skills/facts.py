"""Tables of facts: capitals, chemical elements, opposites, and emoji with their names."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.resources import files

from cl_forget.streams._choose import shuffled

EMOJI = 100  # how many of them are taught
_GROUPS = {"animals-nature", "food-drink", "travel-places", "objects", "activities"}


@cache
def tables() -> dict[str, list[tuple[str, str]]]:
    """ "capitals", "elements" and "opposites" as pairs."""
    text = files("cl_forget.streams.skills").joinpath("facts.json").read_text()
    return {name: [(left, right) for left, right in pairs] for name, pairs in json.loads(text).items()}


@cache
def emoji() -> list[tuple[str, str]]:
    """(character, name) of the emoji that are taught: those with a name of one short word."""
    concepts = json.loads(
        files("cl_forget.streams.emoji").joinpath("data", "concepts.json").read_text(encoding="utf-8")
    )
    short = [
        (chr(int(concept["code_points"], 16)), concept["name"])
        for concept in concepts
        if concept["group"] in _GROUPS
        and re.fullmatch("[a-z]{3,10}", concept["name"])
        and re.fullmatch("[0-9a-f]+", concept["code_points"])
    ]
    return shuffled(short, "emoji facts")[:EMOJI]
