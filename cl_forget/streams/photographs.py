"""A few real photographs of ImageNet's classes that packages ship, for models that were pre-trained on it."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from cl_forget.ground.errors import UserError
from cl_forget.streams.base import Experience, ImageData, LabelSpace

if TYPE_CHECKING:
    from PIL.Image import Image

# Package, file in it, and what it shows, as WordNet names it.
PHOTOGRAPHS = (
    ("sklearn", "datasets/images/china.jpg", "n03877845"),  # a palace
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg", "n03763968"),  # a military uniform
    ("skimage", "data/chelsea.png", "n02123045"),  # a tabby cat
    ("skimage", "data/coffee.png", "n07920052"),  # an espresso
    ("skimage", "data/rocket.jpg", "n03773504"),  # a missile
    ("skimage", "data/camera.png", "n04485082"),  # a tripod
)
SHARES = {"validation": (0.95, 0.8), "test": (1.0, 0.9, 0.85)}  # of the shorter side that a view shows
CORNERS = (
    (0.5, 0.5),
    (0.0, 0.5),
    (1.0, 0.5),
    (0.5, 0.0),
    (0.5, 1.0),
)  # where it lies: middle, left, right, top, bottom
LARGEST = 320  # pixels of a view's side, at most


def photographs() -> Experience:
    """Which of ImageNet's 1,000 classes is it? Up to six photographs, in many views.

    They are what scikit-learn, matplotlib and, where it is installed, scikit-image ship and ImageNet has a class for:
    a palace, a military uniform, a tabby cat, an espresso, a rocket, a camera on a tripod. Each is shown mirrored and
    not, whole and cut; validation and test show other cuts of the same photographs. It says whether a model of
    ImageNet still knows what it knew, not how well it knows ImageNet.

    Raises:
        UserError: none of the packages ships its photographs.
    """
    classes, ids = _imagenet()
    found = [
        (file, ids.index(wordnet))
        for package, name, wordnet in PHOTOGRAPHS
        if (file := file_of(package, name))
    ]
    if not found:
        raise UserError("no photographs are found: they come with scikit-learn, matplotlib and scikit-image.")
    missing = len(PHOTOGRAPHS) - len(found)
    note = (
        f"{missing} of {len(PHOTOGRAPHS)} photographs are missing: pip install scikit-image, which ships them"
    )
    return Experience(
        "photographs",
        LabelSpace("imagenet", classes),
        train=None,
        validation=_views(found, "validation"),
        test=_views(found, "test"),
        notes=(note,) if missing else (),
    )


def _imagenet() -> tuple[tuple[str, ...], list[str]]:
    """A name for each class, the line of its synset or its id where two have the same, and all ids."""
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    ids = list(info.label_names())
    lines = [info.label_name_to_description(own) for own in ids]
    twice = {line for line, count in Counter(lines).items() if count > 1}
    return tuple(own if line in twice else line for own, line in zip(ids, lines, strict=True)), ids


def file_of(package: str, name: str) -> Path | None:
    """A file that an installed package ships; None where there is none."""
    found = importlib.util.find_spec(package)  # not imported: only its files are wanted
    file = Path(found.origin).parent / name if found is not None and found.origin else None
    return file if file is not None and file.is_file() else None


def _views(found: list[tuple[Path, int]], split: str) -> ImageData:
    import hashlib

    views = [
        (share, corner, mirrored)
        for share in SHARES[split]
        for corner in CORNERS
        for mirrored in (False, True)
    ]
    content = b"".join(file.read_bytes() for file, _ in found)
    digest = hashlib.sha256(content + repr((views, LARGEST)).encode()).hexdigest()[:16]
    return ImageData(
        [label for _, label in found for _ in views],
        opener=lambda i: _view(found[i // len(views)][0], *views[i % len(views)]),
        fingerprint=digest,
    )


def _view(file: Path, share: float, corner: tuple[float, float], mirrored: bool) -> Image:
    from PIL import Image, ImageOps

    image = Image.open(file).convert("RGB")
    side = round(share * min(image.size))
    left, top = (round(at * (size - side)) for at, size in zip(corner, image.size, strict=True))
    image = image.crop((left, top, left + side, top + side))
    image.thumbnail((LARGEST, LARGEST))
    return ImageOps.mirror(image) if mirrored else image
