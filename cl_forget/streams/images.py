"""The one reader of image files: whatever Pillow opens becomes 8-bit RGB that shows what a person would see.

Where a format leaves a choice, the choice is made here, once for all sources, and said: transparency gets a
background it stands out from, the camera's rotation is applied, deep pixels are scaled to 8 bits from a range
that is known, and of several frames the first is taken.
"""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cl_forget.ground.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

SUFFIXES = frozenset(
    {
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".bmp",
        ".dib",
        ".tif",
        ".tiff",
    }
    | {".webp", ".gif", ".jp2", ".j2k", ".avif", ".tga", ".mpo", ".pcx", ".qoi"}
)
"""Endings of the files that are taken for images, in lower case."""

Range = tuple[float, float]
"""The values of a deep image that mean black and white."""

SURVEYED = 64  # images looked at for what is said of a data set that is too large to be read whole
TWELVE_BITS = 4095
ORIENTATION = 0x0112  # the EXIF tag
NEARLY_WHITE = 0.9  # mean brightness above which a transparent picture would vanish on white

DEEP, DIM, ROTATED, TRANSPARENT, FRAMES, CMYK = "deep", "dim", "rotated", "transparent", "frames", "cmyk"
DEEP_COLOUR, DIM_COLOUR = "deep colour", "dim colour"
NOTES = {
    DEEP: "have more than 8 bits per channel: {scale} are read as black to white (`value_range:`)",
    DEEP_COLOUR: "have 16 bits per channel: the upper 8 of them are read",
    ROTATED: "are turned as their EXIF orientation says",
    TRANSPARENT: "have transparency: they are put on white, or on black where the picture is nearly white itself",
    FRAMES: "have several frames or pages: the first is taken",
    CMYK: "are CMYK: converted to RGB without their colour profile",
}


class Picture(NamedTuple):
    """An image as it is used, and what had to be done to it.

    Attributes:
        image: 8-bit RGB.
        done: which of the choices above applied.
    """

    image: Image
    done: frozenset[str]


def read_image(source: Path | bytes | Image, what: str, value_range: Range | None = None) -> Picture:
    """An image as 8-bit RGB.

    Args:
        source: a file, its content, or an image that is open already.
        what: the image, for messages.
        value_range: the values that mean black and white in images of more than 8 bits per channel; None for 0 to
            65,535 of integers and 0 to 1 of fractions.

    Raises:
        UserError: the image cannot be read, or has values outside the range that was assumed for it.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        if isinstance(source, Image.Image):
            return _as_seen(source, what, value_range)
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            return _as_seen(image, what, value_range)
    except UserError:
        raise
    except Exception as error:  # what a damaged file makes Pillow's readers raise has no common kind
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(
            error, UnidentifiedImageError
        ):  # its text is the path once more, or an address in memory
            reason = "it is no image of a format that is known here"
        raise UserError(f"{what} cannot be read ({printable(reason)}): replace or remove it.") from None


def _as_seen(image: Image, what: str, value_range: Range | None) -> Picture:
    done = set()
    if any(";16" in str(tile[3]) for tile in getattr(image, "tile", ())):  # told before the pixels are read
        done.add(DEEP_COLOUR)
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":  # a phone's MPO holds one picture
        done.add(FRAMES)
    turned = _turned(image)
    if turned is not image:
        done.add(ROTATED)
    if turned.mode == "CMYK":
        done.add(CMYK)
    if turned.mode in ("I", "F") or turned.mode.startswith("I;16"):
        done.add(DEEP)
        done.discard(DEEP_COLOUR)
        return Picture(_shallow(turned, what, value_range, done), frozenset(done))
    if turned.has_transparency_data:
        turned = turned.convert("RGBA")  # also where one colour of a palette or of RGB is the transparent one
        if turned.getchannel("A").getextrema() != (255, 255):
            done.add(TRANSPARENT)
            turned = _on_background(turned)
    seen = turned.convert("RGB")
    if DEEP_COLOUR in done and max(most for _, most in seen.getextrema()) <= TWELVE_BITS >> 8:  # type: ignore[misc]
        done.add(DIM_COLOUR)
    return Picture(seen, frozenset(done))


def _turned(image: Image) -> Image:
    """The image as its EXIF orientation says; the very image where it says nothing that can be read."""
    from PIL import ImageOps

    try:
        if image.getexif().get(ORIENTATION, 1) in (1, None):
            return image
    except Exception:  # damaged EXIF data fail in many ways, and the pixels are still good
        return image
    return ImageOps.exif_transpose(image)


def _on_background(image: Image) -> Image:
    """An RGBA image on white, or on black where what it shows is nearly white."""
    import numpy as np
    from PIL import Image

    pixels = np.asarray(image, dtype=np.float32) / 255
    weight = pixels[..., 3]
    brightness = (pixels[..., :3].mean(-1) * weight).sum() / max(float(weight.sum()), 1e-6)
    colour = "black" if brightness > NEARLY_WHITE else "white"
    return Image.alpha_composite(Image.new("RGBA", image.size, colour), image)


def _shallow(image: Image, what: str, value_range: Range | None, done: set[str]) -> Image:
    """A deep greyscale image at 8 bits."""
    import numpy as np
    from PIL import Image

    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise UserError(f"{what} holds values that are not finite: replace or remove it.")
    low, high = value_range or default_range(image.mode)
    least, most = float(values.min()), float(values.max())
    if value_range is None and (least < low or most > high):
        raise UserError(
            f"{what} holds values from {least:g} to {most:g}: set the option `value_range: [black, white]`, "
            "the same for all images."
        )
    if image.mode != "F" and value_range is None and most <= TWELVE_BITS:
        done.add(DIM)
    scaled: np.ndarray = np.clip((values - low) / (high - low), 0, 1) * 255
    return Image.fromarray(np.rint(scaled).astype(np.uint8)).convert("RGB")


def default_range(mode: str) -> Range:
    """What black and white are in a deep image of Pillow's `mode` unless the user says otherwise."""
    return (0.0, 1.0) if mode == "F" else (0.0, 65535.0)


