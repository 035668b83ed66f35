"""Benchmarks of Avalanche as streams."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cl_forget.ground.errors import UserError
from cl_forget.ground.seeds import seeded
from cl_forget.streams.base import DEFAULT_TEMPLATES, Experience, ImageData
from cl_forget.streams.own import carve, label_space
from cl_forget.streams.torch_data import image_data


def avalanche(
    benchmark: str,
    options: dict[str, Any] | None = None,
    classes: list[str] | list[list[str]] | None = None,
    templates: tuple[str, ...] = DEFAULT_TEMPLATES,
    name: str = "avalanche",
    validation: float = 0.1,
    raw: bool = False,
) -> list[Experience]:
    """The experiences of an Avalanche benchmark that a function makes.

    The function runs with the global random generators seeded, so a benchmark that draws its class order
    from them is the same benchmark in every run.

    Args:
        benchmark: where the function is, "package.module:function"
            ("avalanche.benchmarks.classic:SplitCIFAR10").
        options: its keyword arguments.
        classes: class names, see `from_avalanche`; so are the others.
        templates: prompt templates.
        name: what the experiences and heads are called after.
        validation: fraction of each class of the training data to set aside.
        raw: read the images before the benchmark's own transforms.

    Raises:
        UserError: there is no such function, it fails, or as `from_avalanche`.
    """
    function = _function(benchmark)
    with seeded(0):
        try:
            made = function(**(options or {}))
        except Exception as error:
            raise UserError(
                f"avalanche benchmark '{benchmark}' failed: {type(error).__name__}: {error}; "
                "check its options."
            ) from error
    return from_avalanche(made, classes, templates, name, validation, raw)


def from_avalanche(
    benchmark: Any,
    classes: Sequence[str] | Sequence[Sequence[str]] | None = None,
    templates: Sequence[str] = DEFAULT_TEMPLATES,
    name: str = "avalanche",
    validation: float = 0.1,
    raw: bool = False,
) -> list[Experience]:
    """The experiences of an Avalanche benchmark, named `<name>-1`, `<name>-2`, ...

    Without task labels all experiences share one head (class- and domain-incremental); with them there is
    one head per task label, over the classes that occur under that label. Images are read in their "eval"
    view, without the training augmentation. Validation data come from the benchmark's stream called "valid",
    or are carved from the training data, class by class, always the same ones.

    Args:
        benchmark: a scenario with a train and a test stream; the test stream has as many experiences as the
            train stream, or a single one, on which every task is tested.
        classes: one name per label; with task labels also one list per task label (ascending), each with one
            name per class of that task in the order of the labels. None calls the classes by their labels.
        templates: prompt templates.
        name: what the experiences and heads are called after.
        validation: fraction of each class of the training data to set aside; not used with a "valid" stream.
        raw: read the images before the benchmark's transforms (frozen transforms stay), for a benchmark whose
            transforms normalise: models here do that themselves.

    Raises:
        UserError: a stream is missing or has the wrong length, an experience mixes task labels, images that
            are not in [0, 1] or 0 to 255, or names that do not match the classes.
    """
    streams = {
        split: [_read(experience, raw) for experience in stream]
        for split, stream in _streams(benchmark).items()
    }
    read = [
        {split: stream[i if len(stream) > 1 else 0] for split, stream in streams.items()}
        for i in range(len(streams["train"]))
    ]
    heads = _heads(read, name, classes, templates)
    experiences = []
    for number, splits in enumerate(read, start=1):
        head = heads[splits["train"].task]
        data = {split: head.own(one, f"experience {number}, {split}") for split, one in splits.items()}
        if "valid" not in data:
            data["train"], data["valid"] = _carved(data["train"], head.labels.classes, number, validation)
        experiences.append(
            Experience(f"{name}-{number}", head.labels, data["train"], data["valid"], data["test"])
        )
    return experiences


# -- the benchmark ---------------------------------------------------------------------------------------
def _function(place: str) -> Callable[..., Any]:
    module, colon, attribute = place.partition(":")
    if not colon:
        raise UserError(
            f"'{place}' names no function; write package.module:function, for instance "
            "avalanche.benchmarks.classic:SplitCIFAR10."
        )
    try:
        function: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UserError(f"avalanche benchmark '{place}' cannot be loaded: {error}.") from error
    return function


def _streams(benchmark: Any) -> dict[str, list[Any]]:
    """Its experiences by split."""
    found = getattr(benchmark, "streams", None)
    if not isinstance(found, dict):
        raise UserError(
            f"{type(benchmark).__name__} is not an Avalanche benchmark: it has no streams. The function must "
            "return what Avalanche's generators return."
        )
    streams = {split: list(found[split]) for split in ("train", "valid", "test") if split in found}
    for split in ("train", "test"):
        if not streams.get(split):
            raise UserError(
                f"the Avalanche benchmark has no {split} stream; its streams: {', '.join(found) or 'none'}."
            )
    for split, experiences in streams.items():
        if len(experiences) not in (1, len(streams["train"])):
            raise UserError(
                f"the {split} stream has {len(experiences)} experiences and the train stream "
                f"{len(streams['train'])}: there must be as many, or one for all."
            )
    return streams


@dataclass
class _Read:
    """One experience's data as read: its images, the labels the benchmark uses, its task label."""

    data: ImageData
    task: int | None


