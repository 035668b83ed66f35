"""The embedded emoji world: about 1,700 named concepts drawn in nine styles at 32 x 32 pixels, with fixed
splits.

`load()` gives everything as tensors; nothing is downloaded. How the files are made is in `build.py`;
licences and attribution lie beside each family's sheet in `data/`.
"""

import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cl_forget.ground.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["SEEN_STYLES", "UNSEEN_STYLES", "Concept", "EmojiSet", "load"]

DATA = Path(__file__).parent / "data"

#: Styles that pre-training sees.
SEEN_STYLES = ("noto", "noto-v1", "twemoji", "openmoji", "fluent-emoji-flat", "emojione", "emojione-v1")
#: Styles kept for testing: a 3-D look and a black-and-white line look.
UNSEEN_STYLES = ("fluent-emoji", "fluent-emoji-high-contrast")


@dataclass(frozen=True)
class Concept:
    """What an emoji shows, independent of how it is drawn.

    Attributes:
        slug: unique lower-case identifier, such as "red-heart".
        name: the English name a person would use, such as "red heart" (Unicode CLDR).
        keywords: other words people search it by.
        group: one of the nine Unicode groups, such as "animals-nature".
        subgroup: the finer Unicode group, such as "animal-bird".
        code_points: hexadecimal code points joined by "-".
        clock_face: whether this is one of the 24 clock faces.
        country_flag: whether this is one of the 91 flags of countries.
        held_out: whether pre-training never sees it (clock faces, flags of countries, and about 100 others).
    """

    slug: str
    name: str
    keywords: tuple[str, ...]
    group: str
    subgroup: str
    code_points: str
    clock_face: bool
    country_flag: bool
    held_out: bool


@dataclass(frozen=True, eq=False)
class EmojiSet:
    """All pictures, with four boolean masks that divide them: each picture is in exactly one of the four.

    Attributes:
        images: (N, 4, 32, 32) uint8, straight RGBA.
        concept: (N,) int64, index into `concepts`.
        style: (N,) int64, index into `styles`.
        concepts: all concepts, in Unicode order.
        styles: style names, seen styles first.
        pretrain: (N,) bool, what pre-training may see.
        held_out_pair: (N,) bool, a seen concept in a seen style, but this drawing kept for testing.
        held_out_concept: (N,) bool, every drawing of a held-out concept, in any style.
        unseen_style: (N,) bool, a seen concept in an unseen style.
    """

    images: "Tensor"
    concept: "Tensor"
    style: "Tensor"
    concepts: list[Concept]
    styles: list[str]
    pretrain: "Tensor"
    held_out_pair: "Tensor"
    held_out_concept: "Tensor"
    unseen_style: "Tensor"

    def __len__(self) -> int:
        return len(self.images)

    def on_background(self, rgb: tuple[int, int, int] = (255, 255, 255)) -> "Tensor":
        """The pictures laid on one colour.

        Args:
            rgb: background colour, 0-255 per channel.

        Returns:
            (N, 3, 32, 32) uint8.
        """
        import numpy as np
        import torch

        # (t + t >> 8) >> 8 with t = x + 128 is x / 255 rounded to nearest, and all of it fits 16 bits.
        alpha = self.images[:, 3:].numpy().astype(np.uint16)
        background = np.array(rgb, dtype=np.uint16).reshape(1, 3, 1, 1)
        blend = self.images[:, :3].numpy() * alpha
        blend += background * (255 - alpha)
        blend += 128
        blend += blend >> 8
        blend >>= 8
        return torch.from_numpy(blend.astype(np.uint8))

    def in_style(self, style: str) -> "Tensor":
        """(N,) bool, the pictures of one style; `UserError` when there is no such style."""
        if style not in self.styles:
            raise UserError(f"no emoji style {style!r}: choose one of {', '.join(self.styles)}")
        return self.style == self.styles.index(style)


def _read(name: str, checksums: dict[str, str] | None = None) -> bytes:
    cure = "install cl_forget again, or rebuild it: python -m cl_forget.streams.emoji.build --output FOLDER"
    try:
        content = (DATA / name).read_bytes()
    except OSError as error:
        raise UserError(f"emoji data file {DATA / name} cannot be read ({error.strerror}): {cure}") from None
    if checksums is not None and hashlib.sha256(content).hexdigest() != checksums[name]:
        raise UserError(
            f"emoji data file {DATA / name} is damaged (its sha256 sum is not the recorded one): {cure}"
        )
    return content


def _read_sheet(style: str, checksums: dict[str, str]) -> tuple["Tensor", list[str]]:
    """Pictures (n, 4, 32, 32) of one family and the concept slug of each."""
    import torch
    from torchvision.io import ImageReadMode, decode_png

    index = json.loads(_read(f"{style}.json", checksums))
    encoded = torch.frombuffer(bytearray(_read(f"{style}.png", checksums)), dtype=torch.uint8)
    side, columns, slugs = index["side"], index["columns"], index["concepts"]
    sheet = decode_png(encoded, ImageReadMode.RGB_ALPHA)  # (4, rows * side, columns * side)
    tiles = sheet.view(4, -1, side, columns, side).permute(1, 3, 0, 2, 4).reshape(-1, 4, side, side)
    return tiles[: len(slugs)], slugs


@functools.cache
def load() -> EmojiSet:
    """Read the embedded emoji pictures, checked against their recorded sha256 sums.

    The result is shared between callers: do not change its tensors in place.

    Raises:
        UserError: when a data file is missing or damaged.
    """
    import torch

    try:
        checksums = json.loads(_read("checksums.json"))
    except ValueError:
        raise UserError(
            f"emoji data file {DATA / 'checksums.json'} is damaged: install cl_forget again"
        ) from None
    splits = json.loads(_read("splits.json", checksums))
    held_out, clocks = set(splits["held_out_concepts"]), set(splits["clock_faces"])
    flags = set(splits["country_flags"])
    concepts = [
        Concept(
            **(entry | {"keywords": tuple(entry["keywords"])}),
            clock_face=entry["slug"] in clocks,
            country_flag=entry["slug"] in flags,
            held_out=entry["slug"] in held_out,
        )
        for entry in json.loads(_read("concepts.json", checksums))
    ]
    number = {concept.slug: index for index, concept in enumerate(concepts)}
    styles = [*SEEN_STYLES, *UNSEEN_STYLES]
    images, concept, style, held_out_pair = [], [], [], []
    for index, name in enumerate(styles):
        pictures, slugs = _read_sheet(name, checksums)
        pairs = set(splits["held_out_pairs"].get(name, ()))
        images.append(pictures)
        concept += [number[slug] for slug in slugs]
        style += [index] * len(slugs)
        held_out_pair += [slug in pairs for slug in slugs]
    concept_index, style_index, pair = torch.tensor(concept), torch.tensor(style), torch.tensor(held_out_pair)
    held_out_concept = torch.tensor([entry.held_out for entry in concepts])[concept_index]
    unseen_style = (style_index >= len(SEEN_STYLES)) & ~held_out_concept
    return EmojiSet(
        images=torch.cat(images),
        concept=concept_index,
        style=style_index,
        concepts=concepts,
        styles=styles,
        pretrain=~(held_out_concept | unseen_style | pair),
        held_out_pair=pair,
        held_out_concept=held_out_concept,
        unseen_style=unseen_style,
    )
