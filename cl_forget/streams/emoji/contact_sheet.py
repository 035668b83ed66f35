"""The picture of the emoji world in the documentation.

python -m cl_forget.streams.emoji.contact_sheet docs/images/emoji-contact-sheet.png
"""

import sys

import torch
from PIL import Image, ImageDraw, ImageFont

from cl_forget.streams.emoji import UNSEEN_STYLES, EmojiSet, load

_ZOOM, _CELL, _MARGIN, _TOP = 2, 76, 250, 70
_PRETRAIN, _HELD_OUT, _UNSEEN = "#ffffff", "#ffd9a8", "#cfe3ff"


def _rows(data: EmojiSet, per_group: int) -> list[int]:
    """Concepts to show: some of each group, the most often drawn first, among them held-out pairs, and two
    held-out concepts."""
    drawings = torch.bincount(data.concept, minlength=len(data.concepts))
    in_pair = torch.zeros(len(data.concepts), dtype=torch.bool)
    in_pair[data.concept[data.held_out_pair]] = True
    rows = []
    for group in dict.fromkeys(concept.group for concept in data.concepts):
        members = [
            index
            for index, concept in enumerate(data.concepts)
            if concept.group == group and not concept.held_out
        ]
        often = [index for index in members if drawings[index] >= drawings[members].max()]
        often = [index for index in often if in_pair[index]] or often
        rows += often[:: max(1, len(often) // per_group)][:per_group]
    clocks = [
        index for index, concept in enumerate(data.concepts) if concept.clock_face and drawings[index] == 9
    ]
    others = [
        index for index, concept in enumerate(data.concepts) if concept.held_out and not concept.clock_face
    ]
    others = [index for index in others if drawings[index] == 9]
    return rows + clocks[:1] + others[:1]


def draw(data: EmojiSet, per_group: int = 3) -> Image.Image:
    """A table of concepts (rows) by styles (columns); the cell colour tells the split."""
    rows = _rows(data, per_group)
    size = (_MARGIN + _CELL * len(data.styles), _TOP + _CELL * len(rows) + 34)
    page = Image.new("RGB", size, "white")
    pen, font, small = ImageDraw.Draw(page), ImageFont.load_default(15), ImageFont.load_default(11)
    for column, style in enumerate(data.styles):
        label = style.replace("fluent-emoji", "fluent").replace("-", "\n")
        if style == UNSEEN_STYLES[0]:
            label = "fluent\n(3-D)"
        pen.multiline_text(
            (_MARGIN + _CELL * (column + 0.5), _TOP - 8), label, "black", small, anchor="md", align="center"
        )
    for row, concept in enumerate(rows):
        y = _TOP + row * _CELL
        pen.text((_MARGIN - 10, y + _CELL / 2), data.concepts[concept].name, "black", font, anchor="rm")
        for index in (data.concept == concept).nonzero().flatten().tolist():
            x = _MARGIN + int(data.style[index]) * _CELL
            held_out = data.held_out_pair[index] or data.held_out_concept[index]
            colour = _HELD_OUT if held_out else _UNSEEN if data.unseen_style[index] else _PRETRAIN
            pen.rectangle((x, y, x + _CELL - 2, y + _CELL - 2), fill=colour)
            picture = Image.fromarray(data.images[index].permute(1, 2, 0).numpy())
            picture = picture.resize((32 * _ZOOM, 32 * _ZOOM), Image.Resampling.NEAREST)
            page.paste(picture, (x + 5, y + 5), picture)
    x = _MARGIN
    for colour, meaning in (
        (_PRETRAIN, "pre-training"),
        (_HELD_OUT, "held-out pair or concept"),
        (_UNSEEN, "unseen style"),
    ):
        pen.rectangle((x, size[1] - 26, x + 16, size[1] - 10), fill=colour, outline="black")
        pen.text((x + 24, size[1] - 18), meaning, "black", font, anchor="lm")
        x += 230
    return page


if __name__ == "__main__":
    draw(load()).save(sys.argv[1], optimize=True)
