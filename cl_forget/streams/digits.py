"""Handwritten digits from scikit-learn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cl_forget.streams._choose import balanced, by_class, shuffled
from cl_forget.streams.base import Experience, ImageData, LabelSpace

if TYPE_CHECKING:
    import numpy as np

CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEMPLATES = ("the digit {}", "a handwritten {}", "the number {}")
SIDE = 32  # pixels
TEST_PER_CLASS, TRAIN_PER_CLASS = 50, 100  # what is left, 24 to 33 per class, is validation


def digits(limit: int | None = None) -> list[Experience]:
    """One task: scikit-learn's 1,797 handwritten digits, dark on white.

    The 8 x 8 pictures (UCI "Optical Recognition of Handwritten Digits", 17 grey levels) are enlarged to
    32 x 32 by bicubic resampling. Fixed split: 1,000 train, 297 validation, 500 test; train and test are
    balanced over the ten classes.

    Args:
        limit: at most this many images in each split, balanced over the classes; None keeps all.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images, labels = _enlarge(bunch.images), bunch.target
    train: list[int] = []
    validation: list[int] = []
    test: list[int] = []
    for label, positions in by_class(labels).items():
        order = shuffled(positions, "digits", label)
        test += order[:TEST_PER_CLASS]
        train += order[TEST_PER_CLASS : TEST_PER_CLASS + TRAIN_PER_CLASS]
        validation += order[TEST_PER_CLASS + TRAIN_PER_CLASS :]

    def keep(positions: list[int]) -> ImageData:
        kept = [positions[index] for index in balanced(labels[positions], limit, "digits")]
        return ImageData(labels[kept], array=images[kept])

    space = LabelSpace("digits", CLASSES, TEMPLATES)
    return [Experience("digits", space, keep(train), keep(validation), keep(test))]


def _enlarge(ink: np.ndarray) -> np.ndarray:
    """(N, 8, 8) ink from 0 to 16 -> (N, 3, 32, 32) uint8, black ink on white."""
    import numpy as np
    from PIL import Image

    paper = np.round(255 * (1 - ink / 16)).astype(np.uint8)
    big = [Image.fromarray(page).resize((SIDE, SIDE), Image.Resampling.BICUBIC) for page in paper]
    return np.repeat(np.stack([np.asarray(image) for image in big])[:, None], 3, axis=1)
