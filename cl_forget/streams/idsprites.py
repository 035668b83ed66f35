"""Infinite dSprites, a public benchmark of continual learning, from the package that its authors give."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Annotated, Any

from pydantic import Field

from cl_forget.ground.errors import UserError
from cl_forget.ground.seeds import seeded
from cl_forget.streams._choose import balanced
from cl_forget.streams.base import Experience, ImageData, LabelSpace
from cl_forget.streams.torch_data import image_data

SHARES = {"train": 0.7, "validation": 0.1, "test": 0.2}
TEMPLATES = ("a white {}.", "a picture of a {}.")


def idsprites(
    tasks: Annotated[int, Field(ge=1)] = 3,
    shapes_per_task: Annotated[int, Field(ge=1)] = 5,
    resolution: Annotated[int, Field(ge=2)] = 4,
    size: Annotated[int, Field(ge=16)] = 64,
    seed: Annotated[int, Field(ge=0)] = 0,
    limit: int | None = None,
) -> list[Experience]:
    """Infinite dSprites: procedural shapes, a few new ones in each task, all under one head (class-incremental).

    `pip install idsprites`, whose `ContinualBenchmark` draws and splits them. Each shape is seen in every combination
    of scale, orientation and place; a combination is in one split only. Shapes have numbers and no names, so that a
    head that starts from names knows nothing of them.

    Args:
        tasks: how many.
        shapes_per_task: classes that each task adds.
        resolution: scales, orientations and places in either direction: its fourth power is the number of pictures of
            a shape.
        size: pixels of a side.
        seed: of the shapes and the splits; another seed is another world, to tune on.
        limit: at most this many images in each split, balanced over the classes; None keeps all.

    Raises:
        UserError: the package is missing.
    """
    try:
        from idsprites import ContinualBenchmark, InfiniteDSprites
    except ImportError as error:  # also a graphics library that OpenCV wants
        raise UserError(
            f"Infinite dSprites come from a package that cannot be imported here ({error}): pip install idsprites."
        ) from None
    count = tasks * shapes_per_task
    space = LabelSpace("idsprites", tuple(f"shape {number + 1}" for number in range(count)), TEMPLATES)
    shares = {"train_split": SHARES["train"], "val_split": SHARES["validation"], "test_split": SHARES["test"]}
    settings = SimpleNamespace(
        factor_resolution=resolution, img_size=size, shapes_per_task=shapes_per_task, tasks=tasks, **shares
    )
    with seeded(seed):  # the package draws from the global generators
        painter = InfiniteDSprites(img_size=size)
        shapes = [painter.generate_shape() for _ in range(count)]
        benchmark = ContinualBenchmark(
            SimpleNamespace(dataset=settings), shapes, exemplars=shapes, accumulate_test=False
        )
        made = [[_labelled(split, limit) for split in splits] for splits, _ in benchmark]
    return [
        Experience(f"idsprites-{number}", space, train, validation, test)
        for number, (train, validation, test) in enumerate(made, start=1)
    ]


def _labelled(dataset: Any, limit: int | None) -> ImageData:
    """The pictures of one split with the number of their shape, which the package gives among other factors."""
    items = [dataset[position] for position in range(len(dataset))]
    data = image_data([(image, factors.shape_id) for image, factors in items], "Infinite dSprites")
    return data.subset(balanced(data.labels, limit, "idsprites"))
