"""Data sets of PyTorch as data of a task: what the bridges to benchmarks of other packages have in common."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from cl_forget.ground.errors import UserError
from cl_forget.streams.base import ImageData

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

IN_MEMORY_BYTES = 2 * 2**30


def image_data(dataset: Any, what: str) -> ImageData:
    """All images of a map-style data set, in memory if they have one size and are few enough; read once in any case.

    Args:
        dataset: item -> (image, label, ...); an image is a tensor, an array or a PIL image, of one or three channels,
            0 to 255 or in [0, 1].
        what: the data set, for messages.

    Raises:
        UserError: a sample is no such image.
    """
    import numpy as np

    digest = hashlib.sha256()
    kept: list[np.ndarray] | None = []
    labels: list[int] = []
    size = 0
    for position in range(len(dataset)):
        item = dataset[position]
        pixels = _pixels(item[0], what)
        labels.append(int(item[1]))
        digest.update(f"{pixels.shape}{labels[-1]}".encode() + pixels.tobytes())
        size += pixels.nbytes
        if kept is not None:
            kept.append(pixels)
            if size > IN_MEMORY_BYTES or pixels.shape != kept[0].shape:
                kept = None
    fingerprint = digest.hexdigest()[:16]
    if kept:
        return ImageData(labels, array=np.stack(kept), fingerprint=fingerprint)

    def opener(position: int) -> Image:
        from PIL import Image

        return Image.fromarray(_pixels(dataset[position][0], what).transpose(1, 2, 0))

    return ImageData(labels, opener=opener, fingerprint=fingerprint)


def _pixels(image: Any, what: str) -> np.ndarray:
    """A tensor, array or PIL image as (3, height, width) uint8."""
    import numpy as np
    import torch
    from PIL import Image

    if isinstance(image, Image.Image):
        return np.ascontiguousarray(np.asarray(image.convert("RGB")).transpose(2, 0, 1))
    pixels = image.detach().cpu().numpy() if isinstance(image, torch.Tensor) else np.asarray(image)
    if pixels.ndim == 2:
        pixels = pixels[None]
    elif pixels.ndim == 3 and pixels.shape[0] not in (1, 3) and pixels.shape[2] in (1, 3):
        pixels = pixels.transpose(2, 0, 1)
    if pixels.ndim != 3 or pixels.shape[0] not in (1, 3):
        raise UserError(
            f"{what}: a sample of shape {tuple(pixels.shape)} is no image: give (height, width), or one or three "
            "channels."
        )
    if pixels.dtype != np.uint8:
        if pixels.min() < 0 or pixels.max() > 1:
            raise UserError(
                f"{what}: images run from {pixels.min():.2f} to {pixels.max():.2f}, so they are normalised; models "
                "here do that themselves. Leave Normalize out of the transform that is read (an Avalanche benchmark "
                "takes raw: true)."
            )
        pixels = np.rint(pixels * 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(pixels, (3, *pixels.shape[1:])))
