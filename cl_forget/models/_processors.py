"""The image processors of transformers as a preprocessing of ours."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import torch

from cl_forget.ground.errors import UserError
from cl_forget.models._images import Normalises

ROUNDING = 0.05
"""How far normalised pixels may lie from the processor's own, which need not round to 8 bits in between."""


class ProcessorPreprocess(Normalises):
    """An image processor of transformers, split where it turns into numbers.

    Args:
        processor: of transformers.
        spec: the model's name, for messages.

    Raises:
        UserError: it does something else than to resize, crop and normalise colour images to one size.
    """

    def __init__(self, processor: Any, spec: str) -> None:
        self.processor = processor
        normalises = bool(getattr(processor, "do_normalize", False))
        mean, std = (processor.image_mean, processor.image_std) if normalises else ([0.0] * 3, [1.0] * 3)
        if len(mean) != 3 or len(std) != 3:
            raise UserError(
                f"the image processor of '{spec}' is for {len(mean)} channels; give a model for "
                "colour images."
            )
        super().__init__(mean, std)
        described = json.dumps(processor.to_dict(), sort_keys=True, default=str)
        self.key = hashlib.sha256(described.encode()).hexdigest()[:12]
        shapes = set()
        for shape in ((96, 80), (80, 120)):
            image = _gradient(*shape)
            pixels = self.to_uint8(image)
            shapes.add(pixels.shape[1:])
            exact = torch.as_tensor(np.asarray(processor(images=image, return_tensors="pt")["pixel_values"]))[
                0
            ]
            ours = self.normalise(torch.from_numpy(pixels)[None], torch.float32)[0]
            if exact.shape != ours.shape or float((exact - ours).abs().max()) > ROUNDING:
                raise UserError(
                    f"the image processor of '{spec}' does more than to resize, crop and normalise; give a model "
                    "with a plain one, or load it as a model of timm."
                )
        if len(shapes) > 1:
            raise UserError(
                f"the image processor of '{spec}' gives images of several sizes, which cannot stand in one batch; "
                "set a fixed `size` in its preprocessor_config.json."
            )
        self.size: tuple[int, int] = tuple(shapes.pop())

    def to_uint8(self, image: Any) -> np.ndarray:
        """A PIL image as (3, height, width) uint8 at the model's size."""
        found = self.processor(images=image, do_rescale=False, do_normalize=False, return_tensors="pt")
        pixels = torch.as_tensor(np.asarray(found["pixel_values"]))[0]
        return pixels.float().round().clamp(0, 255).to(torch.uint8).numpy()


def _gradient(width: int, height: int) -> Any:
    """A smooth picture of three colours, so that rounding is all that two ways of resizing can differ by."""
    from PIL import Image

    y, x = np.mgrid[0:height, 0:width]
    channels = [255 * x / width, 255 * y / height, 255 * (x + y) / (width + height)]
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))
