"""The tables and the picture of `docs/streams.md`, made from the data itself.

python -m cl_forget.streams.overview docs
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cl_forget.streams import Experience, ImageData, load_stream, load_suite

if TYPE_CHECKING:
    from PIL.Image import Image

STREAMS = (
    *("digits", "clocks", "letters"),
    *("greek", "flags", "dominoes"),
    *("cyrillic", "arrows", "counting"),
    *("georgian", "cards", "dice", "braille", "colours"),
    *("styles", "categories"),
)
SUITES = ("emoji", "emoji-unseen-styles", "emoji-held-out-concepts", "emoji-groups")
KINDS = {"styles": "domain-incremental", "categories": "class-incremental"}
COLUMNS = ("name", "kind", "classes", "train", "validation", "test", "shifted")
TRAIN, TEST = 14, 6  # pictures of a row
SIDE, GAP, MARGIN, LABEL = 48, 4, 16, 330  # pixels: a picture, between two, around, the name column


def table(kind: str) -> str:
    """The Markdown table of the embedded `streams` or `suites`, one row per experience."""
    lines = [COLUMNS, ("---",) * len(COLUMNS)]
    if kind == "streams":
        for name in STREAMS:
            lines += [_row(experience, KINDS.get(name, "one task")) for experience in load_stream(name)]
    else:
        suites = [load_suite(name) for name in SUITES]
        lines += [_row(suite, "probe" if suite.train else "zero-shot") for suite in suites]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _row(experience: Experience, kind: str) -> tuple[str, ...]:
    assert experience.labels is not None
    classes = len(experience.labels.classes)
    own = len(set(experience.train.labels)) if experience.train else classes
    return (
        f"`{experience.name}`",
        kind,
        f"{classes:,}" if own == classes else f"{own} of {classes}",
        f"{len(experience.train):,}" if experience.train else "",
        f"{len(experience.validation):,}",
        f"{len(experience.test):,}",
        ", ".join(f"{name} {len(data):,}" for name, data in experience.shifted.items()),
    )


def picture() -> Image:
    """Every embedded task in a row: training pictures, then shifted (or else test) pictures."""
    from PIL import Image, ImageDraw

    from cl_forget.streams._drawn import load_font

    experiences = [experience for name in STREAMS for experience in load_stream(name)]
    step, font = SIDE + GAP, load_font("DejaVuSans", 18)
    second = LABEL + TRAIN * step + MARGIN  # where the shifted pictures begin
    page = Image.new("RGB", (second + TEST * step + MARGIN, (len(experiences) + 1) * step + MARGIN), "white")
    draw = ImageDraw.Draw(page)
    draw.text((LABEL, MARGIN), "train", "black", font)
    draw.text((second, MARGIN), "shifted, or test", "black", font)
    for number, experience in enumerate(experiences, start=1):
        top = number * step
        draw.text((MARGIN, top + SIDE // 4), experience.name, "black", font)
        last = next(iter(experience.shifted.values()), experience.test)
        for data, left, count in ((experience.train, LABEL, TRAIN), (last, second, TEST)):
            assert isinstance(data, ImageData)
            for place in range(count):
                sample = data.image(place * (len(data) - 1) // (count - 1))
                page.paste(sample.resize((SIDE, SIDE), Image.Resampling.LANCZOS), (left + place * step, top))
    return page


def main(docs: Path) -> None:
    """Write the tables into `streams.md` of a folder and the picture into its `images` folder."""
    page = docs / "streams.md"
    text = page.read_text()
    for kind in ("streams", "suites"):
        marked = f"<!-- {kind} -->\n{table(kind)}\n<!-- end of {kind} -->"
        text = re.sub(f"<!-- {kind} -->.*?<!-- end of {kind} -->", marked, text, flags=re.DOTALL)
    page.write_text(text)
    picture().quantize(256).save(docs / "images" / "streams.png", optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
