"""Fashion-MNIST from the files that Debian packages, or that its authors give."""

from __future__ import annotations

import gzip
import math
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from cl_forget.ground.errors import UserError
from cl_forget.streams._choose import balanced
from cl_forget.streams.base import Experience, ImageData, LabelSpace
from cl_forget.streams.own import carve

if TYPE_CHECKING:
    import numpy as np

CLASSES = (
    "T-shirt", "pair of trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
TEMPLATES = ("a photo of a {}.", "a photo of a {}, a piece of clothing.")
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
UNSIGNED_BYTES = 8  # the type that the magic number of an IDX file names in its third byte


def fashion_mnist(root: Path = DEBIAN, limit: int | None = None) -> list[Experience]:
    """One task: Fashion-MNIST, photographs of ten kinds of clothing, 28 x 28 in grey.

    Debian and its kin have the files: `apt install dataset-fashion-mnist`. The split is its authors', 60,000 train
    and 10,000 test; a tenth of train, class by class and always the same, is validation.

    Args:
        root: the folder of the four IDX files, packed by gzip or not.
        limit: at most this many images in each split, balanced over the classes; None keeps all.

    Raises:
        UserError: a file is missing or damaged.
    """
    images, labels = _split(root, "train")
    positions = carve(
        "Fashion-MNIST", labels, [str(i) for i in range(len(labels))], {"validation": 0.1}, CLASSES
    )
    test_images, test_labels = _split(root, "t10k")

    def keep(images: np.ndarray, labels: np.ndarray, positions: list[int]) -> ImageData:
        kept = [positions[i] for i in balanced(labels[positions], limit, "fashion-mnist")]
        return ImageData(labels[kept], array=images[kept][:, None].repeat(3, axis=1))

    return [
        Experience(
            "fashion-mnist",
            LabelSpace("fashion-mnist", CLASSES, TEMPLATES),
            train=keep(images, labels, positions["train"]),
            validation=keep(images, labels, positions["validation"]),
            test=keep(test_images, test_labels, list(range(len(test_labels)))),
        )
    ]


def _split(root: Path, prefix: str) -> tuple[np.ndarray, np.ndarray]:
    """(samples, 28, 28) grey values and (samples,) labels of one split."""
    images = _read(root, f"{prefix}-images-idx3-ubyte", 3)
    labels = _read(root, f"{prefix}-labels-idx1-ubyte", 1)
    if len(images) != len(labels):
        raise UserError(
            f"Fashion-MNIST under '{root}' has {len(images)} images of {prefix} and {len(labels)} labels: get its "
            "files again."
        )
    return images, labels


def _read(root: Path, name: str, dimensions: int) -> np.ndarray:
    """An IDX file: a magic number that says type and dimensions, their sizes, then bytes; all big-endian."""
    import numpy as np

    folder = root.expanduser()
    file = next((f for f in (folder / f"{name}.gz", folder / name) if f.is_file()), None)
    if file is None:
        raise UserError(
            f"no Fashion-MNIST under '{root}' ({name} is missing): apt install dataset-fashion-mnist, or say with "
            "`root:` where its files are."
        )
    try:
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        kind, *sizes = struct.unpack_from(f">{1 + dimensions}i", content)
        values = np.frombuffer(content, np.uint8, offset=4 * (1 + dimensions))
        if kind != UNSIGNED_BYTES << 8 | dimensions or math.prod(sizes) != len(values):
            raise ValueError("it is no IDX file of bytes, or is cut short")
    except (OSError, EOFError, ValueError, struct.error) as error:
        raise UserError(f"'{file}' cannot be read ({error}): get it again.") from None
    return values.reshape(sizes)
