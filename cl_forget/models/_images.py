"""Images in a model's own input format: resized once and kept as 8-bit numbers, normalised batch by batch."""

from __future__ import annotations

import copy
import hashlib
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from cl_forget.ground.errors import UserError
from cl_forget.models.base import Batch, FoundationModel, Prepared
from cl_forget.streams.base import Data, Experience, ImageData
from cl_forget.streams.understood import Seen

IN_MEMORY_BYTES = 4 * 2**30
THUMBNAIL = 64
AUGMENTATIONS = ("none", "shift", "shift-flip")


class Preprocess(Protocol):
    """How a model wants its images: the geometry on 8-bit images, then numbers.

    Attributes:
        size: height and width that the model sees.
        key: hash of all that it does.
    """

    size: tuple[int, int]
    key: str

    def to_uint8(self, image: Any) -> np.ndarray:
        """A PIL image as (3, height, width) uint8 at the model's size."""

    def normalise(self, pixels: Tensor, dtype: torch.dtype) -> Tensor:
        """(batch, 3, height, width) uint8 -> the float input of the model."""


class Normalises:
    """The second half of a preprocessing: 8-bit numbers to `(x / 255 - mean) / std` by channel.

    Args:
        mean, std: (3,), of pixels between 0 and 1.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self.mean = torch.tensor(mean).view(3, 1, 1)
        self.std = torch.tensor(std).view(3, 1, 1)

    def normalise(self, pixels: Tensor, dtype: torch.dtype) -> Tensor:
        """(batch, 3, height, width) uint8 -> the float input of the model."""
        mean, std = self.mean.to(pixels.device), self.std.to(pixels.device)
        return ((pixels.float().div_(255.0)).sub_(mean).div_(std)).to(dtype)


class ImagePreprocess(Normalises):
    """An evaluation transform as open_clip and timm have it, split where it turns into numbers.

    The geometric part (resize, crop, RGB) works on 8-bit images, so its result can be kept as uint8 without
    changing a bit; scaling and normalisation are done per batch.
    """

    def __init__(self, transform: Any) -> None:
        steps = list(transform.transforms)
        to_tensor = next(i for i, step in enumerate(steps) if type(step).__name__.endswith("ToTensor"))
        self.geometric = steps[:to_tensor]
        normalise = steps[to_tensor + 1]
        super().__init__(_three(normalise.mean), _three(normalise.std))
        sizes = [step.size for step in self.geometric if hasattr(step, "size")]
        size = sizes[-1]
        self.size: tuple[int, int] = (size, size) if isinstance(size, int) else (size[0], size[-1])
        description = f"{transform}".encode()
        self.key = hashlib.sha256(description).hexdigest()[:12]

    def to_uint8(self, image: Any) -> np.ndarray:
        """A PIL image as (3, height, width) uint8 at the model's size."""
        for step in self.geometric:
            image = step(image)
        return np.asarray(image, dtype=np.uint8).transpose(2, 0, 1)


def _three(values: Any) -> list[float]:
    return torch.as_tensor(values, dtype=torch.float32).flatten().tolist()


def image_bytes(preprocess: Preprocess) -> int:
    """Bytes of one image at the model's size."""
    return 3 * preprocess.size[0] * preprocess.size[1]


def memory_of(preprocess: Preprocess, data: Data) -> int:
    """Bytes of the resized images, or nothing where there are too many to be kept."""
    size = len(data) * image_bytes(preprocess)
    return size if size <= IN_MEMORY_BYTES else 0


def prepare(
    data: Data,
    experience: Experience,
    split: str,
    preprocess: Preprocess,
    augment: str,
    model: FoundationModel,
) -> PreparedImages:
    """Images at the model's resolution as uint8, normalised batch by batch.

    Raises:
        UserError: the data are no images.
    """
    if not isinstance(data, ImageData):
        raise UserError(
            f"experience '{experience.name}' holds {type(data).__name__}, but '{model.spec}' reads images; "
            "choose an image stream or a language model."
        )
    return PreparedImages(data, experience, split, preprocess, augment, model)


