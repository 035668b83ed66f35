"""Any image classification data set of torchvision."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl_forget.ground.errors import UserError
from cl_forget.ground.registry import closest
from cl_forget.streams._choose import balanced
from cl_forget.streams.base import DEFAULT_TEMPLATES, Experience, ImageData
from cl_forget.streams.images import Picture, Survey, read_image, sampled
from cl_forget.streams.own import carve, class_notes, label_space

if TYPE_CHECKING:
    from PIL.Image import Image

#: What torchvision's classes call the splits, most usual first.
SPLIT_VALUES = {
    "train": ("train", "trainval", "train-standard"),
    "validation": ("val", "valid", "validation"),
    "test": ("test",),
}
SAMPLED = 64  # images whose pixels enter the fingerprint, where the pixels are not in memory


def torchvision(
    dataset: str,
    root: Path = Path("data"),
    name: str | None = None,
    classes: tuple[Any, ...] | dict[Any, Any] | None = None,
    templates: tuple[str, ...] = DEFAULT_TEMPLATES,
    validation: float = 0.1,
    test: float = 0.2,
    splits: dict[str, str] | None = None,
    options: dict[str, Any] | None = None,
    download: bool = False,
    head: str | None = None,
    limit: int | None = None,
) -> list[Experience]:
    """One task: an image classification data set of `torchvision.datasets`, by its class name.

    Splits are the data set's own (`train=` or `split=`); those it does not have are set aside from train, the
    same images every time, class by class.

    Args:
        dataset: the class, such as CIFAR10 or Flowers102.
        root: where its files are, or go when downloaded.
        name: name of the task; the data set's name in lower case by default.
        classes: readable class names, in the order of the labels, or a mapping from the data set's own names,
            which may leave some out; needed where it has none.
        templates: prompts with one `{}` for the class name.
        validation: fraction of each class set aside for validation, where the data set has no such split.
        test: fraction of each class set aside for testing, where the data set has no such split.
        splits: train, validation, test -> the value of `split=`, where the usual ones are not meant
            (`{test: val}` for ImageNet).
        options: further arguments of the class (`{split: letters}` for EMNIST).
        download: fetch missing files.
        head: name of the classifier; tasks with the same classes and head share one. `name` by default.
        limit: at most this many images in each split, balanced over the classes; None keeps all.

    Raises:
        UserError: an unknown data set, option or split, missing files, a data set that is not one of images
            with one label each, or options that do not fit the classes.
    """
    what = f"torchvision data set '{dataset}'"
    opened = _open_splits(what, _class(dataset), root, splits or {}, options or {}, download)
    labels = {split: _labels(what, own) for split, own in opened.items()}
    found = _class_names(what, opened["train"], int(max(labels["train"])) + 1, classes is None)
    name = name or dataset.lower()
    space = label_space(what, head or name, found, classes, templates)
    survey = Survey(what)
    shares = {s: share for s, share in (("validation", validation), ("test", test)) if s not in opened}
    keys = [str(position) for position in range(len(labels["train"]))]
    positions = carve(what, labels["train"], keys, shares, found)
    whole = {split: list(range(len(labels[split]))) for split in opened if split != "train"}

    def pick(split: str) -> ImageData:
        source, own = ("train", positions[split]) if split in positions else (split, whole[split])
        kept = [own[i] for i in balanced([labels[source][p] for p in own], limit, "torchvision")]
        data, pictures = _data(what, opened[source], kept, [labels[source][position] for position in kept])
        survey.look(split, pictures, len(data))
        return data

    made = pick("train"), pick("validation"), pick("test")
    notes = [*class_notes(found, classes), *survey.notes()]
    return [Experience(name, space, *made, notes=tuple(notes))]


def _class(dataset: str) -> Any:
    from torchvision import datasets

    known = [name for name in datasets.__all__ if inspect.isclass(getattr(datasets, name))]
    if dataset not in known:
        by_lower_case = {name.lower(): name for name in known}
        near = by_lower_case.get(dataset.lower())
        hint = f" Did you mean '{near}'?" if near else closest(dataset, known)
        raise UserError(f"torchvision has no data set '{dataset}'.{hint} See torchvision.datasets for all.")
    return getattr(datasets, dataset)


def _open_splits(
    what: str, kind: Any, root: Path, splits: dict[str, str], options: dict[str, Any], download: bool
) -> dict[str, Any]:
    """The splits that the data set has of its own; "train" always, which may be all there is."""
    parameters = inspect.signature(kind).parameters
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    for option in options:
        if option not in parameters and not open_ended:
            raise UserError(f"{what} has no option '{option}'.{closest(option, list(parameters))}")
    arguments = dict(options)
    if "root" in parameters:
        arguments["root"] = str(root.expanduser())
    if download:
        if "download" not in parameters and not open_ended:
            raise UserError(f"{what} cannot be downloaded by torchvision: put its files under '{root}'.")
        arguments["download"] = True
    if "split" in parameters and "split" not in options:
        return _by_name(what, kind, arguments, splits, root)
    if splits:
        raise UserError(f"{what} does not name its splits: leave the option 'splits' out.")
    if "train" in parameters or (open_ended and "split" in options):
        return {
            split: _construct(what, kind, {**arguments, "train": split == "train"}, root)
            for split in ("train", "test")
        }
    return {"train": _construct(what, kind, arguments, root)}


def _by_name(
    what: str, kind: Any, arguments: dict[str, Any], splits: dict[str, str], root: Path
) -> dict[str, Any]:
    """The splits of a data set with a `split=` argument: those asked for, else those of a usual name."""
    for split in splits:
        if split not in SPLIT_VALUES:
            hint = closest(split, list(SPLIT_VALUES))
            raise UserError(f"{what}: unknown split '{split}'.{hint} Known: {', '.join(SPLIT_VALUES)}.")
    opened: dict[str, Any] = {}
    complaint = ""
    for split, usual in SPLIT_VALUES.items():
        for value in (splits[split],) if split in splits else usual:
            if value in splits.values() and split not in splits:
                continue  # asked for under another name
            try:
                opened[split] = _construct(what, kind, {**arguments, "split": value}, root)
                break
            except _UnknownSplitError as error:
                complaint = complaint or str(error)
        if split not in opened and (split in splits or split == "train"):
            raise UserError(f"{what}: {complaint} Set the option 'splits'.")
    return opened


class MissingFilesError(UserError):
    """Files of a data set are not where they were looked for, or cannot be read."""


class _UnknownSplitError(Exception):
    """The data set has no split of this name."""


def _construct(what: str, kind: Any, arguments: dict[str, Any], root: Path) -> Any:
    try:
        return kind(**arguments)
    except ValueError as error:
        raise _UnknownSplitError(str(error)) from None
    except (RuntimeError, OSError) as error:
        reason = str(error).strip().splitlines()[0].partition(". You can use download=True")[0]
        if arguments.get("download"):
            cure = f"check the network, or put the files under '{root}'"
        else:
            cure = "set its root, or download: true"
        raise MissingFilesError(f"{what} cannot be read under '{root}' ({reason}): {cure}.") from None
    except ImportError as error:
        raise UserError(f"{what} needs another package: {error}.") from None


def _labels(what: str, dataset: Any) -> list[int]:
    """The label of every sample, without opening the images where the data set holds the labels apart."""
    complaint = f"{what} does not have one class per image; choose a data set for classification"
    try:
        first, last = int(dataset[0][1]), int(dataset[len(dataset) - 1][1])
        for attribute in ("targets", "labels", "_labels", "y"):
            held = getattr(dataset, attribute, None)
            if held is not None and len(held) == len(dataset):
                labels = [int(label) for label in held]
                if (labels[0], labels[-1]) == (first, last):
                    return labels
        return [int(dataset[position][1]) for position in range(len(dataset))]
    except (TypeError, ValueError, IndexError):
        raise UserError(f"{complaint}, or set its options.") from None


def _class_names(what: str, dataset: Any, count: int, needed: bool) -> list[str]:
    """The data set's own class names, or the numbers of its labels."""
    names = getattr(dataset, "classes", None) or getattr(dataset, "categories", None)  # as Caltech has them
    if names is not None:  # ImageNet gives the synonyms of each class
        return [str(name if isinstance(name, str) else name[0]) for name in names]
    if needed:
        raise UserError(f"{what} does not name its classes: set classes, a name for each of {count} labels.")
    return [str(label) for label in range(count)]


