"""A specialised task: sentences about an emoji become records of fixed form."""

from __future__ import annotations

import json
import re
from importlib.resources import files

from cl_forget.streams._choose import chance, shuffled
from cl_forget.streams.base import Experience
from cl_forget.streams.skills.base import SPLITS, split_of, text_data
from cl_forget.streams.text import text_experience

_PHRASINGS = (
    "There is a picture called {name}. It is filed under {group}, next to {subgroup}. People find it with the words "
    "{words}.",
    "People look for {words} and find the picture {name}, which is kept in {group} under {subgroup}.",
    "In {group}, under {subgroup}, we keep a picture. Its name is {name} and its key words are {words}.",
)


def records(train: int = 800, validation: int = 60, test: int = 60) -> list[Experience]:
    """Extraction: a sentence about an emoji becomes "name | group | subgroup | key; words".

    Args:
        train: number of training items, at most.
        validation: number of validation items, at most.
        test: number of test items, at most.
    """
    path = files("cl_forget.streams.emoji").joinpath("data", "concepts.json")
    items: dict[str, list[tuple[str, str]]] = {split: [] for split in SPLITS}
    for concept in json.loads(path.read_text(encoding="utf-8")):
        words = [word for word in concept["keywords"] if word != concept["name"]][:3]
        if len(words) < 2 or not re.fullmatch("[a-z -]{3,24}", concept["name"]):
            continue
        fields = {key: concept[key].replace("-", " ") for key in ("name", "group", "subgroup")}
        listed = f"{', '.join(words[:-1])} and {words[-1]}"
        phrasing = _PHRASINGS[int(chance("records", concept["slug"]) * len(_PHRASINGS))]
        record = " | ".join([*fields.values(), "; ".join(words)])
        items[split_of("records", concept["slug"])].append((phrasing.format(**fields, words=listed), record))
    sizes = {"train": train, "validation": validation, "test": test}
    data = {split: text_data(shuffled(items[split], "records")[: sizes[split]]) for split in SPLITS}
    return [text_experience("records", data["train"], data["validation"], data["test"])]