def check_range(what: str, value_range: Range | None) -> None:
    """Refuse a range that is none."""
    if value_range is None:
        return
    black, white = value_range
    if not (math.isfinite(black) and math.isfinite(white)) or black == white:
        raise UserError(
            f"{what}: value_range is the value of black and another one of white, not {list(value_range)}."
        )


class Survey:
    """What has to be said of the images of a data set, split by split.

    Args:
        what: the data set, for messages.
        value_range: as given by the user.
    """

    def __init__(self, what: str, value_range: Range | None = None) -> None:
        self._what, self._range = what, value_range
        self._counts: dict[str, Counter[str]] = {}
        self._of: dict[str, str] = {}

    def look(self, split: str, pictures: Iterable[Picture], total: int) -> None:
        """Look at all pictures of a split, or at some of its `total`."""
        count, looked = Counter[str](), 0
        for picture in pictures:
            count.update(picture.done)
            looked += 1
        self._counts[split] = count
        self._of[split] = f"of {looked:,} images{' looked at' if looked < total else ''} in {split}"

    def notes(self) -> list[str]:
        """One sentence for each thing that was done to images.

        Raises:
            UserError: all deep pictures end at 12 bits, so that they would be nearly black.
        """
        every = sum(self._counts.values(), Counter[str]())
        if every[DEEP] and every[DEEP] == every[DIM]:
            raise UserError(
                f"{self._what}: images of 16 bits hold no value above {TWELVE_BITS:,}, so they would be nearly "
                "black; set the option `value_range: [black, white]`, such as [0, 4095]."
            )
        if every[DEEP_COLOUR] and every[DEEP_COLOUR] == every[DIM_COLOUR]:
            raise UserError(
                f"{self._what}: colour images of 16 bits hold no value above {TWELVE_BITS:,}, so they would be "
                "nearly black; scale them to all 16 bits, or to 8."
            )
        low, high = self._range or (0, 0)
        scale = f"{low:g} to {high:g}" if self._range else "0 to 65,535, and 0 to 1 of fractions,"
        return [
            f"{self._where(fact)} {text.format(scale=scale)}" for fact, text in NOTES.items() if every[fact]
        ]

    def _where(self, fact: str) -> str:
        found = {split: count[fact] for split, count in self._counts.items() if count[fact]}
        return ", ".join(f"{count:,} {self._of[split]}" for split, count in found.items())


def sampled(total: int) -> list[int]:
    """Positions of at most `SURVEYED` of `total` samples, evenly spread."""
    count = min(total, SURVEYED)
    return [step * total // count for step in range(count)]


def printable(text: str | Path) -> str:
    """A name as it can be printed and written anywhere: bytes that are not UTF-8 become question marks."""
    return str(text).encode("utf-8", "replace").decode()