def seen(preprocess: Preprocess, experience: Experience, said: str = "") -> Seen:
    """The first image of an experience after resizing and cropping: its size and mean, and a thumbnail.

    Args:
        preprocess: the model's.
        experience: whose training data, or test data where there are none.
        said: with `{label}` for the first label, a second line.
    """
    data = experience.test if experience.train is None else experience.train
    if not isinstance(data, ImageData):
        return Seen()
    first = data.image(0)
    pixels = preprocess.to_uint8(first)  # (3, height, width)
    height, width = pixels.shape[1:]
    mean = ", ".join(f"{value:.2f}" for value in pixels.mean((1, 2)) / 255)
    line = (
        f"first image: {first.width} x {first.height} pixels, seen as {width} x {height} RGB, "
        f"mean {mean} (0 black, 1 white)"
    )
    return Seen((line, said) if said else (line,), _thumbnail(pixels))


class PreparedImages(Prepared):
    """Images of one data set, resized once; small sets are kept in memory, large ones decoded per batch."""

    def __init__(
        self,
        data: ImageData,
        experience: Experience,
        split: str,
        preprocess: Preprocess,
        augment: str,
        model: nn.Module,
    ) -> None:
        if augment not in AUGMENTATIONS:
            raise UserError(f"unknown augmentation '{augment}'. Known: {', '.join(AUGMENTATIONS)}.")
        self.experience = experience
        self.split = split
        self.deterministic = augment == "none"
        self.key = f"{data.fingerprint}-{preprocess.key}"
        self.targets: Tensor = torch.from_numpy(data.labels)
        self._preprocess = preprocess
        self._augment = augment
        self._data = data
        self._parameter = next(model.parameters())  # says the device and dtype inputs must have
        self._pixels = self._load()

    def _load(self) -> Tensor | None:
        data, size = self._data, self._preprocess.size
        if data.array is not None and data.array.shape[2:] == size:
            return torch.from_numpy(np.ascontiguousarray(data.array))
        if len(data) * image_bytes(self._preprocess) > IN_MEMORY_BYTES:
            return None
        return torch.from_numpy(self._decode(range(len(data)), progress=len(data) > 2000))

    def _decode(self, positions: Sequence[int], progress: bool = False) -> np.ndarray:
        from cl_forget.ground.progress import track

        with ThreadPoolExecutor(max_workers=4) as pool:  # decoding and resizing release the GIL
            images = pool.map(lambda i: self._preprocess.to_uint8(self._data.image(i)), positions)
            name = f"reading {self.experience.name} ({self.split})"
            return np.stack(list(track(images, name, total=len(positions)) if progress else images))

    def __len__(self) -> int:
        return len(self._data)

    def plain(self) -> PreparedImages:
        """The same images without random augmentation."""
        if self.deterministic:
            return self
        twin = copy.copy(self)
        twin._augment, twin.deterministic = "none", True
        return twin

    def batch(self, indices: Tensor, generator: torch.Generator | None = None) -> Batch:
        """Normalised images (batch, 3, height, width) on the model's device."""
        if self._pixels is None:
            pixels = torch.from_numpy(self._decode(indices.tolist()))
        else:
            pixels = self._pixels[indices]
        device, dtype = self._parameter.device, self._parameter.dtype
        images = self._preprocess.normalise(pixels.to(device), dtype)
        if self._augment != "none":
            images = _shift(images, generator, flip=self._augment == "shift-flip")
        return Batch(images, self.targets[indices].to(device), indices, self)


def _shift(images: Tensor, generator: torch.Generator | None, flip: bool) -> Tensor:
    """Shift each image by up to an eighth of its side (edges repeated) and, if asked, mirror half of them."""
    batch, _, height, width = images.shape
    reach = max(1, height // 8)
    padded = nn.functional.pad(images, (reach,) * 4, mode="replicate")
    down = torch.randint(0, 2 * reach + 1, (batch, 1), generator=generator)
    right = torch.randint(0, 2 * reach + 1, (batch, 1), generator=generator)
    rows, columns = (
        down + torch.arange(height),
        right + torch.arange(width),
    )  # (batch, height), (batch, width)
    if flip:
        mirrored = torch.rand(batch, 1, generator=generator) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    picked = padded[torch.arange(batch)[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2).contiguous()  # (batch, height, width, 3) -> (batch, 3, height, width)


def _thumbnail(pixels: np.ndarray) -> bytes:
    """(3, height, width) uint8 as a PNG of at most `THUMBNAIL` pixels a side."""
    from PIL import Image

    image = Image.fromarray(pixels.transpose(1, 2, 0))
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()