def _data(
    what: str, dataset: Any, positions: list[int], labels: list[int]
) -> tuple[ImageData, Iterable[Picture]]:
    """Some samples of the data set, and an even sample of their pictures."""

    def held(index: int) -> Image:
        try:
            image: Image = dataset[positions[index]][0]
        except (OSError, ValueError, SyntaxError) as error:
            raise UserError(f"{what}: image {positions[index]} cannot be read ({error}): mend it.") from None
        return image

    def picture(index: int) -> Picture:
        return read_image(held(index), f"{what}: image {positions[index]}")

    if not hasattr(held(0), "convert"):
        raise UserError(f"{what} does not hold still images; choose a data set for image classification.")
    fingerprint = _fingerprint(dataset, positions, labels, held)
    data = ImageData(labels, opener=lambda index: picture(index).image, fingerprint=fingerprint)
    return data, map(picture, sampled(len(labels)))


def _fingerprint(
    dataset: Any, positions: list[int], labels: list[int], opener: Callable[[int], Image]
) -> str:
    """Hash of all labels and of all pixels; of pixels that are not in memory, of an even sample."""
    digest = hashlib.sha256(f"{type(dataset).__name__} {len(dataset)} {positions} {labels}".encode())
    held: Any = getattr(dataset, "data", None)
    if hasattr(held, "tobytes"):
        digest.update(held.tobytes())
    elif hasattr(held, "numpy"):
        digest.update(held.numpy().tobytes())
    else:
        step = max(1, len(labels) // SAMPLED)
        for index in range(0, len(labels), step):
            digest.update(opener(index).tobytes())
    return digest.hexdigest()[:16]
