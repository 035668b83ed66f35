"""Any tree of images on disk with one folder per class."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl_forget.ground.errors import UserError
from cl_forget.ground.registry import closest
from cl_forget.streams._choose import balanced
from cl_forget.streams._layout import (
    Parts,
    Tree,
    class_folders,
    find_splits,
    leftovers,
    natural,
    normal,
    walk,
)
from cl_forget.streams.base import DEFAULT_TEMPLATES, Data, Experience, ImageData
from cl_forget.streams.images import Picture, Range, Survey, check_range, printable, read_image, sampled
from cl_forget.streams.own import alike, carve, class_notes, copies_note, end_of, label_space

if TYPE_CHECKING:
    from PIL.Image import Image

READ_WHOLE = 256 * 2**20  # bytes: trees up to this size are checked and fingerprinted by their content


@dataclass(frozen=True)
class _File:
    """One image: its path, its path inside the tree of its split, and its class."""

    path: Path
    inside: str
    folder: str


def folder(
    path: Path,
    name: str | None = None,
    classes: tuple[Any, ...] | dict[Any, Any] | None = None,
    templates: tuple[str, ...] = DEFAULT_TEMPLATES,
    validation: float = 0.1,
    test: float = 0.2,
    splits: dict[str, str] | None = None,
    nested: bool = False,
    shifted: dict[str, Path] | None = None,
    value_range: Range | None = None,
    head: str | None = None,
    limit: int | None = None,
) -> list[Experience]:
    """One task: a folder of images with one sub-folder per class, as torchvision's `ImageFolder` reads it.

    Alternatively the folder holds `train`, `val` and `test` folders of that kind; what is missing of
    validation and test is set aside from train, the same images every time, class by class. Images stay on
    disk and are opened when they are needed.

    Args:
        path: the folder.
        name: name of the task; the folder's name by default.
        classes: readable class names: one per class folder in the order of their names (numbers as numbers), or
            a mapping from folder names, which may leave some out. By default the folder names, with spaces for
            underscores; for WordNet numbers ("n01440764") ImageNet's names.
        templates: prompts with one `{}` for the class name.
        validation: fraction of each class set aside for validation, where no folder holds it.
        test: fraction of each class set aside for testing, where no folder holds it.
        splits: train, validation, test -> the folder of each, where their names do not say so; {} where all
            folders are classes.
        nested: whether images deeper than a class folder belong to it; asked for where no class folder holds
            images itself.
        shifted: further test sets by name, each a folder with (some of) the same class folders.
        value_range: the values that mean black and white in images of more than 8 bits per channel; 0 to 65,535
            of integers and 0 to 1 of fractions by default.
        head: name of the classifier; tasks with the same classes and head share one. `name` by default.
        limit: at most this many images in each split, balanced over the classes; None keeps all.

    Raises:
        UserError: a path that does not exist, folders that can be read in two ways, no class folders, an empty
            class folder, a class in one split that another does not know, an image that cannot be read, or
            options that do not fit the classes.
    """
    path = path.expanduser()
    what = f"folder '{printable(path)}'"
    check_range(what, value_range)
    notes: list[str] = []
    tree = walk(path)
    trees = find_splits(tree, splits, notes)
    found = {split: _files(tree, prefix, nested, split == "train", notes) for split, prefix in trees.items()}
    folders = sorted({file.folder for file in found["train"]}, key=natural)
    number = {own: label for label, own in enumerate(folders)}
    name = name or _name(path)
    space = label_space(what, head or name, folders, classes, templates)
    if folders != sorted(folders):
        notes.append(f"class folders are sorted by the numbers in their names: {', '.join(folders[:3])}, ...")
    notes += class_notes(folders, classes) + leftovers(tree)
    shares = {
        split: share for split, share in (("validation", validation), ("test", test)) if split not in found
    }
    train = found["train"]
    labels = [number[file.folder] for file in train]
    copies = _copies(train)
    notes += copies_note("train", copies, labels)
    positions = carve(what, labels, [file.inside for file in train], shares, folders, copies)
    chosen = {split: [train[position] for position in own] for split, own in positions.items()}
    chosen |= {split: files for split, files in found.items() if split != "train"}
    reading = _Reading(number, limit, value_range, Survey(what, value_range))
    data = {split: reading.data(what, split, chosen[split]) for split in ("train", "validation", "test")}
    more: dict[str, Data] = {
        split: reading.data(f"folder '{printable(own)}'", split, _shifted(own.expanduser(), nested, notes))
        for split, own in (shifted or {}).items()
    }
    notes += reading.survey.notes()
    made = data["train"], data["validation"], data["test"]
    return [Experience(name, space, *made, more, notes=tuple(notes))]


def _name(path: Path) -> str:
    """What a task is called after its folder."""
    name = path.resolve().name
    if not name or printable(name) != name:
        raise UserError(
            f"folder '{printable(path)}' has no name that a task can have: set the option `name:`."
        )
    return name


def _files(tree: Tree, prefix: Parts, nested: bool, strict: bool, notes: list[str]) -> list[_File]:
    """Every image of a tree of classes, class by class."""
    names = set(class_folders(tree, prefix, nested, strict, notes))
    place = tree.root.joinpath(*prefix)
    inside = [parts for parts in tree.below(prefix) if parts[0] in names]
    return [_File(place.joinpath(*parts), "/".join(parts), normal(parts[0])) for parts in inside]


def _copies(files: list[_File]) -> list[int]:
    """(files,) the first file with the same content."""

    def content(position: int) -> bytes | int:
        try:
            return hashlib.sha256(files[position].path.read_bytes()).digest()
        except OSError:  # said, with its name, by whoever opens it
            return position

    sizes = [file.path.stat().st_size for file in files]
    return alike(sizes, lambda position: end_of(files[position].path), content)


def _shifted(path: Path, nested: bool, notes: list[str]) -> list[_File]:
    """Every image of a further test set."""
    tree = walk(path)
    trees = find_splits(tree, None, notes)
    if len(trees) > 1 or trees["train"]:
        raise UserError(
            f"folder '{printable(path)}' holds {', '.join(trees)}: give the one to test on, such as "
            f"'{printable(path / trees.get('test', trees['train'])[0])}'."
        )
    return _files(tree, (), nested, False, notes)


@dataclass
class _Reading:
    """How files become data.

    Attributes:
        number: class folder -> label.
        limit: at most this many images of a split.
        value_range: of deep images, as given by the user.
        survey: gets what has to be said of the images.
    """

    number: dict[str, int]
    limit: int | None
    value_range: Range | None
    survey: Survey

    def data(self, what: str, split: str, files: list[_File]) -> ImageData:
        """The files of a split; small ones are all read now, of large ones a few."""
        for file in files:
            if file.folder not in self.number:
                hint = closest(file.folder, list(self.number))
                raise UserError(
                    f"{what}: class folder '{printable(file.folder)}' is not among the classes of train.{hint}"
                )
        labels = [self.number[file.folder] for file in files]
        kept = balanced(labels, self.limit, "folder")
        files, labels = [files[position] for position in kept], [labels[position] for position in kept]
        sizes = [file.path.stat().st_size for file in files]
        whole = sum(sizes) <= READ_WHOLE
        looked = range(len(files)) if whole else sampled(len(files))
        pictures = (self.picture(files[position].path) for position in looked)
        self.survey.look(split, pictures, len(files))
        return ImageData(
            labels,
            opener=self.opener([file.path for file in files]),
            fingerprint=_fingerprint(files, labels, sizes, whole, self.value_range),
            sizes=sizes,
            encoded=lambda position: files[position].path.read_bytes(),
        )

    def picture(self, path: Path) -> Picture:
        """One image."""
        return read_image(path, f"image '{printable(path)}'", self.value_range)

    def opener(self, paths: list[Path]) -> Callable[[int], Image]:
        """Position -> image."""
        return lambda position: self.picture(paths[position]).image


def _fingerprint(
    files: list[_File], labels: list[int], sizes: list[int], whole: bool, value_range: Range | None
) -> str:
    """Hash of the names and the content; of large trees, names, sizes and times of change."""
    digest = hashlib.sha256()
    if value_range is not None:
        digest.update(repr(value_range).encode())
    for file, label, size in zip(files, labels, sizes, strict=True):
        digest.update(f"{label} {file.inside} {size} ".encode(errors="surrogatepass"))
        digest.update(file.path.read_bytes() if whole else str(file.path.stat().st_mtime_ns).encode())
    return digest.hexdigest()[:16]
