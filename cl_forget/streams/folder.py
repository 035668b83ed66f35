"""Any tree of images on disk with one folder per class."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cl_forget.errors import UserError
from cl_forget.registry import closest
from cl_forget.streams._choose import balanced
from cl_forget.streams._own import carve, label_space
from cl_forget.streams.base import DEFAULT_TEMPLATES, Data, Experience, ImageData

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"}
#: Folder names that mean a split rather than a class.
SPLIT_NAMES = {
    **{"train": "train", "training": "train", "val": "validation", "valid": "validation"},
    **{"validation": "validation", "test": "test"},
}
READ_WHOLE = 256 * 2**20  # bytes: trees up to this size are checked and fingerprinted by their content


@dataclass(frozen=True)
class _File:
    """One image: its path, its path inside the tree, and its class folder."""

    path: Path
    inside: str
    folder: str


def folder(
    path: Path,
    name: str | None = None,
    classes: tuple[str, ...] | dict[str, str] | None = None,
    templates: tuple[str, ...] = DEFAULT_TEMPLATES,
    validation: float = 0.1,
    test: float = 0.2,
    shifted: dict[str, Path] | None = None,
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
        classes: readable class names: one per class folder in alphabetical order, or a mapping from folder
            names, which may leave some out. By default the folder names, with spaces for underscores.
        templates: prompts with one `{}` for the class name.
        validation: fraction of each class set aside for validation, where no folder holds it.
        test: fraction of each class set aside for testing, where no folder holds it.
        shifted: further test sets by name, each a folder with (some of) the same class folders.
        head: name of the classifier; tasks with the same classes and head share one. `name` by default.
        limit: at most this many images in each split, balanced over the classes; None keeps all.

    Raises:
        UserError: a path that does not exist, no class folders, an empty class folder, a class in one split
            that another does not know, an image that cannot be read, or options that do not fit the classes.
    """
    path = path.expanduser()
    what = f"folder '{path}'"
    found = {split: _scan(tree) for split, tree in _split_trees(path).items()}
    number = {name: label for label, name in enumerate(sorted({file.folder for file in found["train"]}))}
    name = name or path.resolve().name
    space = label_space(what, head or name, list(number), classes, templates)
    shares = {
        split: share for split, share in (("validation", validation), ("test", test)) if split not in found
    }
    train = found["train"]
    labels = [number[file.folder] for file in train]
    positions = carve(what, labels, [file.inside for file in train], shares, list(number))
    chosen = {split: [train[position] for position in own] for split, own in positions.items()}
    chosen |= {split: files for split, files in found.items() if split != "train"}
    data = {split: _data(what, chosen[split], number, limit) for split in ("train", "validation", "test")}
    more: dict[str, Data] = {
        split: _data(f"folder '{tree}'", _scan(tree.expanduser()), number, limit)
        for split, tree in (shifted or {}).items()
    }
    return [Experience(name, space, data["train"], data["validation"], data["test"], more)]


def _split_trees(path: Path) -> dict[str, Path]:
    """The trees to read: of each split, or of all in one ("train")."""
    inside = [entry for entry in _entries(path) if entry.is_dir()]
    if not inside or not {entry.name.lower() for entry in inside} <= SPLIT_NAMES.keys():
        return {"train": path}
    trees: dict[str, Path] = {}
    for entry in inside:
        split = SPLIT_NAMES[entry.name.lower()]
        if split in trees:
            raise UserError(f"folder '{path}' holds both {trees[split].name} and {entry.name}: keep one.")
        trees[split] = entry
    if "train" not in trees:
        raise UserError(f"folder '{path}' has no train folder beside {', '.join(e.name for e in inside)}.")
    return trees


def _entries(path: Path) -> list[Path]:
    """What a folder holds in alphabetical order, hidden entries left out."""
    try:
        return sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    except FileNotFoundError:
        raise UserError(f"folder '{path}' does not exist: correct the path.") from None
    except OSError as error:
        raise UserError(f"folder '{path}' cannot be read ({error.strerror}): give another.") from None


def _scan(tree: Path) -> list[_File]:
    """Every image of a tree, class by class."""
    class_folders = [entry for entry in _entries(tree) if entry.is_dir()]
    if not class_folders:
        raise UserError(f"folder '{tree}' has no class folders: put each class into a folder of its own.")
    found = []
    for class_folder in class_folders:
        inside = sorted(class_folder.rglob("*"))
        images = [entry for entry in inside if entry.suffix.lower() in IMAGE_SUFFIXES and entry.is_file()]
        if not images:
            raise UserError(
                f"class folder '{class_folder}' holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}): "
                "add some or remove it."
            )
        found += [_File(image, image.relative_to(tree).as_posix(), class_folder.name) for image in images]
    return found


def _data(what: str, files: list[_File], number: dict[str, int], limit: int | None) -> ImageData:
    """The files as data.

    Args:
        what: the tree, for messages.
        files: its images.
        number: class folder -> label.
        limit: at most this many images.
    """
    for file in files:
        if file.folder not in number:
            hint = closest(file.folder, list(number))
            raise UserError(f"{what}: class folder '{file.folder}' is not among the classes of train.{hint}")
    labels = [number[file.folder] for file in files]
    kept = balanced(labels, limit, "folder")
    files, labels = [files[position] for position in kept], [labels[position] for position in kept]
    return ImageData(
        labels,
        opener=lambda position: _open(files[position].path),
        fingerprint=_fingerprint(files, labels),
    )


def _open(path: Path) -> Image:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"image '{path}' cannot be read ({error}): replace or remove it.") from None


def _fingerprint(files: list[_File], labels: list[int]) -> str:
    """Hash of the names and the content; of large trees, names, sizes and times of change."""
    stats = [file.path.stat() for file in files]
    small = sum(stat.st_size for stat in stats) <= READ_WHOLE
    digest = hashlib.sha256()
    for file, label, stat in zip(files, labels, stats, strict=True):
        digest.update(f"{label} {file.inside} {stat.st_size} ".encode())
        if small:
            _open(file.path)  # an unreadable image is better met now than in the middle of a run
            digest.update(file.path.read_bytes())
        else:
            digest.update(str(stat.st_mtime_ns).encode())
    return digest.hexdigest()[:16]