def _read(experience: Any, raw: bool) -> _Read:
    dataset = experience.dataset.eval()
    if raw:
        dataset = dataset.remove_current_transform_group()
    tasks = sorted(int(task) for task in getattr(experience, "task_labels", []))
    if len(tasks) > 1:
        raise UserError(
            f"an Avalanche experience mixes the task labels {', '.join(map(str, tasks))}; give each task an "
            "experience of its own."
        )
    return _Read(image_data(dataset, "the Avalanche benchmark"), tasks[0] if tasks else None)


# -- labels and splits -----------------------------------------------------------------------------------
class _Head:
    """The label space of one head, and the benchmark's labels it renumbers."""

    def __init__(
        self, name: str, used: Sequence[int], classes: Sequence[str], templates: Sequence[str]
    ) -> None:
        self.labels = label_space(f"head '{name}'", name, [str(label) for label in used], classes, templates)
        self._position = {label: position for position, label in enumerate(used)}

    def own(self, read: _Read, what: str) -> ImageData:
        """The data with labels as positions in this head."""
        try:
            labels = [self._position[int(label)] for label in read.data.labels]
        except KeyError as error:
            raise UserError(
                f"avalanche, {what}: label {error} does not occur in any training data of head "
                f"'{self.labels.head}'; leave its samples out."
            ) from None
        data = read.data
        return ImageData(
            labels, array=data.array, opener=data.opener, fingerprint=f"{data.fingerprint}-{self.labels.head}"
        )


def _heads(
    read: Sequence[dict[str, _Read]],
    name: str,
    classes: Sequence[str] | Sequence[Sequence[str]] | None,
    templates: Sequence[str],
) -> dict[int | None, _Head]:
    """Task label -> head; None stands for no task labels."""
    used: dict[int | None, set[int]] = {}
    for splits in read:
        used.setdefault(splits["train"].task, set()).update(map(int, splits["train"].data.labels))
    tasks = sorted(used, key=lambda task: -1 if task is None else task)
    per_task = classes is not None and any(not isinstance(one, str) for one in classes)
    if per_task and classes is not None and len(classes) != len(tasks):
        raise UserError(
            f"{len(classes)} lists of class names for {len(tasks)} heads; give one list per task label."
        )
    heads: dict[int | None, _Head] = {}
    for position, task in enumerate(tasks):
        # A shared head has a row for every label up to the largest: Avalanche numbers them without gaps.
        labels = sorted(used[task]) if len(tasks) > 1 else list(range(max(used[task]) + 1))
        if classes is None:
            names: Sequence[str] = [str(label) for label in labels]
        elif len(tasks) == 1 and not per_task:
            names = list(classes)  # type: ignore[arg-type]
        elif per_task:
            names = list(classes[position])
        else:
            names = _by_label(classes, labels)  # type: ignore[arg-type]
        heads[task] = _Head(name if len(tasks) == 1 else f"{name}-task-{task}", labels, names, templates)
    return heads


def _by_label(classes: Sequence[str], labels: Sequence[int]) -> list[str]:
    if max(labels) >= len(classes):
        raise UserError(
            f"the benchmark has label {max(labels)} but there are {len(classes)} class names; give one per "
            "label."
        )
    return [classes[label] for label in labels]


def _carved(
    train: ImageData, classes: Sequence[str], number: int, share: float
) -> tuple[ImageData, ImageData]:
    keys = [str(position) for position in range(len(train))]
    splits = carve(f"experience {number}", train.labels, keys, {"validation": share}, classes)
    return train.subset(splits["train"]), train.subset(splits["validation"])
